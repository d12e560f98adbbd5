"""From a change to its answer in DNS at every secondary, one change at a time.

Registers an address, and asks every secondary for it until all answer. Measured from sending
the call, and from its acknowledgement; then, on one secondary, step by step.
"""

from __future__ import annotations

import argparse
import os
import select
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.filled import filled_cluster, last_address, start_secondary
from bench.http2 import CallError, Target, UnaryConnection
from bench.load import percentile
from bench.processes import cpu_seconds, processes
from bench.registrant import CONTACT, Registrant, primary_of, unused_addresses
from bench.results import console, load_average, print_table, read_results, write_results
from bench.steps import Observers
from bench.targets import REGISTER
from bench.watching import Askers
from lab.cluster import PRIMARY_HTTP_PORT, PUBLIC_PORT, Cluster, Secondary
from registry.checkpoint import open_checkpoint
from registry.wire.v1 import registration_pb2 as pb
from secondary.etcd import EtcdStore
from secondary.etcd_values import Unchanged
from secondary.roots import Roots
from secondary.settings import SecondarySettings

SECONDARIES: Final = (1, 3, 5)
WARM_CHANGES: Final = 20
ACKNOWLEDGE_SECONDS: Final = 20.0
MS: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Change:
    """One change: when it was sent, acknowledged, and visible at every secondary."""

    sent: float
    acknowledged: float
    visible: tuple[float, ...]


class Changer:
    """Registers addresses, one after another, and watches each of them arrive."""

    def __init__(self, cluster: Cluster) -> None:
        self._registrant = Registrant(source=unused_addresses())
        with primary_of(cluster) as primary:
            self.checkpoint = primary.create_holder(self._registrant.key, CONTACT).checkpoint
        self._target = Target(cluster.primary_address, PUBLIC_PORT, REGISTER, cluster.ca)
        self._connection = UnaryConnection(self._target)

    def reconnect(self) -> None:
        """Connects anew: the primary ends what was idle while secondaries were loading."""
        self.close()
        self._connection = UnaryConnection(self._target)

    def change(self, askers: Askers) -> Change:
        """One registration, until it is visible everywhere."""
        (message,) = self._registrant.single(1)
        address = pb.RegisterRequest.FromString(message).address
        sent = time.perf_counter()
        self._connection.start(message)
        answer = self._finish()
        acknowledged = time.perf_counter()
        visible = askers.wait_visible(address)
        self.checkpoint = pb.ChangeResponse.FromString(answer).receipt.checkpoint
        return Change(sent, acknowledged, tuple(visible))

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def _finish(self) -> bytes:
        while (answer := self._connection.finish()) is None:
            if not select.select([self._connection.socket], [], [], ACKNOWLEDGE_SECONDS)[0]:
                raise CallError(f"no answer within {ACKNOWLEDGE_SECONDS} s")
        return answer


def measure(changer: Changer, secondaries: Sequence[Secondary], changes: int) -> list[Change]:
    """So many changes, watched at these secondaries."""
    changer.reconnect()
    with closing(Askers(secondaries)) as askers:
        for _ in range(WARM_CHANGES):
            changer.change(askers)
        return [changer.change(askers) for _ in range(changes)]


def cpu_ms(pids: Mapping[str, int], before: Mapping[str, float], changes: int) -> dict[str, float]:
    """Milliseconds of CPU that each process spent on one change since `before`."""
    return {
        name: round((cpu_seconds(pid) - before[name]) / changes * MS, 2)
        for name, pid in pids.items()
    }


def summary(changes: Sequence[Change]) -> dict[str, float]:
    """Percentiles in milliseconds, until the last of the secondaries answered."""
    acknowledged = [(max(c.visible) - c.acknowledged) * MS for c in changes]
    sent = [(max(c.visible) - c.sent) * MS for c in changes]
    return {
        "p50_ms": round(percentile(acknowledged, 50), 2),
        "p99_ms": round(percentile(acknowledged, 99), 2),
        "max_ms": round(max(acknowledged), 2),
        "from_call_p50_ms": round(percentile(sent, 50), 2),
        "from_call_p99_ms": round(percentile(sent, 99), 2),
    }


def account(cluster: Cluster, changer: Changer, changes: int) -> dict[str, float]:
    """Where the time of one change goes, in milliseconds: medians, with one secondary watched."""
    secondary = cluster.secondaries[0]
    settings = SecondarySettings.load(secondary.settings_file)
    checkpoint = open_checkpoint(changer.checkpoint, Roots.load(settings))
    commits = _commits(cluster)
    with (
        closing(Askers([secondary])) as askers,
        Observers(secondary, checkpoint.size, checkpoint.root) as observers,
    ):
        done = [changer.change(askers) for _ in range(changes)]
        observers.wait_for(changes)
    streamed, stored = observers.streamed, observers.stored
    batches, seconds = (b - a for a, b in zip(commits, _commits(cluster), strict=True))
    if not len(streamed) == len(stored) == len(done):
        raise SystemExit(f"{len(done)} changes, {len(streamed)} streamed, {len(stored)} stored")
    return {
        "commit_at_primary": round(seconds / batches * MS, 2),
        "call_until_acknowledged": _median([c.acknowledged - c.sent for c in done]),
        "call_until_streamed": _median(_between([c.sent for c in done], streamed)),
        "streamed_until_in_etcd": _median(_between(streamed, stored)),
        "in_etcd_until_answered": _median(_between(stored, [c.visible[0] for c in done])),
        "call_until_answered": _median([c.visible[0] - c.sent for c in done]),
        "etcd_transaction_alone": etcd_transaction(settings, changes),
    }


