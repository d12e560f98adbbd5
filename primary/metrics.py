"""What the primary counts, under the names that a dashboard reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.feed import Feed
from primary.cosignatures import Cosignatures
from registry.root import Root

# From one sync of a fast disk to one of a bad day.
COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 5.0)


class PrimaryMetrics:
    """The primary's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.log_size = Gauge("smtpnic_log_size", "Entries in the log.", registry=self.registry)
        self.live_keys = Gauge(
            "smtpnic_live_keys", "Records that are current.", registry=self.registry
        )
        self.batches = Counter(
            "smtpnic_batches", "Batches committed since the start.", registry=self.registry
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
            "1 while more registrations would lapse than may in a day.",
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
        self.certificate_expires = Gauge(
            "smtpnic_certificate_expires_timestamp_seconds",
            "When the listeners' certificate ends.",
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

    def watch_feed(self, feed: Feed) -> None:
        """Shows the subscribers and how far behind each one is."""
        self.registry.register(_FeedCollector(feed))


class _FeedCollector(Collector):
    """Reads the feed when asked, so that a subscriber that left is not shown for ever."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def collect(self) -> Iterable[Metric]:
        subscriptions = self._feed.subscriptions
        yield GaugeMetricFamily(
            "smtpnic_subscribers", "Open streams of the log.", value=len(subscriptions)
        )
        yield GaugeMetricFamily(
            "smtpnic_subscriber_overflows",
            "Times a subscriber's buffer ran over since the start.",
            value=self._feed.overflows,
        )
        lag = GaugeMetricFamily(
            "smtpnic_subscriber_lag", "Entries a subscriber was not sent yet.", labels=["node"]
        )
        # A node may hold more than one stream open: the worst one counts.
        worst: dict[str, int] = {}
        for one in subscriptions:
            behind = max(0, self._feed.size - one.size)
            worst[one.name] = max(worst.get(one.name, 0), behind)
        for name, behind in worst.items():
            lag.add_metric([name], behind)
        yield lag


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
