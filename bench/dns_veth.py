"""Our DNS server by AF_XDP beside itself, NSD and Knot on sockets, on virtual Ethernet.

Two namespaces and two pairs of devices, one for the frames and one for the sockets: made here, and
gone afterwards. What asks is on one core, the servers on another. What is measured has real-time
priority, so that others on the machine take little of it. Decision 11 (docs/decisions) says what
the layouts stand for.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.dns import MAX_QUERIES, cores, write_data
from bench.dns_generators import SLACK_SECONDS, TIMEOUT_MS, US_A_SECOND, WINDOW, Load, parse_dnsload
from bench.dns_measuring import Round
from bench.dns_names import make_names
from bench.dns_peers import Data, compiled
from bench.dns_queries import USUAL, make_queries, write_queries
from bench.dns_servers import Subject, check_sample, command_of, end, start
from bench.load import pinned
from bench.processes import cpu_seconds, session_pids
from bench.results import console, load_average, print_table, write_results
from lab.process import LabError, LabProcess, run
from node.endpoint import Endpoint

OURS: Final = "smtpnic-compiled"
BY_FRAMES: Final = f"{OURS}, AF_XDP"
SERVERS: Final = ("nsd", "knot", OURS, BY_FRAMES)
COMPARED_WITH: Final = "nsd"
PORT: Final = 53
# Above everything ordinary; what receives for the one that asks goes first there.
PRIORITY: Final = 10
# Between the attaching of dnsload's filter, which may start the device's thread anew, and its first
# query.
PLACE_SECONDS: Final = 0.1
# After each run: of a second, real-time threads are given 0.95 s (sched_rt_runtime_us).
REST_SECONDS: Final = 0.2
_CLONE_NEWNET: Final = 0x40000000


@dataclass(frozen=True, slots=True)
class Link:
    """A pair of devices, the first where queries come from, and their addresses."""

    client: str
    server: str
    client_host: str
    server_host: str


SOCKETS: Final = Link("benchc0", "benchs0", "10.78.0.1", "10.78.0.2")
FRAMES: Final = Link("benchc1", "benchs1", "10.78.1.1", "10.78.1.2")


@dataclass(frozen=True, slots=True)
class Layout:
    """What asks, and which ends have a thread on their own core for what they receive.

    One without has it received where it is sent.
    """

    title: str
    asks_by_frames: bool
    client_has_thread: bool
    server_has_thread: bool


LAYOUTS: Final = (
    Layout("each receives its own; AF_XDP asks", True, True, True),
    Layout("server receives its own and the client's; sockets ask", False, False, True),
    Layout("each receives the other's; AF_XDP asks", True, False, False),
    Layout("each receives the other's; sockets ask", False, False, False),
    Layout("each receives its own; sockets ask", False, True, True),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured, and the cores of what asks and of the servers."""

    names: int
    seconds: float
    rounds: int
    client_core: int
    server_core: int


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Their names; this process is in the client's."""

    client: str
    server: str

    def at_server(self, *command: str) -> list[str]:
        """The command, to be run where the servers are."""
        return ["ip", "netns", "exec", self.server, *command]


@contextmanager
def namespaces() -> Iterator[Namespaces]:
    """Both, with the links; what is started here meanwhile is in the client's."""
    made = Namespaces(f"bench-client-{os.getpid()}", f"bench-server-{os.getpid()}")
    with Path("/proc/self/ns/net").open("rb") as before:
        try:
            for name in (made.client, made.server):
                run(["ip", "netns", "add", name])
            for link in (SOCKETS, FRAMES):
                _add_link(made, link)
            with Path("/run/netns", made.client).open("rb") as client:
                _enter(client.fileno())
            yield made
        finally:
            _enter(before.fileno())
            for name in (made.client, made.server):
                subprocess.run(["ip", "netns", "delete", name], check=False)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _add_link(made: Namespaces, link: Link) -> None:
    one = ("numtxqueues", "1", "numrxqueues", "1")
    client = (link.client, "netns", made.client, *one)
    server = (link.server, "netns", made.server, *one)
    run(["ip", "link", "add", *client, "type", "veth", "peer", "name", *server])
    ends = (
        (made.client, link.client, link.client_host),
        (made.server, link.server, link.server_host),
    )
    for name, device, host in ends:
        run(["ip", "-n", name, "address", "add", f"{host}/24", "dev", device])
        run(["ip", "-n", name, "link", "set", device, "up"])


