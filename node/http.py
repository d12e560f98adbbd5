"""Metrics and health over HTTP, for Prometheus and for whoever restarts the process.

/metrics is for Prometheus; /livez answers while the process runs; /readyz answers 200 when it
can serve, and else 503 with the reason.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.limits import MAX_MONITORING_REQUESTS, MONITORING_SECONDS
from node.logging import get_logger

PLAIN_TEXT: Final = "text/plain; charset=utf-8"

# Tells why the process is not ready; empty when it is.
Readiness = Callable[[], str]

_log = get_logger("http")


class MonitoringServer:
    """Serves the metrics of one registry and one readiness, in threads of its own.

    It listens from construction on (ConfigurationError where it cannot) and answers between
    `start` and `close`. `readiness` is called from those threads.
    """

    def __init__(
        self, endpoint: Endpoint, metrics: CollectorRegistry, readiness: Readiness
    ) -> None:
        try:
            self._server = _Server(endpoint, metrics, readiness)
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {endpoint}: {error.strerror}") from error
        self._thread = Thread(target=self._server.serve_forever, name="http", daemon=True)

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, with the port that was free if port 0 was asked for."""
        host, port = self._server.server_address[:2]
        return Endpoint(str(host), int(port))

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stops listening and answering; requests that are being answered are cut off."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Bounded in connections and in the time that each may take."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = MAX_MONITORING_REQUESTS

    def __init__(
        self, endpoint: Endpoint, metrics: CollectorRegistry, readiness: Readiness
    ) -> None:
        self.metrics = metrics
        self.readiness = readiness
        self.address_family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        self._lock = Lock()
        # The deadline of each open connection, on the monotonic clock.
        self._deadlines: dict[socket.socket, float] = {}
        super().__init__((endpoint.host, endpoint.port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks the host's name up in DNS, which may hang.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        with self._lock:
            if len(self._deadlines) >= MAX_MONITORING_REQUESTS:
                return False
            self._deadlines[request] = time.monotonic() + MONITORING_SECONDS
        return True

    def service_actions(self) -> None:
        """Cuts off who takes too long; `serve_forever` calls this twice a second."""
        now = time.monotonic()
        with self._lock:
            late = [request for request, due in self._deadlines.items() if due < now]
        for request in late:
            # Wakes the request's thread, which then closes the socket itself.
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        _log.debug("request.broken", peer=str(client_address[0]), exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer; HTTP/1.0 closes the connection after it."""

    server: _Server
    timeout = MONITORING_SECONDS
    server_version = "smtpnic"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, encode(self.server.metrics), content_type)
        elif path == "/livez":
            self._answer(HTTPStatus.OK, b"ok\n")
        elif path == "/readyz":
            self._answer_readiness()
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"try /metrics, /livez or /readyz\n")

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def _answer_readiness(self) -> None:
        try:
            reason = self.server.readiness()
        except Exception:  # noqa: BLE001 - whatever it is, the process is not ready
            _log.exception("readiness.failed")
            reason = "the readiness check failed; see the log"
        if reason:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}\n".encode())
        else:
            self._answer(HTTPStatus.OK, b"ok\n")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = PLAIN_TEXT) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        _log.debug("request", line=format % args)
