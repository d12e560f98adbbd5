"""Sockets to listen at, bound before anything else happens."""

from __future__ import annotations

import socket
from typing import Final

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from registry.address import IPV4_BYTES, Address

# Discard (RFC 863); nothing is sent there.
_ANY_PORT: Final = 9


def is_local(address: Address) -> bool:
    """Whether it is one of this machine's own: what goes there would come from there too."""
    family = socket.AF_INET if len(address.packed) == IPV4_BYTES else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((str(address), _ANY_PORT))
        except OSError:
            # There is no way to it at all.
            return False
        return bool(sock.getsockname()[0] == str(address))


def bound_socket(
    endpoint: Endpoint, kind: socket.SocketKind, *, is_shared: bool = False
) -> socket.socket:
    """A socket of that kind bound there, for IPv4 or IPv6 alone.

    Those that are shared may be several, among which the kernel spreads what comes
    (SO_REUSEPORT). ConfigurationError names the endpoint and what is in the way.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=kind, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind)
    except OSError as error:
        raise ConfigurationError(f"cannot listen at {endpoint}: {error.strerror}") from error
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            # Connections of the process before us that linger do not keep the port.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        name = "TCP" if kind == socket.SOCK_STREAM else "UDP"
        raise ConfigurationError(
            f"cannot listen at {endpoint} ({name}): {error.strerror}"
        ) from error
    return bound
