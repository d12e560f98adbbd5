"""A real Prometheus that scrapes a cluster of the lab."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from lab.cluster import PRIMARY_HTTP_PORT, Cluster
from lab.process import LabProcess
from tests.support.alerts import ALERTS
from tests.support.probe import HTTP_PORTS
from tests.support.wait import wait_until

PORT: Final = 9090
SECONDS: Final = 30.0


class Prometheus:
    """Asks it; `url` is where it listens."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        """What its API gives; AssertionError with its words when it refuses."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def is_up(self) -> bool:
        """Whether it has scraped every target."""
        try:
            targets = self.get("targets")["activeTargets"]
        except (OSError, AssertionError):
            # It does not listen yet, or says that it is still starting.
            return False
        return bool(targets) and all(target["health"] == "up" for target in targets)


@contextmanager
def prometheus_of(cluster: Cluster) -> Iterator[Prometheus]:
    """One that has scraped all of the cluster, once a second, with the alerts loaded."""
    directory = cluster.root / "prometheus"
    directory.mkdir()
    jobs = {"primary": [f"{cluster.primary_address}:{PRIMARY_HTTP_PORT}"]} | {
        role: [f"{one.address}:{port}" for one in cluster.secondaries]
        for role, port in HTTP_PORTS.items()
    }
    settings = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [
            {"job_name": f"smtpnic-{role}", "static_configs": [{"targets": targets}]}
            for role, targets in jobs.items()
        ],
    }
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    address = f"{cluster.network}.250:{PORT}"
    process = LabProcess(
        "prometheus",
        [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address={address}",
        ],
        Path(directory / "prometheus.log"),
    )
    process.start()
    try:
        prometheus = Prometheus(f"http://{address}")
        wait_until(prometheus.is_up, seconds=SECONDS, what="Prometheus scraped all targets")
        yield prometheus
    finally:
        process.stop()
