"""Serves an ASGI application on the running event loop: bounded in connections and in time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from node.connections import ConnectionLimits
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.logging import get_logger
from node.sockets import bound_socket

# nginx's large_client_header_buffers come to as much.
MAX_HEADER_BYTES: Final = 16 * 1024
# Browsers send a request at once; who trickles one in is cut.
FIRST_REQUEST_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 15
# No page takes so long; a connection this old is cut whatever it does.
CONNECTION_SECONDS: Final = 120.0
DRAIN_SECONDS: Final = 2
BACKLOG: Final = 512

_log = get_logger("web")


@dataclass(frozen=True, slots=True)
class WebLimits:
    """Connections open at once, and those of one client; addresses in `unlimited` are proxies."""

    connections: int
    per_client: int
    unlimited: frozenset[str] = frozenset()


class _Config(uvicorn.Config):
    connections_open: ConnectionLimits


class _Protocol(H11Protocol):
    """uvicorn's, with connections that are counted and have an end."""

    _entered = ""
    _timers: tuple[asyncio.TimerHandle, ...] = ()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        client = self.client[0] if self.client else "::"
        if not cast("_Config", self.config).connections_open.admit(client):
            transport.abort()
            return
        self._entered = client
        self._timers = (
            self.loop.call_later(FIRST_REQUEST_SECONDS, self._cut_silent),
            self.loop.call_later(CONNECTION_SECONDS, transport.abort),
        )

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._entered:
            cast("_Config", self.config).connections_open.release(self._entered)
            self._entered = ""
        super().connection_lost(exc)

    def _cut_silent(self) -> None:
        # None until the first request's headers are there, whatever uvicorn's types say.
        if cast("Any", self.cycle) is None:
            self.transport.abort()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the program's own affair."""
        yield


class WebServer:
    """Listens from construction on; ConfigurationError where it cannot, or with a bad key."""

    def __init__(
        self,
        endpoint: Endpoint,
        app: ASGIApp,
        limits: WebLimits,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        """With `certificate` and `key`, PEM files, it speaks TLS."""
        config = _Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        config.connections_open = ConnectionLimits(
            limits.connections, limits.per_client, limits.unlimited
        )
        try:
            config.load()
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {endpoint}: {error}") from error
        self._socket = bound_socket(endpoint, socket.SOCK_STREAM)
        self._socket.listen(BACKLOG)
        self._socket.setblocking(False)
        self._server = _Server(config)
        host, port = self._socket.getsockname()[:2]
        # With the port that was free if port 0 was asked for.
        self.endpoint = Endpoint(str(host), int(port))

    async def run(self) -> None:
        """Answers until cancelled; then lets requests in progress end, for a moment."""
        _log.info("listening", listener="web", endpoint=str(self.endpoint))
        serving = asyncio.create_task(self._server.serve([self._socket]))
        try:
            await asyncio.shield(serving)
        finally:
            self._server.should_exit = True
            await serving

    def close(self) -> None:
        """Stops listening."""
        self._socket.close()
