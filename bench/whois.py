"""How many WHOIS questions a second the primary's lookup process answers, on one core.

    python -m bench.whois

Every question is a connection of its own, asked by whom the others wait for: first as many as go,
then 2,000 a second. Meanwhile somebody registers, 50 times a second, on the other core, where the
primary and the clients are; how long that takes is measured with and without the questions.
"""

from __future__ import annotations

import os
import select
import socket
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from bench.filled import filled_cluster
from bench.processes import cpu_seconds, pin_threads, rss_mb
from bench.registrant import CONTACT, Registrant, host_of, primary_of, unused_addresses
from bench.results import console, load_average, print_table, write_results
from lab.asking import wait_for
from lab.cluster import Cluster, loopback_network, ready
from lab.people import addresses

NAMES: Final = int(os.environ.get("NAMES", "1000000"))
SECONDS: Final = float(os.environ.get("SECONDS", "10"))
RATE: Final = int(os.environ.get("RATE", "2000"))
CLIENTS: Final = 40
REGISTRATIONS_A_SECOND: Final = 50
WHOIS_PORT: Final = 4343
HTTP_PORT: Final = 7471
WHOIS_CORE, OTHER_CORE = 0, (os.cpu_count() or 1) - 1
LOAD_SECONDS: Final = 300.0


@dataclass
class Measured:
    """One run: seconds of every answer and every registration, and the CPU time of WHOIS."""

    seconds: float = 0.0
    cpu: float = 0.0
    answers: list[float] = field(default_factory=list)
    registrations: list[float] = field(default_factory=list)


