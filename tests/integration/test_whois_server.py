"""The WHOIS role as a process, asked by whois and by clients that do not behave."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.endpoint import Endpoint
from node.lookup import whois_server as server
from node.lookup.rates import Rates
from node.lookup.whois import TOO_LONG
from secondary.etcd import EtcdStore
from tests.support.etcd import EtcdProcess, running_etcd
from tests.support.log_builder import HOLDER_ID, LogBuilder
from tests.support.replicas import StoredLog
from tests.support.roles import SERVICE_PORT, RoleProcess, running_role
from tests.support.wait import wait_until

SECONDS = 20
MAX_ANSWER_BYTES = 1 << 20


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    """A fresh etcd."""
    with running_etcd(tmp_path) as process:
        yield process


@pytest.fixture
def stored(etcd: EtcdProcess) -> Iterator[StoredLog]:
    """A log of a holder and a registration, not in etcd yet."""
    log = LogBuilder()
    log.put_holder()
    log.put_registration("192.0.2.36", "mail.example.org")
    log.commit()
    store = EtcdStore([etcd.endpoint])
    yield StoredLog(store, log, fresh_s=int(time.time()))
    store.close()


@pytest.fixture
def role(stored: StoredLog, etcd: EtcdProcess, tmp_path: Path) -> Iterator[RoleProcess]:
    """The WHOIS role on that etcd, listening."""
    with running_role(RoleProcess("whois", tmp_path, stored.log, etcd.endpoint)) as role:
        yield role


@pytest.fixture
def loaded(role: RoleProcess, stored: StoredLog) -> RoleProcess:
    """The role with its register loaded."""
    stored.put_all()
    role.wait_ready()
    return role


def whois(role: RoleProcess, question: str) -> str:
    """What the whois client of Debian prints."""
    command = ["whois", "-h", role.address, "-p", str(SERVICE_PORT), question]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.stdout


def connect(role: RoleProcess) -> socket.socket:
    return socket.create_connection((role.address, SERVICE_PORT), timeout=SECONDS)


def read_all(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    received = b""
    while len(received) < MAX_ANSWER_BYTES and (data := client.recv(65536)):
        received += data
    return received


def ask(role: RoleProcess, line: bytes) -> bytes:
    """The bytes that answer these bytes."""
    with connect(role) as client:
        client.sendall(line)
        return read_all(client)


def test_whois_before_and_after_loading(role: RoleProcess, stored: StoredLog) -> None:
    """P3: never loaded is said so; once loaded, address, dashed name and host are answered."""
    assert "the register is not loaded here yet" in whois(role, "192.0.2.36")
    assert 503 == role.page("/readyz")[0]

    stored.put_all()
    role.wait_ready()

    answer = whois(role, "192.0.2.36")
    assert "host:            mail.example.org\n" in answer
    assert "contact-email:   postmaster@example.org\n" in answer
    assert answer == whois(role, "192-0-2-36.smtpnic.org") == whois(role, "mail.example.org")
    assert "no match" in whois(role, "192.0.2.99")
    assert "Ask for one of these" in whois(role, "help")


def test_debians_client_asks_all_there_is(loaded: RoleProcess) -> None:
    """A network, a domain, a holder, statistics: nothing is rewritten by it on the way."""
    holder = HOLDER_ID.hex()
    for question in ("192.0.2.0/24", "example.org", holder, f"relay+{holder}"):
        assert "192.0.2.36" in whois(loaded, question), question
    assert "no match" in whois(loaded, "198.51.100.0/24")
    assert "registrations" in whois(loaded, "stats")


def test_lines_end_as_the_protocol_has_it(loaded: RoleProcess) -> None:
    """RFC 3912: every line ends in CR LF, and the connection is closed after the last."""
    answer = ask(loaded, b"192.0.2.36\r\n")

    assert answer.endswith(b"\r\n")
    assert answer.count(b"\n") == answer.count(b"\r\n")


@pytest.mark.parametrize("line", [b"192.0.2.36\n", b" 192.0.2.36 \r\nmore"])
def test_line_ends_of_others_are_understood(loaded: RoleProcess, line: bytes) -> None:
    """A bare LF ends a question; what follows it is not looked at."""
    assert b"host:            mail.example.org\r\n" in ask(loaded, line)


def test_a_question_without_an_end_is_taken_at_the_end_of_the_stream(loaded: RoleProcess) -> None:
    """Who closes the sending side has asked."""
    with connect(loaded) as client:
        client.sendall(b"192.0.2.36")
        client.shutdown(socket.SHUT_WR)
        assert b"mail.example.org" in read_all(client)


def test_a_question_that_is_too_long_is_refused(loaded: RoleProcess) -> None:
    """One KiB is the limit."""
    assert TOO_LONG.replace("\n", "\r\n").encode() == ask(
        loaded, b"x" * (server.MAX_QUESTION_BYTES + 1)
    )


def test_a_question_that_is_no_text_is_refused(loaded: RoleProcess) -> None:
    """Questions are UTF-8."""
    assert b"% the question is not UTF-8\r\n" == ask(loaded, b"\xff\xfe\r\n")


def test_an_international_name_is_found(loaded: RoleProcess, stored: StoredLog) -> None:
    """A host is found by its U-labels, too."""
    stored.log.put_registration("192.0.2.40", "xn--mil-qla.example.org")
    stored.apply(stored.log.commit())

    wait_until(
        lambda: b"192.0.2.40" in ask(loaded, "mäil.example.org\r\n".encode()),
        seconds=SECONDS,
        what="found",
    )


def test_who_asks_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Question and answer have their time; half a question does not prolong it."""
    monkeypatch.setattr(server, "ANSWER_SECONDS", 0.2)

    async def wait_for_the_end() -> bytes:
        whois_server = server.WhoisServer(Endpoint("127.0.0.1", 0), str, Rates(0, 1))
        await whois_server.start()
        endpoint = whois_server.endpoint
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.write(b"192")
        try:
            return await asyncio.wait_for(reader.read(), SECONDS)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()
            await whois_server.stop()

    assert b"" == asyncio.run(wait_for_the_end())


