"""A small HTTP server: threads, bounded in connections and in time; a function answers."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.logging import get_logger

PLAIN_TEXT: Final = "text/plain; charset=utf-8"
NEVER_CACHED: Final = "no-store"

_log = get_logger("http")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to GET; HEAD gets the same without the body."""

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN_TEXT
    # The value of Cache-Control (RFC 9111, 5.2).
    caching: str = NEVER_CACHED


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a server grants: connections open at once, and those of one address among them.

    A connection is cut when it is so many seconds old; with `keeps_alive` it takes further
    requests in the first half of that.
    """

    connections: int
    per_client: int
    seconds: float
    keeps_alive: bool = False


_READ_ONLY: Final = Reply(HTTPStatus.METHOD_NOT_ALLOWED, b"GET and HEAD alone\n")

# The answer to a path, without its query; `accept` is the header of that name. Any thread calls it.
Answer = Callable[[str, str], Reply]


class HttpServer:
    """Listens from construction on (ConfigurationError where it cannot), answers until `close`."""

    def __init__(self, endpoint: Endpoint, limits: HttpLimits, answer: Answer) -> None:
        try:
            self._server = _Server(endpoint, limits, answer)
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
    daemon_threads = True
    block_on_close = False

    def __init__(self, endpoint: Endpoint, limits: HttpLimits, answer: Answer) -> None:
        self.limits = limits
        self.answer = answer
        self.address_family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        self.request_queue_size = limits.connections
        self._lock = Lock()
        # The deadline of each open connection, on the monotonic clock, and whose it is.
        self._open: dict[socket.socket, tuple[float, str]] = {}
        self._clients: Counter[str] = Counter()
        super().__init__((endpoint.host, endpoint.port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks the host's name up in DNS, which may hang.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        client = str(client_address[0])
        with self._lock:
            is_full = len(self._open) >= self.limits.connections
            if is_full or self._clients[client] >= self.limits.per_client:
                return False
            self._open[request] = (time.monotonic() + self.limits.seconds, client)
            self._clients[client] += 1
        return True

    def left(self, request: Any) -> float:
        """Seconds until the connection is cut."""
        return self._open.get(request, (0.0, ""))[0] - time.monotonic()

    def service_actions(self) -> None:
        """Cuts off who takes too long; `serve_forever` calls this twice a second."""
        now = time.monotonic()
        with self._lock:
            late = [request for request, (due, _) in self._open.items() if due < now]
        for request in late:
            # Wakes the request's thread, which then closes the socket itself.
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            _, client = self._open.pop(request, (0.0, ""))
            if client:
                self._clients[client] -= 1
                if not self._clients[client]:
                    del self._clients[client]
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        _log.debug("request.broken", peer=str(client_address[0]), exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: _Server
    server_version = "smtpnic"
    sys_version = ""

    def setup(self) -> None:
        limits = self.server.limits
        if limits.keeps_alive:
            self.protocol_version = "HTTP/1.1"
        super().setup()
        self.connection.settimeout(limits.seconds)

    def do_GET(self) -> None:
        self._send(self.server.answer(self.path.partition("?")[0], self.headers.get("Accept", "")))

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def refuse(self) -> None:
        """Any other method (RFC 9110, 15.5.6); the base class would call it unknown, in HTML."""
        self._send(_READ_ONLY, Allow="GET, HEAD")

    do_POST = do_PUT = do_PATCH = do_DELETE = refuse  # noqa: N815 - the base class's names
    do_OPTIONS = do_TRACE = do_CONNECT = refuse  # noqa: N815

    def _send(self, reply: Reply, **headers: str) -> None:
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Cache-Control", reply.caching)
        is_old = self.server.left(self.request) < self.server.limits.seconds / 2
        if is_old or self._has_body():
            # Sets close_connection too.
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def _has_body(self) -> bool:
        """Nobody reads it, and it must not pass for the next request (RFC 9112, 9.3)."""
        length = self.headers.get("Content-Length", "0")
        return length != "0" or "Transfer-Encoding" in self.headers

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        _log.debug("request", line=format % args)
