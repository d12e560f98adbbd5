"""One primary with many subscribers, mirrors behind mirrors, and one at the end of a slow line.

Subscribers are light ones (`bench.light`): they receive and verify as a secondary does, and keep
nothing in etcd, so that a hundred fit one machine. The one at the end of the slow line is a whole
secondary. One change at a time; delays are from sending the call: who waits for the acknowledgement
gets no processor while a hundred subscribers verify.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import far
from bench.http2 import CallError, Target, UnaryConnection
from bench.light import read_arrivals
from bench.load import percentile
from bench.processes import cpu_seconds
from bench.registrant import CONTACT, Registrant, primary_of
from bench.results import console, load_average, print_table, read_results, write_results
from bench.targets import REGISTER
from lab.asking import wait_for
from lab.cluster import DNS_PORT, NODES_PORT, PUBLIC_PORT, RELAY_PORT, Cluster
from lab.process import LabProcess
from registry.checkpoint import Checkpoint
from registry.note import UnverifiedNote
from registry.wire.v1 import registration_pb2 as pb

SUBSCRIBERS: Final = (1, 10, 50, 100)
NODES: Final = 10
STREAMS_A_NODE: Final = 10
# Round trip in milliseconds, and percent of the packets lost each way.
LINES: Final = ((0.0, 0.0), (150.0, 0.0), (150.0, 1.0))
ALL_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 20.0
MS: Final = 1000.0
# All are on one machine.
_PRIMARY_ENV: Final = {
    "SMTPNIC_PRIMARY_NODES__SUBSCRIBERS_PER_NODE": "32",
    "SMTPNIC_PRIMARY_NODES__CONNECTIONS_PER_CLIENT": "256",
}
_QUIET: Final = {"SMTPNIC_SECONDARY_LOG_LEVEL": "warning"}


@dataclass(frozen=True, slots=True)
class Change:
    """A registration, and the log's size after it; when it was sent, and acknowledged."""

    address: str
    size: int
    sent: float
    acknowledged: float


class Changer:
    """Registers one address after another, at a steady pace."""

    def __init__(self, cluster: Cluster, rate: float) -> None:
        self._registrant = Registrant()
        with primary_of(cluster) as primary:
            primary.create_holder(self._registrant.key, CONTACT)
        target = Target(cluster.primary_address, PUBLIC_PORT, REGISTER, cluster.ca)
        self._connection = UnaryConnection(target)
        self._pause = 1 / rate

    def change(self) -> Change:
        """One registration, acknowledged."""
        (message,) = self._registrant.single(1)
        sent = time.monotonic()
        self._connection.start(message)
        while (answer := self._connection.finish()) is None:
            if not select.select([self._connection.socket], [], [], ANSWER_SECONDS)[0]:
                raise CallError(f"no answer within {ANSWER_SECONDS} s")
        acknowledged = time.monotonic()
        note = pb.ChangeResponse.FromString(answer).receipt.checkpoint
        size = Checkpoint.parse(UnverifiedNote.parse(note).text).size
        return Change(pb.RegisterRequest.FromString(message).address, size, sent, acknowledged)

    def changes(self, count: int) -> Iterator[Change]:
        """So many, at the pace."""
        due = time.monotonic()
        for _ in range(count):
            yield self.change()
            due += self._pause
            time.sleep(max(0.0, due - time.monotonic()))

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Watched:
    """Light subscribers' process, its file, and how many streams it has."""

    process: LabProcess
    path: Path
    streams: int

    def arrived(self) -> dict[int, list[float]]:
        """When each stream had verified the log, by its size then."""
        found: dict[int, list[float]] = {}
        for one in read_arrivals(self.path) if self.path.exists() else ():
            found.setdefault(one.size, []).append(one.seconds)
        return found