def kernel_threads(prefix: str) -> list[int]:
    """Kernel threads whose names begin so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().startswith(prefix):
                found.append(int(path.parent.name))
        except OSError:
            # It has ended meanwhile.
            continue
    return found


def place_threads(device: str, core: int, priority: int) -> list[int]:
    """Moves the threads that receive for a device to a core; their ids."""
    threads = kernel_threads(f"napi/{device}-")
    for thread in threads:
        os.sched_setaffinity(thread, {core})
        os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))
    return threads


class Bench:
    """The running servers, and what each came to in each layout."""

    def __init__(self, made: Namespaces, home: Path, settings: Settings) -> None:
        self._made, self._home, self._settings = made, home, settings
        self._binary = compiled("dnsload", home)
        self._queries = home / "queries"
        self._subjects: list[Subject] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """All servers, loaded."""
        names = make_names(self._settings.names)
        data = write_data(self._home / "data", names, with_text=False)
        most = min(len(names.listed), MAX_QUERIES)
        write_queries(self._queries, list(make_queries(USUAL, names, most)))
        with ExitStack() as stack:
            for number, name in enumerate(SERVERS):
                process = self._process(name, data, number)
                stack.callback(_end_all, process)
                core = self._settings.server_core
                endpoint = self._endpoint(name, number)
                subject = start(process, endpoint, names.listed, core)
                check_sample(subject, names.listed)
                console.print(f"  {name}: {len(names.listed):,} names, {subject.load_s:.1f} s")
                self._subjects.append(subject)
            yield

    def _process(self, name: str, data: Data, number: int) -> LabProcess:
        directory = self._home / str(number)
        directory.mkdir(mode=0o755)
        plain = OURS if name == BY_FRAMES else name
        command = command_of(plain, data, self._endpoint(name, number), directory)
        if name == BY_FRAMES:
            command += ["--interface", FRAMES.server]
        return LabProcess(name, self._made.at_server(*command), directory / "output")

    def _endpoint(self, name: str, number: int) -> Endpoint:
        return Endpoint(link_of(name).server_host, PORT + number)

    def measure(self, layout: Layout) -> dict[str, list[Round]]:
        """Rounds over all servers, every other one the other way about."""
        found: dict[str, list[Round]] = {subject.name: [] for subject in self._subjects}
        for link in (SOCKETS, FRAMES):
            self._lay_out(link, layout)
        for number in range(self._settings.rounds):
            for subject in self._subjects if number % 2 == 0 else reversed(self._subjects):
                found[subject.name].append(self._once(subject, layout))
        return found

    def _lay_out(self, link: Link, layout: Layout) -> None:
        at_client = ["ip", "netns", "exec", self._made.client]
        for prefix, device, threaded in (
            (at_client, link.client, layout.client_has_thread),
            (self._made.at_server(), link.server, layout.server_has_thread),
        ):
            # Sockets too are received in the thread then; segments that the other end leaves whole
            # would not be.
            both = layout.client_has_thread or layout.server_has_thread
            run([*prefix, "ethtool", "-K", device, "gro", "on", "tso", "off" if both else "on"])
            # A device takes it while it polls, which it does for GRO.
            path = f"/sys/class/net/{device}/threaded"
            run([*prefix, "sh", "-c", f"echo {int(threaded)} > {path}"])
            if not threaded:
                run([*prefix, "ethtool", "-K", device, "gro", "off"])

    def _once(self, subject: Subject, layout: Layout) -> Round:
        link, core = link_of(subject.name), self._settings.server_core
        _prioritise(subject, PRIORITY)
        threads = place_threads(link.server, core, PRIORITY)
        self._place_client(link)
        if layout.server_has_thread and not threads:
            raise LabError(f"{link.server} has no thread")
        beside = threads + kernel_threads(f"ksoftirqd/{core}")
        before = subject.cpu_seconds() + sum(map(cpu_seconds, beside))
        load = self._ask(subject, link, layout)
        spent = subject.cpu_seconds() + sum(map(cpu_seconds, beside)) - before
        _prioritise(subject, 0)
        time.sleep(REST_SECONDS)
        return Round(load, spent * US_A_SECOND / max(load.answered, 1))

    def _ask(self, subject: Subject, link: Link, layout: Layout) -> Load:
        numbers = (self._settings.seconds, WINDOW, 0, TIMEOUT_MS)
        target = subject.endpoint.host, str(subject.endpoint.port)
        command = ["chrt", "-f", str(PRIORITY), str(self._binary), *target, str(self._queries)]
        command += map(str, numbers)
        if layout.asks_by_frames:
            command += [link.client, self._link_address(link)]
        with pinned(self._settings.client_core):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if layout.asks_by_frames:
            time.sleep(PLACE_SECONDS)
            self._place_client(link)
        text, _ = process.communicate(timeout=self._settings.seconds + SLACK_SECONDS)
        if process.returncode:
            raise LabError(f"dnsload ended with {process.returncode}")
        return parse_dnsload(text)

    def _place_client(self, link: Link) -> None:
        # Before what asks, which would leave it no time of its core.
        place_threads(link.client, self._settings.client_core, PRIORITY + 1)

    def _link_address(self, link: Link) -> str:
        return run(self._made.at_server("cat", f"/sys/class/net/{link.server}/address")).strip()


def link_of(server: str) -> Link:
    """Where it is asked."""
    return FRAMES if server == BY_FRAMES else SOCKETS


def _prioritise(subject: Subject, priority: int) -> None:
    policy = os.SCHED_FIFO if priority else os.SCHED_OTHER
    for pid in session_pids(subject.process.pid):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))


def _end_all(process: LabProcess) -> None:
    """With what it started; nobody needs what they hold."""
    if process.running:
        for pid in session_pids(process.pid):
            os.kill(pid, signal.SIGKILL)
    end(process)


def figures(rounds: Mapping[str, Sequence[Round]]) -> dict[str, dict[str, Any]]:
    """By server: medians of CPU a query and queries a second, and what went wrong in all."""
    return {
        name: {
            "cpu_us": round(median(one.cpu_us for one in found), 2),
            "qps": round(median(one.load.per_second for one in found)),
            "lost": sum(one.load.lost for one in found),
            "wrong": sum(one.load.wrong for one in found),
        }
        for name, found in rounds.items()
    }


def print_layout(layout: Layout, found: Mapping[str, Mapping[str, Any]]) -> None:
    """One table: how much less CPU each takes than what it is compared with."""
    columns = ("server", "CPU us", "thousand/s", "lost", "wrong", f"to {COMPARED_WITH}")
    compared = found[COMPARED_WITH]["cpu_us"]
    rows = [
        (
            *(name, one["cpu_us"], round(one["qps"] / 1000), one["lost"], one["wrong"]),
            round(compared / one["cpu_us"], 2) if one["cpu_us"] else "-",
        )
        for name, one in found.items()
    ]
    print_table(layout.title, columns, rows)


def settings() -> Settings:
    """From the command line, or else the environment; SystemExit where it cannot run."""
    parser = argparse.ArgumentParser(prog="make bench-dns-veth", description=__doc__)
    env = os.environ.get
    parser.add_argument("--names", type=int, default=int(env("NAMES", "1000000")))
    parser.add_argument("--seconds", type=float, default=float(env("SECONDS", "0.3")))
    parser.add_argument("--rounds", type=int, default=int(env("ROUNDS", "5")))
    given = parser.parse_args()
    client, server = cores()
    if os.geteuid() or client is None or server is None:
        raise SystemExit("it needs root, for namespaces and AF_XDP, and two cores")
    return Settings(given.names, given.seconds, given.rounds, client, server)


def main() -> None:
    """Measures, prints, and writes bench/results/dns_veth.json."""
    wanted, load_before = settings(), load_average()
    # Namespaces outlive who made them, unless it ends in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    found = {}
    with tempfile.TemporaryDirectory(prefix="smtpnic-dns-") as directory, namespaces() as made:
        home = Path(directory)
        home.chmod(0o755)
        bench = Bench(made, home, wanted)
        with bench.running():
            for layout in LAYOUTS:
                found[layout.title] = figures(bench.measure(layout))
                print_layout(layout, found[layout.title])
    sizes = {"names": wanted.names, "seconds": wanted.seconds, "rounds": wanted.rounds}
    path = write_results("dns_veth", {"load_before": load_before, **sizes, "layouts": found})
    console.print(f"  written to {path}")


if __name__ == "__main__":
    main()
