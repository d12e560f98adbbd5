"""The policy service and the filters, as Postfix and OpenSMTPD speak to them."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from node.endpoint import Endpoint
from node.finding import Finding
from node.receiving import Mode, OnFailure
from policyd.cache import Cache, Found
from policyd.decision import Policy
from policyd.guard import FAILURES_TO_STOP, Guard
from policyd.judge import Judge
from policyd.lookups import Lookups
from policyd.metrics import PolicydMetrics
from policyd.opensmtpd import REGISTRATION, OpenSmtpdFilter, host_of
from policyd.places import Places
from policyd.postfix import MAX_REQUEST_BYTES, Actions, PolicyConnection, parse
from policyd.settings import PolicydSettings
from policyd.smtp_filter import NOBODY_BEHIND, TOO_LONG, TOO_MANY, SmtpFilter
from policyd.smtp_lines import SmtpStream
from registry.address import Address

# asyncio pauses at 64 KiB; the answer at hand comes on top.
MAX_UNREAD_BYTES = 70_000
# Longer than any session here, but for those that are to meet it.
SILENCE_SECONDS = 30.0
REGISTERED, UNREGISTERED, FAILING = "11.0.0.1", "11.0.0.2", "11.0.0.3"
KNOWN = {
    REGISTERED: Finding.REGISTERED,
    UNREGISTERED: Finding.NOT_REGISTERED,
    FAILING: Finding.FAILURE,
}


class World:
    """A judge that knows three addresses, and asks of others where nobody answers."""

    def __init__(
        self, mode: Mode, on_failure: OnFailure = OnFailure.TEMPFAIL, connections: int = 10
    ) -> None:
        self.metrics = metrics = PolicydMetrics()
        cache = Cache(100)
        for address, finding in KNOWN.items():
            cache.put(Address.parse(address), Found(finding, time.monotonic() + 3600))
        # 127.0.0.1 has no resolver at this address of the loopback network.
        lookups = Lookups([Endpoint("127.255.0.99", 53)], "smtpnic.org", 0.2, cache, metrics)
        self.guard = Guard(lookups, "list.smtpnic.org", 0, metrics)
        policy = Policy(mode, on_failure, "https://smtpnic.org/", PolicydSettings().networks)
        self.judge = Judge(policy, lookups, self.guard, metrics)
        self.places = Places(metrics, connections)


def request(**attributes: str) -> bytes:
    lines = {"request": "smtpd_access_policy", **attributes}
    return "".join(f"{name}={value}\n" for name, value in lines.items()).encode() + b"\n"


def ask(world: World, sent: bytes, answers: int) -> list[str]:
    """What a policy service answers to these bytes, over a real socket."""

    async def session() -> list[str]:
        actions = Actions(world.judge.policy)
        server = await asyncio.get_running_loop().create_server(
            lambda: PolicyConnection(world.judge, actions, world.places), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        # In pieces, as TCP may.
        for start in range(0, len(sent), 7):
            writer.write(sent[start : start + 7])
        found = [(await reader.readuntil(b"\n\n")).decode().strip() for _ in range(answers)]
        writer.close()
        server.close()
        return found

    return asyncio.run(session())


def test_enforcing_refuses_the_unregistered_alone() -> None:
    """One connection, several requests, answered in their order."""
    sent = (
        request(client_address=UNREGISTERED, recipient="a@mx.example")
        + request(client_address=REGISTERED)
        + request(client_address=FAILING)
        + request(client_address=UNREGISTERED, recipient="postmaster@mx.example")
        + request(client_address=UNREGISTERED, sasl_username="user")
    )
    assert [
        "action=550 5.7.1 communication denied: 11.0.0.2 is no registered mail server, "
        "see https://smtpnic.org/",
        "action=DUNNO",
        "action=451 4.4.3 the registry of mail servers cannot be asked about 11.0.0.3 now, "
        "try again later",
        "action=DUNNO",
        "action=DUNNO",
    ] == ask(World(Mode.ENFORCE), sent, 5)


def test_who_must_be_asked_about_delays_those_behind() -> None:
    """Answers keep the order of the requests; a silent resolver is a failure, within its time."""
    sent = request(client_address="11.0.9.9") + request(client_address=REGISTERED)
    first, second = ask(World(Mode.ENFORCE), sent, 2)
    assert first.startswith("action=451 4.4.3 ")
    assert "action=DUNNO" == second


def test_advice_is_one_header_a_message() -> None:
    """However many recipients it has."""
    one = request(client_address=UNREGISTERED, instance="a.1")
    another = request(client_address=UNREGISTERED, instance="b.2")
    found = ask(World(Mode.ADVISE), one + one + another, 3)
    assert found[0].startswith("action=PREPEND X-SMTP-Registry: 11.0.0.2 is no registered")
    assert "action=DUNNO" == found[1]
    assert found[2].startswith("action=PREPEND ")


@pytest.mark.parametrize(
    "sent", [b"nonsense\n\n", b"request=other\n\n", b"a=" + b"x" * MAX_REQUEST_BYTES + b"\n"]
)
def test_what_is_no_request_closes_the_connection(sent: bytes) -> None:
    """Postfix then does what its default_action says."""
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        ask(World(Mode.ENFORCE), sent, 1)


def test_one_connection_too_many_is_closed() -> None:
    """And Postfix then does what its default_action says."""
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        ask(World(Mode.ENFORCE, connections=0), request(client_address=REGISTERED), 1)


def test_a_client_that_never_reads_takes_no_memory() -> None:
    """It is not read from any more, so that the answers to it do not grow."""
    sent = request(client_address=UNREGISTERED) * 100
    made: list[asyncio.BaseTransport] = []

    class Watched(PolicyConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)
            super().connection_made(transport)

    async def session() -> int:
        world = World(Mode.ENFORCE)
        server = await asyncio.get_running_loop().create_server(
            lambda: Watched(world.judge, Actions(world.judge.policy), world.places), "127.0.0.1", 0
        )
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1)
        most = 0
        # Until nothing moves any more: the kernel's buffers are full both ways.
        with suppress(TimeoutError):
            while True:
                writer.write(sent)
                await asyncio.sleep(0)
                await asyncio.wait_for(writer.drain(), 1)
                for transport in made:
                    assert isinstance(transport, asyncio.Transport)
                    most = max(most, transport.get_write_buffer_size())
        writer.transport.abort()
        server.close()
        return most

    assert 0 < asyncio.run(session()) <= MAX_UNREAD_BYTES


def test_values_may_hold_equals_signs() -> None:
    """Only the first one ends the name."""
    assert "a=b" == parse(b"request=smtpd_access_policy\nsender=a=b")["sender"]


def test_the_guard_stops_enforcing_and_resumes() -> None:
    """After some looks in a row that found the test entries wrong; at once when they are right."""
    world = World(Mode.ENFORCE)
    refused = request(client_address=UNREGISTERED)
    for _ in range(FAILURES_TO_STOP):
        assert ask(world, refused, 1)[0].startswith("action=550 ")
        world.guard.note("2.0.0.127.list.smtpnic.org.: SERVFAIL")
    assert "2.0.0.127.list.smtpnic.org.: SERVFAIL" == world.guard.reason
    assert ["action=DUNNO"] == ask(world, refused, 1)
    world.guard.note("")
    assert ask(world, refused, 1)[0].startswith("action=550 ")


def run_filter(
    client: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]],
    mode: Mode = Mode.ADVISE,
) -> tuple[bytes, bytes]:
    """What the client saw of a session through the filter, and what the server behind got."""
    received = bytearray()

    async def behind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.example\r\n")
        while line := await reader.readline():
            received.extend(line)
            if line == b"DATA\r\n":
                writer.write(b"354 go on\r\n")
                while (text := await reader.readline()) != b".\r\n":
                    received.extend(text)
                received.extend(text)
                writer.write(b"250 2.0.0 Ok: queued as 4XyZ\r\n")
            elif line == b"EHLO localhost\r\n":
                writer.write(b"250-mx.example\r\n250 XFORWARD ADDR\r\n")
            elif line == b"QUIT\r\n":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 ok\r\n")
        writer.close()

    async def session() -> bytes:
        server = await asyncio.start_server(behind, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        world = World(mode)
        smtp_filter = SmtpFilter(world.judge, Endpoint(host, port), world.places, SILENCE_SECONDS)
        front = await asyncio.start_server(smtp_filter.serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*front.sockets[0].getsockname())
        seen = await client(reader, writer)
        writer.close()
        front.close()
        server.close()
        return seen

    return asyncio.run(session()), bytes(received)


def dialogue(address: str, message: bytes, size: int = 1 << 20) -> bytes:
    """The last reply to a message that comes in pieces of `size`."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        await reader.readline()
        writer.write(b"EHLO localhost\r\n")
        await reader.readline()
        await reader.readline()
        for command in (
            f"XFORWARD NAME=[x] ADDR={address} PROTO=ESMTP",
            "MAIL FROM:<a@b>",
            "RCPT TO:<c@d>",
            "DATA",
        ):
            writer.write(command.encode() + b"\r\n")
            await reader.readline()
        for start in range(0, len(message), size):
            writer.write(message[start : start + size])
            await writer.drain()
        last = await reader.readline()
        writer.write(b"QUIT\r\n")
        assert b"221 bye\r\n" == await reader.readline()
        return last

    seen, received = run_filter(client)
    assert message in received
    return seen


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1 << 20])
@pytest.mark.parametrize(
    "message",
    [b"Subject: x\r\n\r\nHello\r\n.\r\n", b".\r\n", b"..\r\n.x\r\n.\r\n", b"\r\n\r\n.\r\n"],
)
def test_the_last_250_says_who_is_not_registered(message: bytes, size: int) -> None:
    """However the message is cut up; the message itself goes on unchanged."""
    assert (
        b"250 2.0.0 Ok: queued as 4XyZ; 11.0.0.2 is no registered mail server, "
        b"please register it, see https://smtpnic.org/\r\n" == dialogue(UNREGISTERED, message, size)
    )


