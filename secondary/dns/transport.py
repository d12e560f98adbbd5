"""What UDP and TCP share: sockets to listen at, and a responder that may fail."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.logging import get_logger
from secondary.dns.counters import AnswerCounter
from secondary.dns.reply import Transport

# The answer to a query's bytes, or None to stay silent; it may be called by many threads.
Answer = Callable[[bytes, Transport], bytes | None]

# No query is longer: a name, an OPT with its options, a signature.
MAX_QUERY_BYTES: Final = 4096

_log = get_logger("dns")


def answer_or_silence(answer: Answer, wire: bytes, counter: AnswerCounter) -> bytes | None:
    """The answer, None for silence; an error of ours costs one answer and not the thread."""
    try:
        reply = answer(wire, counter.transport)
    except Exception:  # noqa: BLE001 - whatever it is
        counter.failed += 1
        # At every power of two, so that a query which fails us cannot fill the disk.
        if counter.failed & (counter.failed - 1) == 0:
            _log.exception("answer.failed", query=wire.hex(), failed=counter.failed)
        return None
    if reply is None:
        counter.ignored += 1
    return reply


def bound_socket(endpoint: Endpoint, kind: socket.SocketKind) -> socket.socket:
    """A socket bound there, for IPv4 or IPv6 alone."""
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
        bound.bind(address)
    except OSError as error:
        bound.close()
        name = "TCP" if kind == socket.SOCK_STREAM else "UDP"
        raise ConfigurationError(
            f"cannot listen at {endpoint} ({name}): {error.strerror}"
        ) from error
    return bound
