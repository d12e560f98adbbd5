"""What a follower says of itself: to its mirror service, its metrics and its log."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.logging import get_logger
from registry.errors import VerificationError
from secondary.peers import Peer
from secondary.roots import Roots

_log = get_logger("follower")


class Phase(StrEnum):
    """What a follower is doing."""

    STARTING = "starting"
    # A replica is read back from etcd, or made from a snapshot.
    LOADING = "loading"
    FOLLOWING = "following"
    # The upstream or etcd is away; what is held is served on.
    DISCONNECTED = "disconnected"
    # Two signed checkpoints disagree: following has ended until a person has looked.
    FORKED = "forked"
    # The upstream gave something that the registry did not sign; it is asked again later.
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """One moment of a follower. Times in milliseconds since 1970; 0, or empty: none yet."""

    phase: Phase = Phase.STARTING
    # What a person should know or do; empty when all is well.
    advice: str = ""
    size: int = 0
    checkpoint: bytes = b""
    checkpoint_ms: int = 0
    freshness_ms: int = 0
    zone_serial: int = 0
    live_keys: int = 0
    # The largest size the upstream has shown, signed.
    upstream_size: int = 0
    # The nodes that the log comes through, from the primary's follower to this one.
    path: tuple[str, ...] = ()
    # What this mirror cosigned last; and why the primary does not hear of it, empty if it does.
    cosigned_size: int = 0
    cosigned_ms: int = 0
    cosigning_problem: str = ""
    # Why nobody should be sent here, though it answers; empty when all is well.
    out_of_rotation: str = ""
    peers: tuple[Peer, ...] = ()


class StatusBoard:
    """Holds the newest status; any thread may read, and change some of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._status = FollowerStatus()
        self._refusals: Counter[str] = Counter()

    @property
    def now(self) -> FollowerStatus:
        """The newest status."""
        return self._status

    def set(self, **changes: Any) -> None:
        """Change these parts of it."""
        with self._lock:
            self._status = replace(self._status, **changes)

    @property
    def refusals(self) -> dict[str, int]:
        """How often something was not what the registry signed, by the name of its error."""
        with self._lock:
            return dict(self._refusals)

    def refuse(self, error: VerificationError) -> None:
        """Count it among the refusals."""
        with self._lock:
            self._refusals[type(error).__name__] += 1

    def enter(self, phase: Phase, advice: str = "") -> None:
        """Say what the follower does from now on; logged where that is news."""
        before = self._status
        self.set(phase=phase, advice=advice)
        if (before.phase, before.advice) == (phase, advice):
            return
        if advice:
            _log.warning("phase.changed", phase=phase.value, advice=advice)
        else:
            _log.info("phase.changed", phase=phase.value)


class FollowerMetrics(Collector):
    """The status as metrics, made when they are asked for."""

    def __init__(self, board: StatusBoard, roots: Roots) -> None:
        self._board = board
        self._roots = roots

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        status, root = self._board.now, self._roots.chain.current
        yield _gauge("smtpnic_root_version", "Version of the board's root.", root.version)
        yield _gauge(
            "smtpnic_root_expires_timestamp_seconds", "When the root expires.", root.expires_s
        )
        yield _gauge(
            "smtpnic_follower_size", "Entries of the log that the replica holds.", status.size
        )
        yield _gauge(
            "smtpnic_follower_upstream_size",
            "The largest size the upstream has shown, signed.",
            status.upstream_size,
        )
        yield _gauge("smtpnic_follower_live_keys", "Records in the replica.", status.live_keys)
        yield _gauge("smtpnic_follower_zone_serial", "The zones' serial.", status.zone_serial)
        yield _gauge(
            "smtpnic_follower_checkpoint_time_seconds",
            "Time of the last batch's state entry, since 1970.",
            status.checkpoint_ms / 1000,
        )
        yield _gauge(
            "smtpnic_follower_freshness_time_seconds",
            "Time of the last freshness cosignature, since 1970.",
            status.freshness_ms / 1000,
        )
        yield from _cosigning_metrics(status)
        yield from _peer_metrics(status)
        yield from self._phases(status)

    def _phases(self, status: FollowerStatus) -> Iterator[Metric]:
        phases = GaugeMetricFamily(
            "smtpnic_follower_phase", "1 for what the follower is doing.", labels=["phase"]
        )
        for phase in Phase:
            phases.add_metric([phase.value], float(status.phase is phase))
        yield phases
        refused = CounterMetricFamily(
            "smtpnic_follower_refused",
            "What the upstream or etcd gave and the registry had not signed, by error.",
            labels=["error"],
        )
        for error, count in self._board.refusals.items():
            refused.add_metric([error], count)
        yield refused


def _cosigning_metrics(status: FollowerStatus) -> Iterator[Metric]:
    yield _gauge(
        "smtpnic_follower_cosigned_size",
        "Entries of the log that this mirror last cosigned.",
        status.cosigned_size,
    )
    yield _gauge(
        "smtpnic_follower_cosigned_time_seconds",
        "When this mirror last cosigned, since 1970.",
        status.cosigned_ms / 1000,
    )


def _peer_metrics(status: FollowerStatus) -> Iterator[Metric]:
    yield _gauge(
        "smtpnic_follower_out_of_rotation",
        "1 while peers hold what has not come here for too long.",
        float(bool(status.out_of_rotation)),
    )
    sizes = GaugeMetricFamily(
        "smtpnic_follower_peer_size",
        "The largest size of the log that a peer has shown, signed.",
        labels=["url"],
    )
    for peer in status.peers:
        sizes.add_metric([peer.url], peer.size)
    yield sizes


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
