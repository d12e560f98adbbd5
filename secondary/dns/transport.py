"""What UDP and TCP share: the call to a responder that may fail."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from node.logging import get_logger
from secondary.dns.counters import AnswerCounter
from secondary.dns.reply import Transport

# The answer to a query's bytes, or None to stay silent; it may be called by many threads. The
# last argument is the client's packed address.
Answer = Callable[[bytes, Transport, bytes], bytes | None]

# No query is longer: a name, an OPT with its options, a signature.
MAX_QUERY_BYTES: Final = 4096

_log = get_logger("dns")


def packed_host(host: str) -> bytes:
    """The packed form of an address as a socket tells it."""
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return socket.inet_aton(host)


def answer_or_silence(
    answer: Answer, wire: bytes, counter: AnswerCounter, client: bytes
) -> bytes | None:
    """The answer, None for silence; an error of ours costs one answer and not the thread."""
    try:
        reply = answer(wire, counter.transport, client)
    except Exception:  # noqa: BLE001 - whatever it is
        log_failure(counter, wire)
        return None
    if reply is None:
        counter.ignored += 1
    return reply


def log_failure(counter: AnswerCounter, wire: bytes) -> None:
    """Counts the exception at hand, and says what came that caused it."""
    counter.failed += 1
    # At every power of two, so that a query which fails us cannot fill the disk.
    if counter.failed & (counter.failed - 1) == 0:
        _log.exception("answer.failed", query=wire.hex(), failed=counter.failed)