class Light:
    """Starts light subscribers; a context manager that ends them."""

    def __init__(self, cluster: Cluster, directory: Path, prefix: Sequence[str] = ()) -> None:
        self._cluster = cluster
        self._directory = directory
        self._prefix = list(prefix)
        self.running: list[Watched] = []

    def __enter__(self) -> Light:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.running:
            one.process.kill()

    def start(self, kind: str, node: int, streams: int, *arguments: str) -> Watched:
        """One process, with the certificate of that node."""
        number = len(self.running)
        path = self._directory / f"{kind}-{number}"
        command = [sys.executable, "-m", "bench.light", kind]
        command += [str(self._cluster.secondaries[node].directory), str(path), *arguments]
        process = LabProcess(kind, self._prefix + command, self._directory / f"{kind}-{number}.log")
        process.start()
        watched = Watched(process, path, streams)
        self.running.append(watched)
        return watched


def wait_all(watched: Sequence[Watched], size: int) -> None:
    """Until every stream has verified the log of that size."""

    def is_there() -> bool:
        return all(len(one.arrived().get(size, ())) == one.streams for one in watched)

    wait_for(is_there, ALL_SECONDS, f"size {size} at every subscriber")


def measure(
    cluster: Cluster, changer: Changer, watched: Sequence[Watched], changes: int
) -> dict[str, float]:
    """So many changes, and what they cost the primary and each subscriber."""
    wait_all(watched, changer.change().size)
    pids = [one.process.pid for one in watched]
    before = cpu_seconds(cluster.primary.pid), sum(map(cpu_seconds, pids))
    done = list(changer.changes(changes))
    wait_all(watched, done[-1].size)
    after = cpu_seconds(cluster.primary.pid), sum(map(cpu_seconds, pids))
    arrived = [one.arrived() for one in watched]
    delays = [
        [(at - change.sent) * MS for file in arrived for at in file[change.size]] for change in done
    ]
    streams = sum(one.streams for one in watched)
    last = [max(one) for one in delays]
    acknowledged = [(change.acknowledged - change.sent) * MS for change in done]
    return {
        "acknowledged_p50_ms": _rounded(percentile(acknowledged, 50)),
        "p50_ms": _rounded(percentile([ms for one in delays for ms in one], 50)),
        "last_p50_ms": _rounded(percentile(last, 50)),
        "last_p99_ms": _rounded(percentile(last, 99)),
        "primary_cpu_ms": _rounded((after[0] - before[0]) / changes * MS),
        "subscriber_cpu_ms": _rounded((after[1] - before[1]) / changes / streams * MS),
    }