@pytest.mark.parametrize("address", [REGISTERED, FAILING, "127.0.0.1", "11.0.9.9"])
def test_of_others_the_reply_is_as_it_was(address: str) -> None:
    """Registered, unknown, exempt: nothing is added."""
    assert b"250 2.0.0 Ok: queued as 4XyZ\r\n" == dialogue(address, b"Hello\r\n.\r\n")


def talk_to_filter(
    world: World, following: Endpoint, *commands: bytes, silence_seconds: float = SILENCE_SECONDS
) -> list[bytes]:
    """All that a client sees that gives these commands, each after a reply, and then waits."""

    async def session() -> list[bytes]:
        smtp_filter = SmtpFilter(world.judge, following, world.places, silence_seconds)
        front = await asyncio.start_server(smtp_filter.serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*front.sockets[0].getsockname())
        seen = []
        left = iter(commands)
        # Until the filter closes the connection.
        while line := await asyncio.wait_for(reader.readline(), 30):
            seen.append(line)
            if (command := next(left, None)) is not None:
                writer.write(command)
        writer.close()
        front.close()
        return seen

    return asyncio.run(session())


def test_without_a_server_behind_the_client_is_told_to_come_back() -> None:
    """Postfix then gives its own client a 4xx."""
    assert [NOBODY_BEHIND] == talk_to_filter(World(Mode.ADVISE), Endpoint("127.255.0.99", 1))


