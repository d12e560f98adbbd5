"""What a process shows of itself: metrics and health over HTTP, and health over gRPC if asked."""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from node.endpoint import Endpoint
from node.grpc_health import HealthServer
from node.http import MonitoringServer, Readiness


def new_metrics(role: str) -> CollectorRegistry:
    """A registry that shows the process's own CPU, memory and files, its role and its version."""
    metrics = CollectorRegistry()
    ProcessCollector(registry=metrics)
    about = Gauge(
        "smtpnic_build_info", "1, of what runs here.", ["role", "version"], registry=metrics
    )
    about.labels(role, version("smtp-registry")).set(1)
    return metrics


class Monitoring:
    """Listens from construction on (ConfigurationError where it cannot), answers from `start`.

    `readiness` is called from threads of its own; `health` is where gRPC is spoken, if anywhere.
    """

    def __init__(
        self,
        http: Endpoint,
        health: Endpoint | None,
        metrics: CollectorRegistry,
        readiness: Readiness,
    ) -> None:
        self._http = MonitoringServer(http, metrics, readiness)
        try:
            self._health = None if health is None else HealthServer(health, readiness)
        except BaseException:
            self._http.close()
            raise

    @property
    def endpoint(self) -> Endpoint:
        """Where HTTP is spoken, the port settled."""
        return self._http.endpoint

    def start(self) -> None:
        """Begins to answer."""
        self._http.start()
        if self._health is not None:
            self._health.start()

    def close(self) -> None:
        """Answers no more."""
        self._http.close()
        if self._health is not None:
            self._health.close()
