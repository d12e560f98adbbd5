"""The DNS role: its transports in this process, and the whole of it as a process asked by dig."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dns.message
import dns.query
import pytest

from lab.cluster import loopback_network
from node.connections import ConnectionLimits
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.sockets import bound_socket
from registry.entry import state_key
from registry.kinds import Kind
from secondary.dns import server as server_module
from secondary.dns import tcp, tcp_places
from secondary.dns.pure.answering import FastPath
from secondary.dns.pure.udp import pure_listeners
from secondary.dns.rate_limit import RateLimiter
from secondary.dns.reply import Transport
from secondary.dns.server import DnsServer
from secondary.etcd import EtcdStore
from tests.support.etcd import EtcdProcess, running_etcd
from tests.support.fast_path import LIMITER_KEY, UNLIMITED
from tests.support.log_builder import LogBuilder
from tests.support.replicas import StoredLog
from tests.support.responding import make_responder
from tests.support.roles import SERVICE_PORT, RoleProcess, running_role
from tests.support.wait import wait_until

SECONDS = 20
ANSWER_SECONDS = 5.0
QUERY = b"\x12\x34 a query"
# Without a table the fast path answers nothing.
ASKED_FOR_ALL = pure_listeners(
    FastPath(make_responder(None), RateLimiter(UNLIMITED, LIMITER_KEY)), lambda: None
)
# Below what connections of others are given (ip_local_port_range), which would be in the way.
FREE_PORT = 20053


def echo(wire: bytes, transport: Transport, client: bytes) -> bytes | None:
    """Answers with the query and how it came; fails and stays silent when it is told to."""
    if wire.endswith(b"fail"):
        raise RuntimeError("asked for")
    return None if wire.endswith(b"silence") else wire + transport.value.encode()


def somewhere() -> Endpoint:
    """An address where nothing else holds the port that UDP is given, so that TCP gets it too."""
    return Endpoint(f"{loopback_network()}.1", 0)


@contextmanager
def serving(*endpoints: Endpoint) -> Iterator[DnsServer]:
    """A DNS server that echoes, its event loop in a thread."""
    server = DnsServer(endpoints, echo, ASKED_FOR_ALL)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(SECONDS)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def server() -> Iterator[DnsServer]:
    """An echoing server on one loopback address."""
    with serving(somewhere()) as server:
        yield server


def udp_exchange(endpoint: Endpoint, wire: bytes) -> tuple[bytes, str]:
    """The answer, and the address it came from."""
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(ANSWER_SECONDS)
        client.sendto(wire, (endpoint.host, endpoint.port))
        answer, peer = client.recvfrom(65535)
        return answer, peer[0]


def tcp_client(endpoint: Endpoint, source: str = "") -> socket.socket:
    """A connection, from an address of its own if that is given."""
    return socket.create_connection(
        (endpoint.host, endpoint.port), ANSWER_SECONDS, (source, 0) if source else None
    )


def is_closed(client: socket.socket) -> bool:
    """Waits for the server to end the connection, having sent nothing."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def framed(wire: bytes) -> bytes:
    return struct.pack("!H", len(wire)) + wire


def read_framed(client: socket.socket) -> bytes:
    """One answer; empty at the connection's end."""
    length = client.recv(2, socket.MSG_WAITALL)
    return client.recv(struct.unpack("!H", length)[0], socket.MSG_WAITALL) if length else b""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_udp_and_tcp_are_served_on_both_families(host: str) -> None:
    """One endpoint means UDP and TCP, IPv4 or IPv6."""
    with serving(Endpoint(host, 0)) as server:
        endpoint = server.udp[0].endpoint
        assert (QUERY + b"udp", host) == udp_exchange(endpoint, QUERY)
        with tcp_client(endpoint) as client:
            client.sendall(framed(QUERY))
            assert QUERY + b"tcp" == read_framed(client)


def test_several_endpoints_are_served_at_once() -> None:
    """Each address has its own sockets."""
    with serving(somewhere(), somewhere(), Endpoint("::1", 0)) as server:
        for listener in server.udp:
            assert QUERY + b"udp" == udp_exchange(listener.endpoint, QUERY)[0]


@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.77"])
def test_a_wildcard_answers_from_the_address_that_was_asked(asked: str) -> None:
    """At 0.0.0.0 the answer leaves from the address that the query went to."""
    with serving(Endpoint("0.0.0.0", FREE_PORT)) as server:
        port = server.udp[0].endpoint.port
        assert (QUERY + b"udp", asked) == udp_exchange(Endpoint(asked, port), QUERY)