def test_one_session_too_many_is_told_to_come_back() -> None:
    """The server behind is not troubled."""
    world = World(Mode.ADVISE, connections=0)
    assert [TOO_MANY] == talk_to_filter(world, Endpoint("127.255.0.99", 1))


@contextmanager
def hanging_server(*replies: bytes) -> Iterator[Endpoint]:
    """An SMTP server that says this, each after another command, and then nothing any more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, suppress(ConnectionError):
                for reply in replies:
                    connection.sendall(reply)
                    connection.recv(65536)
                # Until the other side leaves.
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Endpoint(*listening.getsockname())
        thread.join(30)
        assert not thread.is_alive()


OPENING = (b"220 mx.example\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n")


@pytest.mark.parametrize("said", range(len(OPENING) + 1))
def test_when_the_server_behind_hangs_the_client_is_told_to_come_back(said: int) -> None:
    """421 at its time limit, wherever it hangs; both connections end, and the place is free."""
    world = World(Mode.ADVISE)
    commands = (
        b"XFORWARD ADDR=11.0.0.2\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"DATA\r\n",
        b"Hello\r\n.\r\n",
    )
    with hanging_server(*OPENING[:said]) as server:
        seen = talk_to_filter(world, server, *commands, silence_seconds=0.3)
    assert [*OPENING[:said], TOO_LONG] == seen
    assert 0 == world.metrics.registry.get_sample_value("smtpnic_policyd_connections")


def test_a_client_that_says_nothing_is_told_so() -> None:
    """After the time limit, and in the middle of a message too."""
    for said in ((), (b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\n", b"DATA\r\n", b"Hello\r\n")):
        with hanging_server(*OPENING) as server:
            seen = talk_to_filter(World(Mode.ADVISE), server, *said, silence_seconds=0.3)
        assert TOO_LONG == seen[-1]


def test_silence_is_counted_from_what_was_heard_last() -> None:
    """A long message that keeps coming is not cut off: each part of it counts."""

    async def parts() -> int:
        heard: list[None] = []
        reader = asyncio.StreamReader()
        reply = asyncio.create_task(SmtpStream(reader, lambda: heard.append(None)).reply())
        for part in (b"250-a\r\n", b"250 b\r\n"):
            # It is read before the next one comes.
            await asyncio.sleep(0)
            reader.feed_data(part)
            await asyncio.sleep(0)
        assert [b"250-a\r\n", b"250 b\r\n"] == await reply
        return len(heard)

    assert 2 == asyncio.run(parts())


def opensmtpd(mode: Mode, *lines: str) -> list[str]:
    """What the filter for OpenSMTPD says to these lines."""

    async def session() -> list[str]:
        said: list[str] = []
        smtpd_filter = OpenSmtpdFilter(World(mode).judge, said.append)
        for line in lines:
            smtpd_filter.take(line)
        await asyncio.sleep(0)
        return said

    return asyncio.run(session())


def connected(address: str) -> str:
    return f"report|0.6|1.0|smtp-in|link-connect|s1|host|pass|{address}:40000|192.0.2.1:25"


RCPT = "filter|0.6|1.0|smtp-in|rcpt-to|s1|t1|someone@mx.example"


def test_opensmtpd_is_told_what_to_report() -> None:
    """When it has given its configuration."""
    assert list(REGISTRATION) == opensmtpd(Mode.ENFORCE, "config|smtpd-version|6.8", "config|ready")


REFUSED = (
    "reject|550 5.7.1 communication denied: 11.0.0.2 is no registered mail server, "
    "see https://smtpnic.org/"
)


def auth(version: str, fields: str) -> str:
    return f"report|{version}|1.0|smtp-in|link-auth|s1|{fields}"


@pytest.mark.parametrize(
    "line",
    ["", "report", "report|0.6|1.0|smtp-in|link-connect|s1", "filter|0.6|1.0|smtp-in|rcpt-to|s1"],
)
def test_what_opensmtpd_would_not_say_is_passed_over(line: str) -> None:
    """The filter goes on: without it smtpd ends."""
    assert ["filter-result|s1|t1|proceed"] == opensmtpd(Mode.ENFORCE, line, RCPT)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([connected(REGISTERED), RCPT], "proceed"),
        ([connected(UNREGISTERED), RCPT], REFUSED),
        ([connected(UNREGISTERED), RCPT.replace("someone", "postmaster")], "proceed"),
        (
            [connected(UNREGISTERED), auth("0.6", "user|pass"), RCPT],
            "proceed",
        ),
        ([connected(UNREGISTERED), auth("0.6", "user|fail"), RCPT], REFUSED),
        (
            [connected(FAILING), RCPT],
            "reject|451 4.4.3 the registry of mail servers cannot be "
            "asked about 11.0.0.3 now, try again later",
        ),
        ([RCPT], "proceed"),
        # A name that a stranger gave his address, to look like another's event.
        ([connected(REGISTERED).replace("host", f"x|pass|{UNREGISTERED}:1"), RCPT], "proceed"),
        # Up to 0.6 the user stands first, since 0.7 last; strangers choose its name.
        ([connected(UNREGISTERED), auth("0.6", "pass|fail"), RCPT], REFUSED),
        ([connected(UNREGISTERED), auth("0.6", "a|pass|b|fail"), RCPT], REFUSED),
        ([connected(UNREGISTERED), auth("0.6", "fail|pass"), RCPT], "proceed"),
        ([connected(UNREGISTERED), auth("0.7", "fail|pass"), RCPT], REFUSED),
        ([connected(UNREGISTERED), auth("0.7", "pass|a|fail"), RCPT], "proceed"),
        ([connected(UNREGISTERED), auth("0.10", "fail|pass"), RCPT], REFUSED),
        # A bar in the recipient.
        ([connected(UNREGISTERED), RCPT.replace("someone", "a|postmaster")], REFUSED),
        ([connected(REGISTERED), RCPT.replace("someone", "a|b")], "proceed"),
    ],
)
def test_opensmtpd_is_answered_at_rcpt(lines: list[str], expected: str) -> None:
    """Refused are the unregistered; postmaster, users and unknown sessions are not."""
    assert [f"filter-result|s1|t1|{expected}"] == opensmtpd(Mode.ENFORCE, *lines)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("192.0.2.1:25", "192.0.2.1"),
        ("[2001:db8::1]:25", "2001:db8::1"),
        ("[IPv6:2001:db8::1]:25", "2001:db8::1"),
        ("unix:/run/smtpd.sock", ""),
        ("", ""),
    ],
)
def test_sources_of_opensmtpd(source: str, expected: str) -> None:
    """An address and a port; nothing for a UNIX socket."""
    assert expected == host_of(source)
