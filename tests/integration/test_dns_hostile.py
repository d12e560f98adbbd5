"""A DNS server in a process of its own, and clients that mean it harm.

Seconds here; `SMTPNIC_SOAK_SECONDS=600`, or `make soak`, has the floods last.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Final

import dns.flags
import dns.message
import dns.rcode
import pytest

from bench.dns_generators import dnsload
from bench.dns_names import ORIGIN, Names, dashed, dotted, make_names, write_names
from bench.dns_peers import compiled
from bench.dns_queries import Asked, Expected, make_queries, query, write_queries
from bench.processes import rss_mb
from lab.cluster import loopback_network
from lab.process import LabProcess, program
from node.endpoint import Endpoint
from secondary.dns import tcp
from secondary.dns.codes import Rcode, Type
from secondary.dns.implementation import Implementation
from secondary.dns.transport import MAX_QUERY_BYTES
from tests.support.fast_path import mutated, random_query
from tests.support.wait import wait_until

FLOOD_SECONDS: Final = float(os.environ.get("SMTPNIC_SOAK_SECONDS", "3"))
SECONDS: Final = 30
COUNT: Final = 2000
# A resolver asks again before a second has passed; so often, and no answer is a failure.
TRY_SECONDS: Final = 0.4
TRIES: Final = 25
# Packets a second; 0: all that one core can send. In Python that would fill the queue to its end,
# and what a full queue drops is not the server's choice.
FLOOD_RATES: Final = {Implementation.COMPILED: 0, Implementation.PURE: 2000}
# Of the process, after a flood of the same packets warmed it up.
GROWTH_MB: Final = 8
UNREGISTERED_A_SECOND: Final = 50_000
SLOW_CLIENTS: Final = 10_000
CLIENTS_AN_ADDRESS: Final = 100
# Beside those of connections: its own listeners, the event loop's, standard streams.
OTHER_DESCRIPTORS: Final = 40

pytestmark = pytest.mark.timeout(int(FLOOD_SECONDS) + 300)
both = pytest.mark.parametrize("implementation", list(Implementation))


@pytest.fixture(scope="module")
def names() -> Names:
    """Those that are registered, and as many that are not."""
    return make_names(COUNT)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dnsload, built."""
    return compiled("dnsload", tmp_path_factory.mktemp("generator"))


@contextmanager
def serving(
    names: Names, home: Path, implementation: Implementation, *options: str
) -> Iterator[tuple[LabProcess, Endpoint]]:
    """The process, and where it answers; it has to live until the end, and to end well."""
    write_names(home / "names", names.listed)
    endpoint = Endpoint(f"{loopback_network()}.1", free_port())
    command = [program("python"), "-m", "bench.dns_serving", "--names", str(home / "names")]
    command += ["--implementation", implementation.value, "--listen", str(endpoint), *options]
    process = LabProcess("dns", command, home / "output")
    process.start()
    try:
        wait_until(lambda: is_answered_over_tcp(endpoint, names), seconds=SECONDS, what="it serves")
        yield process, endpoint
        assert process.running, process.tail()
        assert 0 == process.stop()
        assert "Traceback" not in process.tail()
    finally:
        process.kill()


def free_port() -> int:
    """A port that nobody has at any address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


def answer_to(endpoint: Endpoint, label: str) -> dns.message.Message | None:
    """What comes back for a name's A before a resolver would ask again."""
    asked = dns.message.make_query(f"{label}.{ORIGIN}", "A")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(TRY_SECONDS)
        client.connect((endpoint.host, endpoint.port))
        try:
            client.send(asked.to_wire())
            answer = dns.message.from_wire(client.recv(4096))
        except OSError:
            return None
    assert asked.is_response(answer)
    return answer


