"""How much room a process's directory has, for Prometheus."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class DiskCollector(Collector):
    """The file system that a directory is on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """Nothing while the directory is not there."""
        try:
            usage = shutil.disk_usage(self._directory)
        except OSError:
            return
        yield GaugeMetricFamily(
            "smtpnic_disk_free_bytes", "Room left where the data are.", value=usage.free
        )
        yield GaugeMetricFamily(
            "smtpnic_disk_size_bytes", "Size of the file system of the data.", value=usage.total
        )