class Registering:
    """Registers addresses at a steady pace, in a thread, until it is closed."""

    def __init__(self, cluster: Cluster) -> None:
        self.took: list[float] = []
        self._registrant = Registrant(source=unused_addresses())
        self._primary = primary_of(cluster)
        self._primary.create_holder(self._registrant.key, CONTACT)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def take(self) -> list[float]:
        """What registrations took since the last time."""
        took, self.took = self.took, []
        return took

    def close(self) -> None:
        """Ends it."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            due += 1 / REGISTRATIONS_A_SECOND
            address = next(self._registrant.source)
            started = time.monotonic()
            host = host_of(address)
            self._primary.register(self._registrant.key, address, host, "customers.example")
            self.took.append(time.monotonic() - started)


def questions() -> list[bytes]:
    """Addresses for the most part; host names, networks, and what is not registered."""
    known = islice(addresses(), 0, NAMES, max(1, NAMES // 10_000))
    return [_question(number % 10, address) for number, address in enumerate(known)]


def _question(kind: int, address: str) -> bytes:
    asked = {7: host_of(address), 8: f"{address}/28", 9: "192.0.2.1"}.get(kind, address)
    return f"{asked}\r\n".encode()


class Clients:
    """So many clients, each with an address of its own and one question at a time.

    At a `rate` in all, or each as soon as it was answered; without asyncio, which would cost more
    than the server.
    """

    def __init__(self, address: str, rate: float) -> None:
        network = address.rpartition(".")[0]
        self._address = address
        self._spacing = 1 / rate if rate else 0.0
        self._free = deque(f"{network}.{100 + number}" for number in range(CLIENTS))
        self._asked: dict[int, tuple[socket.socket, str, float]] = {}
        self._poll = select.epoll()
        # Made before anybody waits: to count the addresses of a million takes a while.
        self._questions = cycle(questions())
        self.took: list[float] = []

    def run(self, seconds: float) -> None:
        """Asks for so long, and waits for the last answers."""
        due = time.monotonic()
        until = due + seconds
        while due < until or self._asked:
            now = time.monotonic()
            while self._free and due <= now and due < until:
                self._ask(due if self._spacing else now)
                due = due + self._spacing if self._spacing else now
            if now >= until and not self._spacing:
                due = until
            self._take(max(0.0, due - now) if self._free and due < until else 0.05)
        self._poll.close()

    def _ask(self, started: float) -> None:
        local = self._free.popleft()
        client = socket.socket()
        client.bind((local, 0))
        client.connect((self._address, WHOIS_PORT))
        client.sendall(next(self._questions))
        self._asked[client.fileno()] = client, local, started
        self._poll.register(client, select.EPOLLIN)

    def _take(self, seconds: float) -> None:
        for descriptor, _ in self._poll.poll(seconds):
            client, local, started = self._asked[descriptor]
            if client.recv(65536):
                continue
            del self._asked[descriptor]
            client.close()
            self._free.append(local)
            self.took.append(time.monotonic() - started)


def measure(address: str, pid: int, registering: Registering, rate: float) -> Measured:
    """All clients for so many seconds; at a rate in all, or without one."""
    clients = Clients(address, rate)
    registering.take()
    started, cpu = time.monotonic(), cpu_seconds(pid)
    clients.run(SECONDS)
    return Measured(
        time.monotonic() - started, cpu_seconds(pid) - cpu, clients.took, registering.take()
    )


def lookup_pid(cluster: Cluster) -> int:
    """The process beside the primary that answers."""
    pid = cluster.primary.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"primary.lookup_process" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise RuntimeError("the primary has no lookup process")


def main() -> None:
    """Measures and writes bench/results/whois.json."""
    load, address = load_average(), f"{loopback_network()}.9"
    os.environ |= {
        "SMTPNIC_PRIMARY_WHOIS__LISTEN": f"{address}:{WHOIS_PORT}",
        "SMTPNIC_PRIMARY_WHOIS__HTTP": f"{address}:{HTTP_PORT}",
        "SMTPNIC_PRIMARY_WHOIS__PER_SECOND": "0",
    }
    with (
        tempfile.TemporaryDirectory(prefix="smtpnic-bench-") as directory,
        filled_cluster(Path(directory), NAMES, 0) as cluster,
    ):
        began = time.monotonic()
        wait_for(lambda: ready(address, HTTP_PORT), LOAD_SECONDS, "WHOIS is ready")
        loaded, pid = time.monotonic() - began, lookup_pid(cluster)
        pin_threads([pid], WHOIS_CORE)
        pin_threads([cluster.primary.pid, os.getpid()], OTHER_CORE)
        registering = Registering(cluster)
        try:
            time.sleep(SECONDS / 2)
            alone = Measured(SECONDS / 2, registrations=registering.take())
            runs = {
                "none": alone,
                f"{RATE:,} a second": measure(address, pid, registering, RATE),
                "as many as go": measure(address, pid, registering, 0),
            }
        finally:
            registering.close()
        _report(runs, load, loaded, rss_mb(pid))


def _report(runs: dict[str, Measured], load: float, loaded: float, rss: float) -> None:
    columns = (
        "questions",
        "answers/s",
        "p50 ms",
        "p99 ms",
        "CPU us an answer",
        "registering p50 ms",
        "p99 ms",
    )
    rows = [
        (
            name,
            round(len(run.answers) / run.seconds),
            *_quantiles(run.answers),
            round(run.cpu / len(run.answers) * 1e6) if run.answers else "",
            *_quantiles(run.registrations),
        )
        for name, run in runs.items()
    ]
    print_table(f"{NAMES:,} registrations, one core for WHOIS; {rss} MB", columns, rows)
    figures = {
        "names": NAMES,
        "load_before": load,
        "ready_seconds": round(loaded, 1),
        "rss_mb": rss,
        "runs": [list(row) for row in rows],
        "columns": list(columns),
    }
    console.print(f"written to {write_results('whois', figures)}")


def _quantiles(took: list[float]) -> tuple[float | str, float | str]:
    if not took:
        return "", ""
    ordered = sorted(took)
    return tuple(round(ordered[int(s * (len(took) - 1))] * 1000, 2) for s in (0.5, 0.99))  # type: ignore[return-value]


if __name__ == "__main__":
    main()
