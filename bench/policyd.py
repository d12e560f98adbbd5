"""How many questions a second the policy service answers, over real sockets, on one core.

    python -m bench.policyd

Half of the senders are registered. Measured are answers from the cache, which is the common case
(few senders, many messages), and answers for which DNS is asked each time. Clients keep a
connection each, as Postfix's processes do, and wait for an answer before they ask again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import uvloop

from bench.processes import cpu_seconds
from bench.results import console, print_table, write_results
from lab.asking import wait_for
from lab.cluster import loopback_network
from lab.process import LabProcess, program

CLIENTS: Final = int(os.environ.get("CLIENTS", "20"))
SECONDS: Final = float(os.environ.get("SECONDS", "5"))
# Of one site in a minute.
SENDERS: Final = 1000
POLICY_PORT: Final = 10040
DNS_PORT: Final = 5353
SERVICE_CORE, OTHER_CORE = 0, (os.cpu_count() or 1) - 1


@dataclass(frozen=True)
class Measured:
    """One run: answers, how long each took in seconds, and the service's CPU time."""

    seconds: float
    took: list[float]
    cpu: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.took) / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds within which that share was answered."""
        return sorted(self.took)[int(share * (len(self.took) - 1))] * 1000


def serve_dns(host: str) -> None:
    """Answers for ever: addresses with an even last number are registered."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((host, DNS_PORT))
    soa = b"\xc0\x0c\0\x06\0\x01\0\0\0\x3c\0\x16\0\0" + b"\0\0\0\1" + b"\0\0\0\x3c" * 4
    while True:
        query, peer = server.recvfrom(512)
        label = query[13 : 13 + query[12]]
        packed = bytes(int(part) for part in label.split(b"-"))
        end = query.index(b"\0", 12) + 5
        if packed[3] % 2 == 0:
            answer = b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4" + packed
            head = b"\x81\x80\0\1\0\1\0\0\0\0"
        else:
            answer, head = soa, b"\x81\x83\0\1\0\0\0\1\0\0"
        server.sendto(query[:2] + head + query[12:end] + answer, peer)


def addresses() -> Iterator[str]:
    """Each another one."""
    for number in count(1):
        yield f"11.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


async def _client(
    host: str, next_address: Callable[[], str], until: float, took: list[float]
) -> None:
    reader, writer = await asyncio.open_connection(host, POLICY_PORT)
    while (started := time.monotonic()) < until:
        writer.write(
            b"request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n"
            b"helo_name=mail.example.org\nqueue_id=\nsender=a@example.org\n"
            b"recipient=b@mx.example\nrecipient_count=0\nclient_address="
            + next_address().encode()
            + b"\nclient_name=mail.example.org\nreverse_client_name=mail.example.org\n"
            b"instance=1234.5678\nsasl_method=\nsasl_username=\nsize=0\n\n"
        )
        answer = await reader.readuntil(b"\n\n")
        assert answer.startswith((b"action=DUNNO", b"action=550"))
        took.append(time.monotonic() - started)
    writer.close()


def measure(host: str, pid: int, next_address: Callable[[], str]) -> Measured:
    """All clients for so many seconds."""

    async def run() -> Measured:
        took: list[float] = []
        started, cpu = time.monotonic(), cpu_seconds(pid)
        until = started + SECONDS
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(_client(host, next_address, until, took))
        return Measured(time.monotonic() - started, took, cpu_seconds(pid) - cpu)

    return uvloop.run(run())


def main() -> None:
    """Measures both cases and writes bench/results/policyd.json."""
    host = f"{loopback_network()}.1"
    os.sched_setaffinity(0, {OTHER_CORE})
    with tempfile.TemporaryDirectory(prefix="smtpnic-bench-") as directory:
        root = Path(directory)
        dns = LabProcess("dns", [sys.executable, "-m", "bench.policyd", host], root / "dns.log")
        policyd = LabProcess(
            "policyd",
            [program("smtpnic-policyd"), "run", "--mode", "enforce"],
            root / "policyd.log",
            {
                "SMTPNIC_POLICYD_LISTEN": f'["{host}:{POLICY_PORT}"]',
                "SMTPNIC_POLICYD_RESOLVERS": f'["{host}:{DNS_PORT}"]',
                "SMTPNIC_POLICYD_GUARD_SECONDS": "0",
            },
        )
        try:
            dns.start()
            policyd.start()
            wait_for(lambda: "policyd.ready" in policyd.tail(), 20, "policyd ready")
            os.sched_setaffinity(policyd.pid, {SERVICE_CORE})
            fresh = addresses()
            each_new = measure(host, policyd.pid, lambda: next(fresh))
            known = [next(fresh) for _ in range(SENDERS)]
            turns = count()
            again = lambda: known[next(turns) % SENDERS]  # noqa: E731
            measure(host, policyd.pid, again)
            cached = measure(host, policyd.pid, again)
        finally:
            policyd.stop()
            dns.kill()
    _report({"from the cache": cached, "DNS asked each time": each_new})


def _report(runs: dict[str, Measured]) -> None:
    columns = ("smtpnic-policyd", "answers/s", "p50 ms", "p99 ms", "CPU us an answer")
    figures = {
        name: (
            round(run.rate),
            round(run.quantile(0.5), 2),
            round(run.quantile(0.99), 2),
            round(run.cpu / len(run.took) * 1e6, 1),
        )
        for name, run in runs.items()
    }
    title = f"{CLIENTS} clients, one core for the service"
    print_table(title, columns, [(name, *values) for name, values in figures.items()])
    shown = {name: dict(zip(columns[1:], values, strict=True)) for name, values in figures.items()}
    console.print(f"written to {write_results('policyd', {'clients': CLIENTS, 'runs': shown})}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve_dns(sys.argv[1])
    main()