class Checker:
    """Asks real questions for as long as a `with` lasts; its end raises what was found wrong."""

    def __init__(self, endpoint: Endpoint, names: Names) -> None:
        self.asked = 0
        self._endpoint, self._names = endpoint, names
        self._ending = threading.Event()
        self._problems: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Checker:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        self._thread.join()
        assert self._problems == []

    def _run(self) -> None:
        pairs = cycle(zip(self._names.listed, self._names.unlisted, strict=True))
        for listed, unlisted in pairs:
            self._check(listed, [dotted(listed)], dns.rcode.NOERROR)
            self._check(unlisted, [], dns.rcode.NXDOMAIN)
            if self._ending.is_set():
                return

    def _check(self, number: int, addresses: list[str], rcode: dns.rcode.Rcode) -> None:
        self.asked += 1
        for _ in range(TRIES):
            answer = answer_to(self._endpoint, dashed(number))
            if answer is not None:
                break
        else:
            self._problems.append(f"{dotted(number)}: no answer")
            return
        found = [str(data) for records in answer.answer for data in records]
        if (found, answer.rcode()) != (addresses, rcode):
            self._problems.append(f"{dotted(number)}: {answer}")


def hostile_packets(names: Names) -> Iterator[Asked]:
    """Queries bent and broken, noise of any length, answers, and floods of the longest."""
    source = random.Random(7)
    usual = list(make_queries("malformed", names, COUNT))
    for number in range(4 * COUNT):
        match number % 4:
            case 0:
                wire = mutated(source, random_query(source))
            case 1:
                wire = source.randbytes(source.choice([2, 11, 12, 13, 40, 512, 1400, 4096]))
            case 2:
                wire = random_query(source)
            case _:
                wire = mutated(source, source.choice(usual).wire)
        yield Asked(wire.ljust(2, b"\0"), None)


@both
def test_hostile_packets_at_full_speed(
    names: Names, generator: Path, tmp_path: Path, implementation: Implementation
) -> None:
    """Nothing crashes, whoever asks is answered rightly and in time, and memory stays as it is."""
    packets, rate = tmp_path / "packets", FLOOD_RATES[implementation]
    write_queries(packets, hostile_packets(names))
    with serving(names, tmp_path, implementation) as (process, endpoint):
        # Its arenas and buffers grow to their size, and need not do so again.
        dnsload(generator, endpoint, packets, 1, rate=rate)
        before = rss_mb(process.pid)
        with Checker(endpoint, names) as checker:
            dnsload(generator, endpoint, packets, FLOOD_SECONDS, rate=rate)
        assert checker.asked
        assert rss_mb(process.pid) <= before + GROWTH_MB


@both
def test_a_flood_of_unregistered_names_is_never_met_with_silence(
    names: Names, generator: Path, tmp_path: Path, implementation: Implementation
) -> None:
    """Beyond the limits of a network each answer says TC, or is whole: a real resolver among those
    that ask from there asks again over TCP."""
    asked = tmp_path / "asked"
    numbers = range(0x0A000000, 0x0A000000 + UNREGISTERED_A_SECOND)
    absent = Expected(Rcode.NXDOMAIN, 0)
    wires = (query(f"{dashed(number)}.{ORIGIN}", Type.A) for number in numbers)
    write_queries(asked, (Asked(wire, absent) for wire in wires))
    with serving(names, tmp_path, implementation, "--limited") as (_, endpoint):
        rate, label = UNREGISTERED_A_SECOND, dashed(names.unlisted[0])
        with ThreadPoolExecutor(1) as pool:
            flood = pool.submit(
                dnsload, generator, endpoint, asked, FLOOD_SECONDS, rate=rate, window=500
            )
            wait_until(
                lambda: is_truncated(answer_to(endpoint, label)), seconds=FLOOD_SECONDS, what="TC"
            )
            assert dns.rcode.NXDOMAIN == over_tcp(endpoint, label).rcode()
            load = flood.result()
        assert (0, 0) == (load.wrong, load.lost), load.first_wrong


def is_truncated(answer: dns.message.Message | None) -> bool:
    return answer is not None and bool(answer.flags & dns.flags.TC)


def over_tcp(endpoint: Endpoint, label: str) -> dns.message.Message:
    """The answer for a name's A over a connection of its own; OSError when it is refused."""
    with socket.create_connection((endpoint.host, endpoint.port), SECONDS) as client:
        client.sendall(framed(dns.message.make_query(f"{label}.{ORIGIN}", "A").to_wire()))
        return read_framed(client)


def framed(wire: bytes) -> bytes:
    return struct.pack("!H", len(wire)) + wire


