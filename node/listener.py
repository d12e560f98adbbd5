"""gRPC listeners: who may connect, how much each may hold, and how they end."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from node.admission import Admission, ClientOf, by_address
from node.connection_shares import ConnectionShares
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.gate import Gate
from node.limits import HANDSHAKE_MS, MAX_MESSAGE_BYTES, MAX_METADATA_BYTES
from node.tls import SERVER_OPTIONS

HEALTH_NAME: Final[str] = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

# What common HTTP/2 servers grant a connection, and the least RFC 9113, 6.5.2 recommends.
MAX_STREAMS_PER_CONNECTION: Final = 100

SOCKET_DIRECTORY_MODE: Final = 0o700
SOCKET_MODE: Final = 0o600
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


# Methods of a service by their names.
Handlers = Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service by its full name, and the handlers of its methods."""

    name: str
    handlers: Handlers


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one listener grants: open connections, and calls in progress over all of them.

    Each client may have `calls_per_client` of the calls, and each address, or IPv6 network of
    64 bits, `connections_per_client` of the connections. A connection is ended when it was
    without a call for `idle_seconds`; it takes no new call after `connection_seconds`, and is cut
    after twice that. 0: no such limit.
    """

    connections: int
    calls: int
    calls_per_client: int = 0
    connections_per_client: int = 0
    idle_seconds: float = 0
    connection_seconds: float = 0


class Listener:
    """One gRPC server: some services, with health and reflection beside them."""

    def __init__(
        self,
        services: Sequence[Service],
        capacity: Capacity,
        client_of: ClientOf = by_address,
        gate: Gate | None = None,
    ) -> None:
        self._connections_per_client = capacity.connections_per_client
        self._shares: list[ConnectionShares] = []
        self._watching: list[asyncio.Task[None]] = []
        calls_per_client = capacity.calls_per_client or capacity.calls
        self._server = aio.server(
            interceptors=[Admission(calls_per_client, client_of, gate)],
            options=_options(capacity),
            maximum_concurrent_rpcs=capacity.calls,
        )
        self._names = [service.name for service in services]
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(service.name, dict(service.handlers))
                for service in services
            ]
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            [*self._names, HEALTH_NAME, reflection.SERVICE_NAME], self._server
        )

    def bind(self, endpoint: Endpoint, credentials: grpc.ServerCredentials) -> Endpoint:
        """Takes a TCP address, and says which port it was given; ConfigurationError if taken."""
        try:
            port = self._server.add_secure_port(str(endpoint), credentials)
        except RuntimeError as error:
            raise ConfigurationError(f"cannot listen on {endpoint}: {error}") from None
        if self._connections_per_client:
            self._shares.append(ConnectionShares(port, self._connections_per_client))
        return Endpoint(endpoint.host, port)

    def bind_socket(self, path: Path) -> None:
        """Takes a UNIX socket that only this user can open; ConfigurationError if it cannot.

        A socket that a killed process left is replaced, so whoever calls this has made sure
        that no other process serves it.
        """
        try:
            _make_private(path.parent)
            # Made with its mode: a moment later others might have connected.
            with _umask(~SOCKET_MODE & 0o777):
                self._server.add_insecure_port(f"unix:{path}")
        except (RuntimeError, OSError) as error:
            raise ConfigurationError(f"cannot listen on {path}: {error}") from None

    async def start(self) -> None:
        """Answers from now on, and says so to health checks."""
        await self._server.start()
        self._watching = [asyncio.create_task(each.run()) for each in self._shares]
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def announce_stop(self) -> None:
        """Health checks hear that this listener stops, so that clients go elsewhere."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_seconds: float) -> None:
        """Takes no new call, waits for those in progress, and cuts what is left."""
        await self._server.stop(grace_seconds)
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)


def _make_private(directory: Path) -> None:
    """Makes a directory for this user alone; one that is there is left as it is.

    ConfigurationError if others can write to it: they could put their own socket there.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir(SOCKET_DIRECTORY_MODE)
    except FileExistsError:
        found = directory.stat()
        if found.st_mode & WRITABLE_BY_OTHERS or found.st_uid not in (0, os.geteuid()):
            raise ConfigurationError(
                f"others can write to {directory}: choose a directory for the socket that only "
                "this user can write to"
            ) from None


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _options(capacity: Capacity) -> list[tuple[str, int]]:
    idle_ms, connection_ms = (
        int(seconds * 1000) for seconds in (capacity.idle_seconds, capacity.connection_seconds)
    )
    ends = {
        "grpc.max_connection_idle_ms": idle_ms,
        "grpc.max_connection_age_ms": connection_ms,
        "grpc.max_connection_age_grace_ms": connection_ms,
    }
    return [
        *SERVER_OPTIONS,
        *((option, milliseconds) for option, milliseconds in ends.items() if milliseconds),
        ("grpc.max_allowed_incoming_connections", capacity.connections),
        ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
    ]