def etcd_transaction(settings: SecondarySettings, count: int) -> float:
    """Median milliseconds of a transaction as a batch of one change makes it, and nothing else."""
    store = EtcdStore(settings.etcd_endpoints, settings.etcd.tls)
    took: list[float] = []
    try:
        key, record, cursor, revision = b"/bench/cursor", b"/bench/record", bytes(1200), 0
        for number in range(count):
            started = time.perf_counter()
            puts = [(record + b"%d" % number, bytes(120)), (key, cursor)]
            revision = store.txn([Unchanged(key, revision)], puts)
            took.append(time.perf_counter() - started)
    finally:
        store.close()
    return _median(took)


def _commits(cluster: Cluster) -> tuple[float, float]:
    """How many batches the primary committed so far, and the seconds that took."""
    url = f"http://{cluster.primary_address}:{PRIMARY_HTTP_PORT}/metrics"
    with urllib.request.urlopen(url, timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    found = dict(line.split() for line in lines if line.startswith("smtpnic_commit_seconds"))
    return float(found["smtpnic_commit_seconds_count"]), float(found["smtpnic_commit_seconds_sum"])


def _between(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [b - a for a, b in zip(first, second, strict=True)]


def _median(seconds: Sequence[float]) -> float:
    return round(percentile(seconds, 50) * MS, 2)


def run(registrations: int, changes: int) -> dict[str, Any]:
    """One size of the register, with each number of secondaries."""
    figures: dict[str, dict[str, float]] = {}
    spent: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="smtpnic-propagation-") as directory:
        root = Path(directory)
        with (
            filled_cluster(root, registrations, max(SECONDARIES)) as cluster,
            closing(Changer(cluster)) as changer,
        ):
            started = 0
            for secondaries in SECONDARIES:
                for secondary in cluster.secondaries[started:secondaries]:
                    took = start_secondary(secondary, last_address(registrations))
                    console.print(f"  {secondary.name} answers after {took:.1f} s")
                started = secondaries
                pids = processes(cluster, cluster.secondaries[0])
                before = {name: cpu_seconds(pid) for name, pid in pids.items()}
                done = measure(changer, cluster.secondaries[:secondaries], changes)
                spent[str(secondaries)] = cpu_ms(pids, before, changes + WARM_CHANGES)
                figures[str(secondaries)] = summary(done)
                if secondaries == SECONDARIES[0]:
                    steps = account(cluster, changer, changes)
    return {"by_secondaries": figures, "steps_ms": steps, "cpu_ms_a_change": spent}


def report(found: dict[int, dict[str, Any]], load_before: float) -> dict[str, Any]:
    """Prints the tables; the figures for the file."""
    rows: list[list[object]] = []
    for registrations, figures in found.items():
        for secondaries, ms in figures["by_secondaries"].items():
            rows.append([f"{registrations:,}", int(secondaries), *ms.values()])
    columns = [
        "registrations",
        "secondaries",
        "p50",
        "p99",
        "max",
        "p50 from call",
        "p99 from call",
    ]
    print_table("Milliseconds from acknowledged (call: from sent) to all answer", columns, rows)
    for registrations, figures in found.items():
        steps = [[name.replace("_", " "), ms] for name, ms in figures["steps_ms"].items()]
        print_table(
            f"One change, one secondary, {registrations:,} registrations", ["", "ms"], steps
        )
        spent = figures["cpu_ms_a_change"]
        rows = [[name, *(spent[n][name] for n in spent)] for name in next(iter(spent.values()))]
        title = f"Milliseconds of CPU a change, {registrations:,} registrations"
        print_table(title, ["primary, first secondary", *(f"{n} secondaries" for n in spent)], rows)
    by_registrations = {
        str(registrations): {
            "p50_ms": {n: ms["p50_ms"] for n, ms in figures["by_secondaries"].items()},
            "p99_ms": {n: ms["p99_ms"] for n, ms in figures["by_secondaries"].items()},
            **figures,
        }
        for registrations, figures in found.items()
    }
    first = str(next(iter(found)))
    return {
        "load_before": load_before,
        "registrations": int(first),
        "p50_ms": by_registrations[first]["p50_ms"],
        "p99_ms": by_registrations[first]["p99_ms"],
        "by_registrations": read_results("propagation").get("by_registrations", {})
        | by_registrations,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-propagation", description=__doc__)
    sizes = os.environ.get("REGISTRATIONS", "1000")
    parser.add_argument("--registrations", default=sizes, help="one size or more, with commas")
    parser.add_argument("--changes", type=int, default=int(os.environ.get("CHANGES", "300")))
    arguments = parser.parse_args()
    load_before = load_average()
    found = {
        int(registrations): run(int(registrations), arguments.changes)
        for registrations in arguments.registrations.split(",")
    }
    path = write_results("propagation", report(found, load_before))
    console.print(f"  written to {path}")


if __name__ == "__main__":
    main()