def read_framed(client: socket.socket) -> dns.message.Message:
    """The next answer; ConnectionError at the connection's end."""
    length = client.recv(2, socket.MSG_WAITALL)
    if not length:
        raise ConnectionError("closed")
    size = int.from_bytes(length)
    return dns.message.from_wire(client.recv(size, socket.MSG_WAITALL))


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    """This process may have so many open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), max(hard, count)))
    except (PermissionError, ValueError):
        pytest.skip(f"the system allows {hard} open files, not {count}")
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(hard, count)))


@both
def test_ten_thousand_slow_clients_do_not_stop_the_others(
    names: Names, tmp_path: Path, implementation: Implementation
) -> None:
    """Each begins a query and stops. The server keeps few of them, in bounded memory, and a client
    that asks is answered: over UDP at once, over TCP as soon as a place is not new any more."""
    with (
        descriptors(SLOW_CLIENTS + 500),
        serving(names, tmp_path, implementation) as (process, endpoint),
        ExitStack() as stack,
    ):
        before = rss_mb(process.pid)
        with Checker(endpoint, names):
            for number in range(SLOW_CLIENTS):
                stack.enter_context(slow_client(endpoint, number))
            wait_until(
                lambda: is_answered_over_tcp(endpoint, names), seconds=SECONDS, what="a place"
            )
        # Whoever is refused was accepted first, and is closed a few turns of the loop later.
        wait_until(
            lambda: descriptors_of(process) <= tcp.MAX_CONNECTIONS + OTHER_DESCRIPTORS,
            seconds=SECONDS,
            what="no more connections than may stay",
        )
        assert rss_mb(process.pid) <= before + GROWTH_MB


def slow_client(endpoint: Endpoint, number: int) -> socket.socket:
    """A connection that says a byte of its query's length and no more; some hundred come from one
    address."""
    at = number // CLIENTS_AN_ADDRESS
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.bind((f"127.99.{at // 250}.{at % 250 + 1}", 0))
    # Who is not let in at once waits in the kernel, as an attacker would.
    client.setblocking(False)
    client.connect_ex((endpoint.host, endpoint.port))
    with suppress(OSError):
        client.send(b"\0")
    return client


def descriptors_of(process: LabProcess) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


def is_answered_over_tcp(endpoint: Endpoint, names: Names) -> bool:
    try:
        return bool(over_tcp(endpoint, dashed(names.listed[0])).answer)
    except OSError:
        return False


@both
def test_who_asks_and_closes_his_side_is_answered(
    names: Names, tmp_path: Path, implementation: Implementation
) -> None:
    """All that was asked before the end, however much at once; then the connection is closed."""
    asked = [dashed(number) for number in names.listed[:100]]
    wires = [dns.message.make_query(f"{label}.{ORIGIN}", "A").to_wire() for label in asked]
    with (
        serving(names, tmp_path, implementation) as (_, endpoint),
        socket.create_connection((endpoint.host, endpoint.port), SECONDS) as client,
    ):
        client.sendall(b"".join(map(framed, wires)))
        client.shutdown(socket.SHUT_WR)
        found = [read_framed(client).answer[0].name.labels[0].decode() for _ in asked]
        assert asked == found
        assert b"" == client.recv(1)


@both
def test_lengths_that_lie_cost_their_sender_the_connection(
    names: Names, tmp_path: Path, implementation: Implementation
) -> None:
    """Too long, none at all, or followed by noise: a flood of these leaves no trace."""
    source = random.Random(3)
    with serving(names, tmp_path, implementation) as (process, endpoint):
        for _ in range(300):
            length = source.choice([0, 1, 11, 12, MAX_QUERY_BYTES, 0xFFFF])
            noise = struct.pack("!H", length) + source.randbytes(source.randrange(100))
            with socket.create_connection((endpoint.host, endpoint.port), SECONDS) as client:
                client.sendall(noise)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Where this one client's last connections still end, it has no place for another.
        wait_until(lambda: is_answered_over_tcp(endpoint, names), seconds=SECONDS, what="an answer")
        wait_until(
            lambda: len(list(Path(f"/proc/{process.pid}/fd").iterdir())) <= OTHER_DESCRIPTORS,
            seconds=SECONDS,
            what="no connection is left",
        )
