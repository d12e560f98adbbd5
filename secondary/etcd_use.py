"""How much room an etcd takes, for Prometheus: a child etcd listens on a socket of its own only."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from secondary.etcd import EtcdStore
from secondary.etcd_values import EtcdError, EtcdStatus


class EtcdUse(Collector):
    """What etcd last said of itself. One thread looks, any may collect."""

    def __init__(self, store: EtcdStore, quota_bytes: int | None) -> None:
        """The quota can be told of an etcd of one's own only."""
        self._store = store
        self._quota_bytes = quota_bytes
        self._seen: EtcdStatus | None = None

    def look(self) -> None:
        """Asks once; an etcd that is away is told of elsewhere."""
        try:
            self._seen = self._store.status()
        except EtcdError:
            self._seen = None

    def collect(self) -> Iterable[Metric]:
        """Nothing while etcd is away."""
        seen = self._seen
        if seen is None:
            return
        yield GaugeMetricFamily(
            "smtpnic_etcd_db_bytes", "Size of etcd's database file.", value=seen.db_bytes
        )
        yield GaugeMetricFamily(
            "smtpnic_etcd_db_used_bytes", "What of it is in use.", value=seen.db_bytes_in_use
        )
        yield GaugeMetricFamily(
            "smtpnic_etcd_alarms", "Alarms that etcd raises.", value=len(seen.alarms)
        )
        if self._quota_bytes is not None:
            yield GaugeMetricFamily(
                "smtpnic_etcd_quota_bytes", "What it may grow to.", value=self._quota_bytes
            )
