"""What whoever serves the log shows of those who follow it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.feed import Feed


class FeedCollector(Collector):
    """Reads the feed when asked, so that a subscriber that left is not shown for ever."""

    def __init__(self, feed: Callable[[], Feed]) -> None:
        self._feed = feed

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now; labels are the names in the nodes' certificates."""
        feed = self._feed()
        subscriptions = feed.subscriptions
        yield GaugeMetricFamily(
            "smtpnic_subscribers", "Open streams of the log.", value=len(subscriptions)
        )
        yield CounterMetricFamily(
            "smtpnic_subscriber_overflows",
            "Times a subscriber's buffer ran over.",
            value=feed.overflows,
        )
        lag = GaugeMetricFamily(
            "smtpnic_subscriber_lag", "Entries a subscriber was not sent yet.", labels=["node"]
        )
        # A node may hold more than one stream open: the worst one counts.
        worst: dict[str, int] = {}
        for one in subscriptions:
            behind = max(0, feed.size - one.size)
            worst[one.name] = max(worst.get(one.name, 0), behind)
        for name, behind in worst.items():
            lag.add_metric([name], behind)
        yield lag
