"""What the primary counts, under the names that a dashboard reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.certificate_metric import days_metric
from node.disk import DiskCollector
from node.feed import Feed
from node.feed_metrics import FeedCollector
from node.monitoring import new_metrics
from primary.cosignatures import Cosignatures
from registry.root import Root

# From one sync of a fast disk to one of a bad day.
COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 5.0)
# A batch has 60 changes at most, and the entry that closes it.
BATCH_BUCKETS: Final = (2, 4, 8, 16, 32, 61)


class PrimaryMetrics:
    """The primary's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = new_metrics("primary")
        self.log_size = Gauge("smtpnic_log_size", "Entries in the log.", registry=self.registry)
        self.checkpoint_time = Gauge(
            "smtpnic_checkpoint_timestamp_seconds",
            "Time of the newest checkpoint's batch.",
            registry=self.registry,
        )
        self.live_keys = Gauge(
            "smtpnic_live_keys", "Records that are current.", registry=self.registry
        )
        self.batches = Counter(
            "smtpnic_batches", "Batches committed since the start.", registry=self.registry
        )
        self.batch_entries = Histogram(
            "smtpnic_batch_entries",
            "Entries of each batch committed.",
            registry=self.registry,
            buckets=BATCH_BUCKETS,
        )
        self.commit_seconds = Histogram(
            "smtpnic_commit_seconds",
            "For each batch, what the commit took that it was part of, syncs included.",
            registry=self.registry,
            buckets=COMMIT_BUCKETS,
        )
        self.refused = Counter(
            "smtpnic_refused", "Changes refused, by problem.", ["code"], registry=self.registry
        )
        self.lapses_held_back = Gauge(
            "smtpnic_lapses_held_back",
            "Registrations that would lapse, and do not: more than may in a day.",
            registry=self.registry,
        )
        self.snapshot_seconds = Gauge(
            "smtpnic_snapshot_seconds", "What the last snapshot took.", registry=self.registry
        )
        self._root_version = Gauge(
            "smtpnic_root_version", "Version of the board's root.", registry=self.registry
        )
        self._root_expires = Gauge(
            "smtpnic_root_expires_timestamp_seconds",
            "When the root expires.",
            registry=self.registry,
        )
        self._count_mirrors()
        self.joins_refused = Counter(
            "smtpnic_joins_refused",
            "Tokens and certificates refused, by what was wrong.",
            ["why"],
            registry=self.registry,
        )
        self.certificate_failures = Counter(
            "smtpnic_certificate_renewal_failures",
            "Times that the listeners' certificate could not be renewed.",
            registry=self.registry,
        )

    def watch_root(self, current: Callable[[], Root]) -> None:
        """Shows the board's root, which `current` gives."""
        self._root_version.set_function(lambda: current().version)
        self._root_expires.set_function(lambda: current().expires_s)

    def _count_mirrors(self) -> None:
        self.cosignatures_refused = Counter(
            "smtpnic_cosignatures_refused",
            "Cosignatures of mirrors refused, by what was wrong.",
            ["why"],
            registry=self.registry,
        )
        self.forked = Gauge(
            "smtpnic_forked",
            "1 when a mirror was found to hold another log that the log's key signed.",
            registry=self.registry,
        )
        self.behind_mirrors = Gauge(
            "smtpnic_behind_mirrors",
            "1 when a mirror cosigned more of the log than there is here.",
            registry=self.registry,
        )

    def watch_certificates(self, days_left: Callable[[], Mapping[str, float]]) -> None:
        """Shows how many days each certificate is good, by which it is."""
        self.registry.register(_CertificateCollector(days_left))

    def watch_nodes(self, counted: Callable[[], Mapping[str, int]]) -> None:
        """Shows how many nodes there are, by whether they may follow."""
        self.registry.register(_NodeCollector(counted))

    def watch_set(self, admitted: Callable[[], int], in_set: Callable[[], int]) -> None:
        """Shows how many mirrors the board has admitted, and how many resolvers are sent to."""
        Gauge(
            "smtpnic_set_admitted", "Mirrors that the board has admitted.", registry=self.registry
        ).set_function(admitted)
        Gauge(
            "smtpnic_set_size", "Mirrors in the A record set.", registry=self.registry
        ).set_function(in_set)

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Shows how many changes wait to be committed."""
        Gauge(
            "smtpnic_queue_depth", "Changes that wait to be committed.", registry=self.registry
        ).set_function(depth)

    def watch_tiles(self, size: Callable[[], int]) -> None:
        """Shows how many leaves the hash tiles cover."""
        Gauge(
            "smtpnic_tiles_size", "Entries that the hash tiles cover.", registry=self.registry
        ).set_function(size)

    def watch_cosignatures(self, cosignatures: Cosignatures) -> None:
        """Shows what each mirror cosigned last."""
        self.registry.register(_CosignatureCollector(cosignatures))

    def watch_disk(self, directory: Path) -> None:
        """Shows how much room is left there."""
        self.registry.register(DiskCollector(directory))

    def watch_feed(self, feed: Feed) -> None:
        """Shows the subscribers and how far behind each one is."""
        self.registry.register(FeedCollector(lambda: feed))


class _CertificateCollector(Collector):
    def __init__(self, days_left: Callable[[], Mapping[str, float]]) -> None:
        self._days_left = days_left

    def collect(self) -> Iterable[Metric]:
        """Days by certificate."""
        return (days_metric(self._days_left()),)


class _NodeCollector(Collector):
    def __init__(self, counted: Callable[[], Mapping[str, int]]) -> None:
        self._counted = counted

    def collect(self) -> Iterable[Metric]:
        """Nodes by status."""
        found = GaugeMetricFamily(
            "smtpnic_nodes", "Nodes on the roll, by whether they may follow.", labels=["status"]
        )
        for status, count in self._counted().items():
            found.add_metric([status], count)
        return (found,)


class _CosignatureCollector(Collector):
    def __init__(self, cosignatures: Cosignatures) -> None:
        self._cosignatures = cosignatures

    def collect(self) -> Iterable[Metric]:
        """Size and time by node."""
        sizes = GaugeMetricFamily(
            "smtpnic_mirror_cosigned_size",
            "Entries of the log that a mirror last cosigned.",
            labels=["node"],
        )
        times = GaugeMetricFamily(
            "smtpnic_mirror_cosigned_timestamp_seconds",
            "When a mirror last cosigned, by its own clock.",
            labels=["node"],
        )
        for node, vouched in list(self._cosignatures.vouched.items()):
            sizes.add_metric([node], vouched.size)
            times.add_metric([node], vouched.time_s)
        return (sizes, times)