def test_an_ipv6_wildcard_leaves_ipv4_alone() -> None:
    """At [::] IPv6 is answered, from the address asked, and IPv4's port stays free."""
    with serving(Endpoint("::", FREE_PORT)) as server:
        port = server.udp[0].endpoint.port
        assert (QUERY + b"udp", "::1") == udp_exchange(Endpoint("::1", port), QUERY)
        bound_socket(Endpoint("127.0.0.1", port), socket.SOCK_DGRAM).close()


def test_a_failing_answer_costs_one_query(server: DnsServer) -> None:
    """An error of the responder is counted, and the next query is answered."""
    endpoint = server.udp[0].endpoint
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(ANSWER_SECONDS)
        client.connect((endpoint.host, endpoint.port))
        client.send(b"\0\0 fail")
        client.send(b"\0\0 silence")
        client.send(QUERY)
        assert QUERY + b"udp" == client.recv(4096)
    counter = server.udp[0].counter
    assert (1, 1) == (counter.failed, counter.ignored)


def test_pipelined_queries_are_answered_in_order(server: DnsServer) -> None:
    """RFC 7766, 6.2.1.1: many queries in one go, cut anywhere, on one connection."""
    queries = [struct.pack("!H", number) + b"??" for number in range(500)]
    stream = b"".join(framed(query) for query in queries)
    with tcp_client(server.tcp[0].endpoint) as client:
        client.sendall(stream[:1001])
        client.sendall(stream[1001:])
        assert [query + b"tcp" for query in queries] == [read_framed(client) for _ in queries]


def test_a_query_byte_by_byte_is_a_query(server: DnsServer) -> None:
    """TCP has no message boundaries."""
    with tcp_client(server.tcp[0].endpoint) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in framed(QUERY):
            client.sendall(bytes([byte]))
        assert QUERY + b"tcp" == read_framed(client)


@pytest.mark.parametrize("wire", [b"\0\0 silence", bytes(5000)])
def test_who_does_not_speak_dns_is_cut_off(server: DnsServer, wire: bytes) -> None:
    """A message without an answer, or longer than any query, ends the connection."""
    with tcp_client(server.tcp[0].endpoint) as client:
        client.sendall(framed(wire))
        assert is_closed(client)


def test_a_client_that_reads_nothing_does_not_stop_the_others(server: DnsServer) -> None:
    """Answers that nobody takes are not made; other connections are served meanwhile."""
    with tcp_client(server.tcp[0].endpoint) as deaf, tcp_client(server.tcp[0].endpoint) as other:
        deaf.settimeout(0.2)
        # More than the buffers of both sides hold.
        with pytest.raises(TimeoutError):
            deaf.sendall(framed(bytes(4000)) * 10_000)
        other.sendall(framed(QUERY))
        assert QUERY + b"tcp" == read_framed(other)