def fan_out(changes: int, rate: float) -> dict[str, dict[str, float]]:
    """More and more subscribers of one primary."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="smtpnic-fanout-") as root, _cluster(root) as cluster:
        nodes = f"{cluster.primary_address}:{NODES_PORT}"
        with closing(Changer(cluster, rate)) as changer:
            for count in SUBSCRIBERS:
                directory = Path(root) / str(count)
                directory.mkdir()
                with Light(cluster, directory) as light:
                    for node in range(-(-count // STREAMS_A_NODE)):
                        streams = min(STREAMS_A_NODE, count)
                        light.start("leaves", node, streams, *[nodes] * streams)
                    found[str(count)] = measure(cluster, changer, light.running, changes)
    return found


def two_levels(changes: int, rate: float) -> dict[str, dict[str, float]]:
    """Ten light mirrors of a primary, and ten subscribers of each."""
    with ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory(prefix="smtpnic-levels-"))
        cluster = stack.enter_context(_cluster(root))
        changer = stack.enter_context(closing(Changer(cluster, rate)))
        light = stack.enter_context(Light(cluster, Path(root)))
        nodes = f"{cluster.primary_address}:{NODES_PORT}"
        relays, leaves = [], []
        for node, secondary in enumerate(cluster.secondaries):
            relay = f"{secondary.address}:{RELAY_PORT}"
            relays.append(light.start("relay", node, 1, nodes, relay))
            leaves.append(light.start("leaves", node, STREAMS_A_NODE, *[relay] * STREAMS_A_NODE))
        below = measure(cluster, changer, leaves, changes)
        first = measure(cluster, changer, relays, changes)
    return {"10 mirrors": first, "10 below each": below}


def far_away(changes: int, rate: float) -> dict[str, dict[str, float]]:
    """A whole secondary, and a light subscriber, at the end of a line."""
    found = {}
    with ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory(prefix="smtpnic-far-"))
        slow = stack.enter_context(far.namespace())
        cluster = stack.enter_context(_cluster(root, 1, far.NETWORK))
        secondary = cluster.secondaries[0]
        secondary.process.command = far.inside(secondary.process.command)
        secondary.process.start()
        changer = stack.enter_context(closing(Changer(cluster, rate)))
        light = stack.enter_context(Light(cluster, Path(root), far.inside([])))
        light.start("leaves", 0, 1, f"{cluster.primary_address}:{NODES_PORT}")
        asker = stack.enter_context(_asking(secondary.address))
        asker(changer.change().address)
        for round_trip_ms, loss in LINES:
            slow(round_trip_ms, loss)
            figures = measure(cluster, changer, light.running, changes)
            delays = [
                (asker(change.address) - change.sent) * MS for change in changer.changes(changes)
            ]
            found[f"{round_trip_ms:g} ms, {loss:g}% lost"] = {
                "verified_p50_ms": figures["last_p50_ms"],
                "verified_p99_ms": figures["last_p99_ms"],
                "dns_p50_ms": _rounded(percentile(delays, 50)),
                "dns_p99_ms": _rounded(percentile(delays, 99)),
            }
    return found


@contextmanager
def _asking(address: str) -> Iterator[Any]:
    """Asks the far secondary's DNS, from there; when an address was there, by the clock of both."""
    command = [sys.executable, "-m", "bench.light", "asker", address, str(DNS_PORT)]
    process = subprocess.Popen(
        far.inside(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asks, answers = process.stdin, process.stdout

    def ask(registered: str) -> float:
        asks.write(f"{registered}\n")
        asks.flush()
        return float(answers.readline())

    try:
        yield ask
    finally:
        process.kill()
        process.wait()


@contextmanager
def _cluster(root: str, nodes: int = NODES, network: str = "") -> Iterator[Cluster]:
    cluster = Cluster(
        Path(root) / "cluster",
        nodes,
        primary_env=_PRIMARY_ENV,
        secondary_env=_QUIET,
        network=network,
    )
    with cluster:
        cluster.prepare()
        cluster.start_primary()
        yield cluster


def _rounded(value: float) -> float:
    return round(value, 2)


def _print(title: str, found: dict[str, dict[str, float]]) -> None:
    columns = ["", *(name.replace("_", " ") for name in next(iter(found.values())))]
    print_table(title, columns, [[name, *figures.values()] for name, figures in found.items()])


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-fanout", description=__doc__)
    parser.add_argument("--changes", type=int, default=int(os.environ.get("CHANGES", "40")))
    parser.add_argument("--rate", type=float, default=float(os.environ.get("RATE", "5")))
    parts = os.environ.get("PARTS", "subscribers,levels,far")
    parser.add_argument("--parts", default=parts, help="some of subscribers, levels and far")
    arguments = parser.parse_args()
    figures: dict[str, Any] = read_results("fanout") | {"load_before": load_average()}
    how = (arguments.changes, arguments.rate)
    if "subscribers" in arguments.parts:
        figures["subscribers"] = fan_out(*how)
        _print("Subscribers of one primary, a change", figures["subscribers"])
    if "levels" in arguments.parts:
        figures["levels"] = two_levels(*how)
        _print("Two levels, a change", figures["levels"])
    if "far" in arguments.parts and far.is_possible():
        figures["far"] = far_away(*how)
        _print("At the end of a line, a change", figures["far"])
    elif "far" in arguments.parts:
        console.print("  no slow line: that needs root, ip and /dev/net/tun")
    console.print(f"  written to {write_results('fanout', figures)}")


if __name__ == "__main__":
    main()
