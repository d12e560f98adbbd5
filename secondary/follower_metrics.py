"""What a follower shows to Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.certificate_metric import days_metric
from registry.batch import Batch
from registry.replay import VerifiedBatch
from secondary.audience import Audience
from secondary.follower_status import FollowerStatus, Phase, StatusBoard
from secondary.roots import Roots

DAY_MS: Final = 86_400_000
# A batch has 60 changes at most, and the entry that closes it.
BATCH_BUCKETS: Final = (2, 4, 8, 16, 32, 61)


class BatchMetrics(Audience):
    """Counts the batches that are stored."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._entries = Histogram(
            "smtpnic_follower_batch_entries",
            "Entries of each batch stored.",
            registry=registry,
            buckets=BATCH_BUCKETS,
        )

    def stored(self, batch: Batch, verified: VerifiedBatch) -> None:  # noqa: ARG002
        """One more."""
        self._entries.observe(len(batch.entries))


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
        yield _gauge(
            "smtpnic_follower_lag_entries",
            "Entries that the upstream or a peer has shown and that are not stored yet.",
            status.lag,
        )
        since = status.behind_since_s
        yield _gauge(
            "smtpnic_follower_lag_seconds",
            "For how long something that was shown has not been stored.",
            0.0 if since is None else time.monotonic() - since,
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
        yield _gauge(
            "smtpnic_follower_in_set",
            "1 while the A record set sends resolvers here.",
            float(bool(status.set_standing.places)),
        )
        yield _gauge(
            "smtpnic_follower_drained",
            "1 while the operator wants nobody sent here.",
            float(status.set_standing.draining),
        )
        yield from _peer_metrics(status)
        yield _certificate_metric(status)
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


def _certificate_metric(status: FollowerStatus) -> Metric:
    now_ms = time.time() * 1000
    ends = {"node": status.certificate_ends_ms, "authority": status.authority_ends_ms}
    return days_metric({each: (end - now_ms) / DAY_MS for each, end in ends.items() if end})


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
