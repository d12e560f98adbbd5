"""Signed, durable changes a second: one by one by 1, 8 and 64 clients, and in bulk.

Beside them in the same run: etcd's durable puts, and what gRPC for Python carries here when the
server does nothing. Every client waits for its answer before it sends the next change.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.bulk import CHANGES_A_REQUEST, submit_bulk
from bench.load import ClosedLoop, Measured, pinned
from bench.processes import cpu_seconds
from bench.registrant import CONTACT, Registrant, primary_of, unused_addresses
from bench.results import console, load_average, print_table, write_results
from bench.targets import (
    Measurable,
    echo_server,
    etcd_server,
    measurable_primary,
    primary_cluster,
    store_durability,
)
from lab.cluster import Cluster
from lab.postgres import postgres_server

CLIENTS: Final = (1, 8, 64)
WARM_SECONDS: Final = 1.0
# More calls a second than anything here answers; made before the clock runs.
MAX_CALLS_A_SECOND: Final = 12_000
MAX_BULK_A_SECOND: Final = 30_000
ECHO: Final = "grpc_echo"
# Of a log named smtpnic.org, of millions of entries.
CHECKPOINT_BYTES: Final = 175


@dataclass
class Figures:
    """What was measured so far, by name and number of clients."""

    single: dict[str, dict[int, Measured]] = field(default_factory=dict)
    cpu_us: dict[str, dict[int, float]] = field(default_factory=dict)
    bulk: dict[str, float] = field(default_factory=dict)
    durability: dict[str, str] = field(default_factory=dict)


def measure(subject: Measurable, seconds: float, figures: Figures) -> None:
    """One subject with each number of clients; checks that every acknowledged change is there."""
    figures.durability[subject.name] = subject.durability
    for clients in CLIENTS:
        console.print(f"  {subject.name}, {clients} clients")
        loop = ClosedLoop(subject.target, clients)
        try:
            warm = loop.run(iter(subject.messages(MAX_CALLS_A_SECOND)), WARM_SECONDS)
            messages = subject.messages(int(seconds * MAX_CALLS_A_SECOND))
            before, cpu = subject.count(), cpu_seconds(subject.process)
            measured = loop.run(iter(messages), seconds)
            spent = cpu_seconds(subject.process) - cpu
            after = subject.count()
        finally:
            loop.close()
        if before is not None and after is not None and after - before != measured.calls:
            raise SystemExit(f"{measured.calls} acknowledged, {after - before} found")
        if not warm.calls:
            raise SystemExit(f"{subject.name} answered nothing")
        figures.single.setdefault(subject.name, {})[clients] = measured
        figures.cpu_us.setdefault(subject.name, {})[clients] = spent / measured.calls * 1e6


def measure_bulk(name: str, cluster: Cluster, seconds: float, figures: Figures) -> None:
    """One stream of changes in requests of 600."""
    console.print(f"  {name}, in bulk")
    registrant = Registrant(source=unused_addresses())
    with primary_of(cluster) as primary:
        primary.create_holder(registrant.key, CONTACT)
        count = int(seconds * MAX_BULK_A_SECOND / CHANGES_A_REQUEST)
        encoded = registrant.bulk(count, CHANGES_A_REQUEST)
        before = primary.statistics().registrations
        changes, took = submit_bulk(cluster, encoded, seconds)
        found = primary.statistics().registrations - before
    if found != changes:
        raise SystemExit(f"{changes} acknowledged, {found} found")
    figures.bulk[name] = changes / took


@contextmanager
def clusters(root: Path) -> Iterator[list[tuple[str, Cluster, str]]]:
    """A primary on each store: name, cluster, durability."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server())
        url = server.create_database("registry")
        sqlite = stack.enter_context(primary_cluster(root / "sqlite"))
        postgresql = stack.enter_context(primary_cluster(root / "postgresql", url))
        sqlite_url = f"sqlite:///{sqlite.primary_dir / 'data' / 'registry.sqlite3'}"
        yield [
            ("sqlite", sqlite, store_durability(sqlite_url)),
            ("postgresql", postgresql, store_durability(url)),
        ]


def run(seconds: float, figures: Figures) -> None:
    """Everything, one after another."""
    with tempfile.TemporaryDirectory(prefix="smtpnic-ingest-") as directory:
        root = Path(directory)
        with clusters(root) as primaries:
            _, first, _ = primaries[0]
            with echo_server(first, CHECKPOINT_BYTES) as subject:
                measure(subject, seconds, figures)
            for name, cluster, durability in primaries:
                measure(measurable_primary(name, cluster, durability), seconds, figures)
                measure_bulk(name, cluster, seconds, figures)
        with etcd_server(root / "etcd") as subject:
            measure(subject, seconds, figures)


def report(figures: Figures, load_before: float) -> dict[str, Any]:
    """Prints the tables; the figures for the file."""
    columns = ["", *(f"{clients} clients" for clients in CLIENTS), "in bulk"]
    rows: list[Sequence[object]] = []
    for name, by_clients in figures.single.items():
        rates = [round(by_clients[clients].per_second) for clients in CLIENTS]
        rows.append([name, *rates, round(figures.bulk[name]) if name in figures.bulk else ""])
    print_table("Signed, durable changes a second (etcd: puts; grpc_echo: calls)", columns, rows)
    for title, quantity in (("p50", "p50_ms"), ("p99", "p99_ms")):
        rows = [
            [name, *(float(getattr(by_clients[clients], quantity)) for clients in CLIENTS)]
            for name, by_clients in figures.single.items()
        ]
        print_table(f"Milliseconds to the acknowledgement, {title}", columns[:-1], rows)
    rows = [[name, *map(round, by.values())] for name, by in figures.cpu_us.items()]
    print_table("Microseconds of the server's CPU a call", columns[:-1], rows)
    for name, text in figures.durability.items():
        console.print(f"  {name}: {text}")
    single = figures.single
    return {
        "load_before": load_before,
        "changes_per_second": _by(single, lambda m: round(m.per_second, 1)),
        "bulk_changes_per_second": {name: round(rate, 1) for name, rate in figures.bulk.items()},
        "p50_ms": _by(single, lambda m: round(m.p50_ms, 3)),
        "p99_ms": _by(single, lambda m: round(m.p99_ms, 3)),
        "server_cpu_us": {
            name: {str(clients): round(us) for clients, us in by.items()}
            for name, by in figures.cpu_us.items()
        },
        "ratio_to_grpc_echo": {
            name: {
                str(clients): round(m.per_second / single[ECHO][clients].per_second, 3)
                for clients, m in by.items()
            }
            for name, by in single.items()
            if name != ECHO
        },
        "durability": figures.durability,
    }


def _by(single: dict[str, dict[int, Measured]], pick: Any) -> dict[str, dict[str, float]]:
    return {name: {str(n): pick(m) for n, m in by.items()} for name, by in single.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-ingest", description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SECONDS", "5")))
    parser.add_argument("--client-core", type=int, default=None, help="keep the clients there")
    arguments = parser.parse_args()
    figures, load_before = Figures(), load_average()
    with pinned(arguments.client_core):
        run(arguments.seconds, figures)
    path = write_results("ingest", report(figures, load_before))
    console.print(f"  written to {path}")


if __name__ == "__main__":
    main()
