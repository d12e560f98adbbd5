"""The servers under measurement: started one after another, checked, watched, ended."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dns.message
import dns.rcode
import dns.rdatatype

from bench.dns_names import ORIGIN, dashed, dotted
from bench.dns_peers import ECHO, PEERS, Data
from bench.dns_queries import query
from bench.dns_serving import IMPLEMENTATIONS, unavailable
from bench.load import pinned
from bench.processes import cpu_seconds, pin_threads, session_pids, shared_rss_mb
from bench.results import console
from lab.process import LabError, LabProcess, program
from node.endpoint import Endpoint
from secondary.dns.codes import Type

OURS: Final = {f"smtpnic-{name}": name for name in IMPLEMENTATIONS}
SERVERS: Final = (*OURS, *PEERS)
# rbldnsd's lists have one value for all names; that of RFC 5782, 2.1.
_LIST_VALUE: Final = "127.0.0.2"
# Each server has a loopback address of its own, so that no answer can be another's. BIND listens
# only at those that an interface lists.
_LISTED_LOOPBACK: Final = "127.0.0.1"
LOAD_SECONDS: Final = 300.0
ANSWER_SECONDS: Final = 0.2
POLL_SECONDS: Final = 0.01
SAMPLE: Final = 100
_RECEIVE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Subject:
    """A running server that answers; `load_s` is what it took from its start until it did."""

    name: str
    endpoint: Endpoint
    process: LabProcess
    load_s: float

    def cpu_seconds(self) -> float:
        """CPU time so far of all its processes."""
        return sum(map(cpu_seconds, session_pids(self.process.pid)))

    def rss_mb(self) -> float:
        """Resident memory now of all its processes, in MiB; pages they share count once."""
        return shared_rss_mb(session_pids(self.process.pid))

    def switch_changes(self) -> None:
        """Begins or ends the changes to one of ours."""
        self.process.signal(signal.SIGUSR1)

    def serial(self) -> int:
        """The zone's serial now; LabError if it does not say."""
        answer = ask(self.endpoint, query(ORIGIN, Type.SOA))
        if answer is None or not answer.answer:
            raise LabError(f"{self.name} answers for its SOA: {answer}")
        return int(answer.answer[0][0].serial)


def chosen(wanted: Sequence[str]) -> list[str]:
    """The servers of `wanted`, all if it is empty, that exist here; says which do not."""
    names = [name for name in SERVERS if name in wanted or not wanted]
    if unknown := set(wanted) - set(SERVERS):
        raise SystemExit(f"no such server: {', '.join(sorted(unknown))}")
    for name in list(names):
        reason = unavailable(OURS[name]) if name in OURS else None
        if reason is not None:
            console.print(f"  {reason}")
            names.remove(name)
    return names


@contextmanager
def running(
    names: Iterable[str], data: Data, listed: Sequence[int], home: Path, core: int | None
) -> Iterator[list[Subject]]:
    """The named servers on one core, each loaded with nothing else at work there."""
    with ExitStack() as stack:
        subjects = []
        for number, name in enumerate(names, 1):
            directory = home / name
            directory.mkdir(mode=0o755, parents=True)
            endpoint = free_endpoint(_LISTED_LOOPBACK if name == "bind" else f"127.53.0.{number}")
            command = command_of(name, data, endpoint, directory)
            process = LabProcess(name, command, directory / "output")
            stack.callback(end, process)
            subject = start(process, endpoint, listed, core)
            check_sample(subject, listed)
            console.print(f"  {name}: {len(listed):,} names after {subject.load_s:.1f} s")
            subjects.append(subject)
        yield subjects


def command_of(name: str, data: Data, endpoint: Endpoint, home: Path) -> list[str]:
    """What starts a server."""
    if name in PEERS:
        return PEERS[name](data, endpoint, home)
    command = [program("python"), "-m", "bench.dns_serving", "--implementation", OURS[name]]
    command += ["--names", str(data.packed), "--listen", str(endpoint)]
    return [*command, "--long-hosts"] if data.with_text else command


def start(
    process: LabProcess, endpoint: Endpoint, listed: Sequence[int], core: int | None
) -> Subject:
    """Starts one on a core; LabError if it does not answer."""
    began = time.monotonic()
    with pinned(core):
        process.start()
    while not is_right(process.name, ask_address(endpoint, listed[-1]), listed[-1]):
        if not process.running:
            raise LabError(f"{process.name} ended\n{process.tail()}")
        if time.monotonic() - began > LOAD_SECONDS:
            raise LabError(f"{process.name} does not answer\n{process.tail()}")
        time.sleep(POLL_SECONDS)
    # Knot spreads its threads over all cores, whatever it was given.
    pin_threads(session_pids(process.pid), core)
    return Subject(process.name, endpoint, process, round(time.monotonic() - began, 2))


def end(process: LabProcess) -> None:
    """What does not drain at once is killed: it holds nothing that anybody needs."""
    if process.running:
        process.kill()


def check_sample(subject: Subject, listed: Sequence[int]) -> None:
    """LabError unless names all over the zone have the address that they should."""
    for number in listed[:: max(len(listed) // SAMPLE, 1)]:
        answer = ask_address(subject.endpoint, number)
        if not is_right(subject.name, answer, number):
            raise LabError(f"{subject.name} answers for {dashed(number)}: {answer}")


def is_right(server: str, answer: dns.message.Message | None, number: int) -> bool:
    """Whether an answer is the one record that `server` should have for a registered address."""
    if server == ECHO:
        return answer is not None
    if answer is None or answer.rcode() != dns.rcode.NOERROR or len(answer.answer) != 1:
        return False
    expected = _LIST_VALUE if server == "rbldnsd" else dotted(number)
    (records,) = answer.answer
    return records.rdtype == dns.rdatatype.A and [expected] == [str(data) for data in records]


def ask_address(endpoint: Endpoint, number: int) -> dns.message.Message | None:
    """The answer for an address, None if none comes in a moment."""
    return ask(endpoint, query(f"{dashed(number)}.{ORIGIN}", Type.A))


def ask(endpoint: Endpoint, wire: bytes) -> dns.message.Message | None:
    """The answer to one query, None if none comes in a moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(ANSWER_SECONDS)
        client.connect((endpoint.host, endpoint.port))
        try:
            client.send(wire)
            return dns.message.from_wire(client.recv(_RECEIVE_BYTES))
        except OSError:
            # Nobody listens yet, or it is still loading.
            return None


def free_endpoint(host: str) -> Endpoint:
    """A port of an address at which nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return Endpoint(host, probe.getsockname()[1])
