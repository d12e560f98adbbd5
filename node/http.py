"""Metrics and health over HTTP, for Prometheus and for whoever restarts the process.

/metrics is for Prometheus; /livez answers while the process runs; /readyz answers 200 when it
can serve, and else 503 with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from node.endpoint import Endpoint
from node.http_server import HttpLimits, HttpServer, Reply
from node.limits import MAX_MONITORING_REQUESTS, MONITORING_SECONDS
from node.logging import get_logger

# Tells why the process is not ready; empty when it is.
Readiness = Callable[[], str]

_log = get_logger("http")


class MonitoringServer(HttpServer):
    """Serves the metrics of one registry and one readiness, in threads of its own.

    It listens from construction on (ConfigurationError where it cannot) and answers between
    `start` and `close`. `readiness` is called from those threads.
    """

    def __init__(
        self, endpoint: Endpoint, metrics: CollectorRegistry, readiness: Readiness
    ) -> None:
        self._metrics = metrics
        self._readiness = readiness
        limits = HttpLimits(MAX_MONITORING_REQUESTS, MAX_MONITORING_REQUESTS, MONITORING_SECONDS)
        super().__init__(endpoint, limits, self._answer)

    def _answer(self, path: str, accept: str) -> Reply:
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return Reply(HTTPStatus.OK, encode(self._metrics), content_type)
        if path == "/livez":
            return Reply(HTTPStatus.OK, b"ok\n")
        if path == "/readyz":
            return self._answer_readiness()
        return Reply(HTTPStatus.NOT_FOUND, b"try /metrics, /livez or /readyz\n")

    def _answer_readiness(self) -> Reply:
        try:
            reason = self._readiness()
        except Exception:  # noqa: BLE001 - whatever it is, the process is not ready
            _log.exception("readiness.failed")
            reason = "the readiness check failed; see the log"
        if reason:
            return Reply(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}\n".encode())
        return Reply(HTTPStatus.OK, b"ok\n")