def test_one_client_has_its_share_of_connections(loaded: RoleProcess) -> None:
    """More at a time than one client may have are turned away with a word; others come and go."""
    waiting = [connect(loaded) for _ in range(server.MAX_CONNECTIONS_A_CLIENT)]

    def turned_away() -> bool:
        try:
            return ask(loaded, b"help\r\n").startswith(b"% too many connections")
        except OSError:
            return True

    wait_until(turned_away, seconds=SECONDS, what="turned away")
    for client in waiting:
        client.close()
    wait_until(lambda: not turned_away(), seconds=SECONDS, what="admitted again")


def test_who_asks_too_often_is_told_to_wait() -> None:
    """A client has its burst, and then a word on how long to wait; another is answered."""

    async def ask_from(server_: server.WhoisServer, source: str) -> bytes:
        endpoint = server_.endpoint
        reader, writer = await asyncio.open_connection(
            endpoint.host, endpoint.port, local_addr=(source, 0)
        )
        writer.write(b"help\r\n")
        said = await asyncio.wait_for(reader.read(), SECONDS)
        writer.close()
        return said

    async def ask_often() -> list[bytes]:
        slow = server.WhoisServer(Endpoint("127.0.0.1", 0), lambda _: "told\n", Rates(0.01, 2))
        await slow.start()
        said = [await ask_from(slow, "127.0.0.1") for _ in range(3)]
        said.append(await ask_from(slow, "127.0.0.2"))
        await slow.stop()
        return said

    refusal = b"% too many questions from your address: try again in 100 s\r\n"
    assert [b"told\r\n", b"told\r\n", refusal, b"told\r\n"] == asyncio.run(ask_often())


def test_answers_outlive_etcd(loaded: RoleProcess, etcd: EtcdProcess) -> None:
    """P7: without etcd all that was loaded is still told, contact included."""
    etcd.kill()

    assert "contact:         Example Networks\n" in whois(loaded, "192.0.2.36")


def test_sigterm_ends_well(loaded: RoleProcess) -> None:
    """SIGTERM: exit code 0 after draining."""
    loaded.signal(signal.SIGTERM)

    assert 0 == loaded.wait()