def test_connections_of_one_client_are_limited(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client gets its share of connections; an end makes room for another."""
    monkeypatch.setattr(tcp_places, "SPARED_SECONDS", 2.0 * SECONDS)
    endpoint = server.tcp[0].endpoint
    clients = [tcp_client(endpoint) for _ in range(tcp.MAX_CONNECTIONS_A_CLIENT)]
    for client in clients:
        client.sendall(framed(QUERY))
        read_framed(client)
    with tcp_client(endpoint) as one_more:
        assert is_closed(one_more)

    clients.pop().close()

    def admitted() -> bool:
        with tcp_client(endpoint) as again:
            again.sendall(framed(QUERY))
            try:
                return read_framed(again) == QUERY + b"tcp"
            except OSError:
                return False

    wait_until(admitted, seconds=SECONDS, what="a place was given back")
    for client in clients:
        client.close()


def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks nothing for too long is cut off."""
    monkeypatch.setattr(tcp, "IDLE_SECONDS", 0.3)
    with serving(somewhere()) as server, tcp_client(server.tcp[0].endpoint) as client:
        client.sendall(framed(QUERY))
        read_framed(client)
        assert is_closed(client)


def test_a_query_that_does_not_become_whole_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query has its time from its first byte on, though bytes of it trickle in."""
    monkeypatch.setattr(tcp, "QUERY_SECONDS", 0.3)
    with serving(somewhere()) as server, tcp_client(server.tcp[0].endpoint) as client:
        client.sendall(framed(QUERY) + framed(QUERY)[:1])
        read_framed(client)

        def is_cut_off() -> bool:
            try:
                client.sendall(b"\0")
            except OSError:
                return True
            return False

        # Some thousand bytes would be too long for a query, and end the connection for that.
        wait_until(is_cut_off, seconds=tcp.IDLE_SECONDS / 2, what="cut off")


def test_who_takes_no_answers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that nobody takes hold a place for a while and no longer."""
    monkeypatch.setattr(tcp, "TAKING_SECONDS", 0.3)
    with serving(somewhere()) as server, tcp_client(server.tcp[0].endpoint) as deaf:
        # The buffers of both sides are full long before.
        with pytest.raises(ConnectionError):
            deaf.sendall(framed(bytes(4000)) * 10_000)
        (listener,) = server.tcp
        wait_until(lambda: not listener.connections, seconds=SECONDS, what="its place is free")


class TestFull:
    """No place is left: for anyone, or for one client."""

    @pytest.fixture(autouse=True)
    def few_places(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 3)
        monkeypatch.setattr(server_module, "MAX_CONNECTIONS_A_CLIENT", 2)

    @pytest.fixture
    def spared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody is spared."""
        monkeypatch.setattr(tcp_places, "SPARED_SECONDS", 0.0)

    @pytest.mark.usefixtures("spared")
    def test_slow_clients_make_room(self) -> None:
        """Half a query, answers not taken, silence: a new client has the place of the quietest."""
        with serving(somewhere()) as server, ExitStack() as stack:
            endpoint = server.tcp[0].endpoint
            half, silent, busy = (
                stack.enter_context(tcp_client(endpoint, source))
                for source in ("127.0.0.1", "127.0.0.2", "127.0.0.1")
            )
            half.sendall(framed(QUERY)[:5])
            for client in (silent, busy):
                ask(client)
            first, second = (
                stack.enter_context(tcp_client(endpoint, source))
                for source in ("127.0.0.3", "127.0.0.4")
            )
            ask(first)
            assert is_closed(half)
            ask(busy)
            ask(second)
            assert is_closed(silent)
            for client in (busy, first, second):
                ask(client)

    @pytest.mark.usefixtures("spared")
    def test_a_client_with_its_share_makes_room_for_itself(self) -> None:
        """One more of a client costs that client's quietest, and nobody else's."""
        with serving(somewhere()) as server, ExitStack() as stack:
            endpoint = server.tcp[0].endpoint
            other, first, second, third = (
                stack.enter_context(tcp_client(endpoint, source))
                for source in ("127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.1")
            )
            assert is_closed(first)
            for client in (other, second, third):
                ask(client)

    def test_who_was_just_answered_is_spared(self) -> None:
        """A flood of connections takes nobody's place before he had time to ask."""
        with serving(somewhere()) as server, ExitStack() as stack:
            endpoint = server.tcp[0].endpoint
            clients = [
                stack.enter_context(tcp_client(endpoint, f"127.0.0.{number}"))
                for number in range(1, 4)
            ]
            for client in clients:
                ask(client)
            assert is_closed(stack.enter_context(tcp_client(endpoint, "127.0.0.9")))
            for client in clients:
                ask(client)


def ask(client: socket.socket) -> None:
    """The client asks, and is answered."""
    client.sendall(framed(QUERY))
    assert QUERY + b"tcp" == read_framed(client)


def test_limits_count_an_ipv6_network_as_one_client() -> None:
    """All of a /64 is one client; its neighbour is another."""
    limits = ConnectionLimits(in_all=3, a_client=1)

    assert limits.admit("2001:db8::1")
    assert not limits.admit("2001:db8::2")
    assert limits.admit("2001:db8:0:1::1")
    assert limits.admit("192.0.2.1")
    assert not limits.admit("192.0.2.2")
    limits.release("192.0.2.1")
    assert limits.admit("192.0.2.2")


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_that_is_taken_is_named(kind: socket.SocketKind) -> None:
    """The error says which endpoint and which protocol are taken."""
    address = f"{loopback_network()}.1"
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind((address, 0))
        if kind is socket.SOCK_STREAM:
            holder.listen()
        port = holder.getsockname()[1]
        name = "TCP" if kind is socket.SOCK_STREAM else "UDP"
        with pytest.raises(ConfigurationError, match=rf"{address}:{port} \({name}\): Address"):
            DnsServer([Endpoint(address, port)], echo, ASKED_FOR_ALL)


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    """A fresh etcd."""
    with running_etcd(tmp_path) as process:
        yield process


@pytest.fixture
def stored(etcd: EtcdProcess) -> Iterator[StoredLog]:
    """A log of a few registrations, not in etcd yet."""
    log = LogBuilder()
    log.put_registration("192.0.2.36")
    log.put_registration("2001:db8::36")
    log.commit()
    store = EtcdStore([etcd.endpoint])
    yield StoredLog(store, log, fresh_s=int(time.time()))
    store.close()


@pytest.fixture
def role(stored: StoredLog, etcd: EtcdProcess, tmp_path: Path) -> Iterator[RoleProcess]:
    """The DNS role on that etcd, listening."""
    with running_role(RoleProcess("dns", tmp_path, stored.log, etcd.endpoint)) as role:
        yield role


def dig(role: RoleProcess, *arguments: str) -> str:
    """What dig prints."""
    command = ["dig", f"@{role.address}", "-p", str(SERVICE_PORT), "+tries=2", "+time=3"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_dig_before_and_after_loading(role: RoleProcess, stored: StoredLog) -> None:
    """P3: SERVFAIL with EDE 14 and not ready while etcd is empty; then answers, and ready."""
    before = dig(role, "192-0-2-36.smtpnic.org")
    assert "status: SERVFAIL" in before
    assert "EDE: 14 (Not Ready)" in before
    assert 503 == role.page("/readyz")[0]

    stored.put_all()
    role.wait_ready()

    assert "192.0.2.36\n" == dig(role, "+short", "192-0-2-36.smtpnic.org")
    name = "2001-0db8-0000-0000-0000-0000-0000-0036.smtpnic.org"
    assert "2001:db8::36\n" == dig(role, "+short", "+tcp", name, "AAAA")
    assert "host=mail.example.org" in dig(role, "192-0-2-36.smtpnic.org", "TXT")
    absent = dig(role, "192-0-2-99.smtpnic.org")
    assert "status: NXDOMAIN" in absent
    assert "hostmaster.smtpnic.net. 1 3600" in absent
    assert "status: REFUSED" in dig(role, "example.com")
    assert "status: NOTIMP" in dig(role, "+opcode=notify", "smtpnic.org", "SOA")


def test_changes_show_and_outlive_etcd(
    role: RoleProcess, stored: StoredLog, etcd: EtcdProcess
) -> None:
    """A batch written to etcd is answered; with etcd killed, everything is answered still."""
    stored.put_all()
    role.wait_ready()
    stored.log.put_registration("192.0.2.37")
    stored.log.delete(state_key(Kind.REGISTRATION, bytes([192, 0, 2, 36])))
    stored.apply(stored.log.commit())
    wait_until(
        lambda: dig(role, "+short", "192-0-2-37.smtpnic.org") == "192.0.2.37\n",
        seconds=SECONDS,
        what="the change shows",
    )
    assert "status: NXDOMAIN" in dig(role, "192-0-2-36.smtpnic.org")

    etcd.kill()

    wait_until(
        lambda: "smtpnic_etcd_up 0.0" in role.page("/metrics")[1], seconds=SECONDS, what="noticed"
    )
    assert "etcd.away" in role.output()
    assert "192.0.2.37\n" == dig(role, "+short", "192-0-2-37.smtpnic.org")
    assert 200 == role.page("/readyz")[0]


@pytest.mark.parametrize("compiled", ["true", "false"])
def test_a_register_that_is_too_old_is_not_answered_from(
    stored: StoredLog, etcd: EtcdProcess, tmp_path: Path, compiled: str
) -> None:
    """P7: more than two weeks without a word of the registry: SERVFAIL with EDE 24, over UDP and
    TCP, whichever implementation runs."""
    stored.fresh_s = None
    stored.put_all()
    more = f"compiled = {compiled}\n"
    with running_role(RoleProcess("dns", tmp_path, stored.log, etcd.endpoint, more=more)) as role:
        role.wait_ready()
        answers = [dig(role, f"+{tcp}", "192-0-2-36.smtpnic.org") for tcp in ("tcp", "notcp")]
        assert f"implementation={'compiled' if compiled == 'true' else 'pure'}" in role.output()

    for answer in answers:
        assert "status: SERVFAIL" in answer
        assert "EDE: 24 (Invalid Data)" in answer
        assert "ANSWER: 0, AUTHORITY: 0" in answer


def test_metrics_tell_what_was_answered(role: RoleProcess, stored: StoredLog) -> None:
    """Answers by transport and code, the table, the serial, the log: all are shown."""
    stored.put_all()
    role.wait_ready()
    dig(role, "192-0-2-36.smtpnic.org")
    dig(role, "+tcp", "192-0-2-99.smtpnic.org")

    wait_until(
        lambda: 'transport="udp",type="A"' in role.page("/metrics")[1],
        seconds=SECONDS,
        what="what was answered over UDP is counted",
    )
    metrics = role.page("/metrics")[1]

    for line in (
        'smtpnic_dns_answers_total{rcode="NOERROR",transport="udp",type="A"} 1.0',
        'smtpnic_dns_answers_total{rcode="NXDOMAIN",transport="tcp",type="A"} 1.0',
        "smtpnic_table_size 2.0",
        "smtpnic_zone_serial 1.0",
        f"smtpnic_log_size {stored.log.size}.0",
        "smtpnic_etcd_up 1.0",
        "smtpnic_revision_lag 0.0",
        "smtpnic_strange_revisions_total 0.0",
    ):
        assert line in metrics


def test_sigterm_drains_and_ends_well(stored: StoredLog, etcd: EtcdProcess, tmp_path: Path) -> None:
    """SIGTERM: not ready at once, answers still, exit code 0."""
    stored.put_all()
    draining = RoleProcess("dns", tmp_path, stored.log, etcd.endpoint, drain_seconds=3.0)
    with running_role(draining) as role:
        role.wait_ready()

        role.signal(signal.SIGTERM)

        wait_until(
            lambda: role.page("/readyz") == (503, "ending\n"), seconds=SECONDS, what="not ready"
        )
        assert "192.0.2.36\n" == dig(role, "+short", "192-0-2-36.smtpnic.org")
        assert 0 == role.wait()


def test_a_drain_loses_no_query(stored: StoredLog, etcd: EtcdProcess, tmp_path: Path) -> None:
    """From SIGTERM until it is seen not to be ready, and some while after, each query is answered.

    Each is asked once: over UDP, over TCP, and over a connection that was there before.
    """
    stored.put_all()
    draining = RoleProcess("dns", tmp_path, stored.log, etcd.endpoint, drain_seconds=8.0)
    query = dns.message.make_query("192-0-2-36.smtpnic.org", "A")
    with running_role(draining) as role:
        role.wait_ready()
        at = (role.address, SERVICE_PORT)
        with socket.create_connection(at, timeout=SECONDS) as earlier:
            # Taken in before the signal, and not only by the kernel.
            dns.query.tcp(query, role.address, timeout=SECONDS, sock=earlier)
            role.signal(signal.SIGTERM)
            answers, left = [], 0
            # Whoever sends queries here notices later, and the last ones are under way by then.
            while left < 10:
                left += role.page("/readyz")[0] != 200
                answers += [
                    dns.query.udp(query, role.address, timeout=SECONDS, port=SERVICE_PORT),
                    dns.query.tcp(query, role.address, timeout=SECONDS, port=SERVICE_PORT),
                    dns.query.tcp(query, role.address, timeout=SECONDS, sock=earlier),
                ]
        said = {rrset.to_text() for answer in answers for rrset in answer.answer}
        assert {"192-0-2-36.smtpnic.org. 300 IN A 192.0.2.36"} == said
        assert len(answers) == sum(len(answer.answer) for answer in answers)
        assert 0 == role.wait()


def test_sighup_checks_the_replica(role: RoleProcess, stored: StoredLog) -> None:
    """SIGHUP: what etcd holds is loaded and checked again."""
    stored.put_all()
    role.wait_ready()

    role.signal(signal.SIGHUP)

    wait_until(
        lambda: "smtpnic_replica_loads_total 2.0" in role.page("/metrics")[1],
        seconds=SECONDS,
        what="checked",
    )


def test_a_second_process_at_the_same_address_says_so(
    role: RoleProcess, stored: StoredLog, etcd: EtcdProcess, tmp_path: Path
) -> None:
    """The port is taken: exit code 2, and a line that names it."""
    directory = tmp_path / "second"
    directory.mkdir()
    second = RoleProcess("dns", directory, stored.log, etcd.endpoint, address=role.address)
    second.start()

    assert 2 == second.wait()
    assert f"cannot listen at {role.address}:{SERVICE_PORT} (UDP)" in second.output()
