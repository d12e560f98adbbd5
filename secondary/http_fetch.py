"""What is at a URL of somebody who is not trusted: one deadline for all of it, and a size."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from registry.errors import LimitError

FETCH_SECONDS: Final = 5.0
_PORTS: Final = {"http": 80, "https": 443}
MIN_SECONDS: Final = 0.001
# Resolvers that hang keep their threads for as long; more names than peers that anyone has.
MAX_RESOLVING: Final = 32

# As `socket.getaddrinfo` tells it.
_Found = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]


class FetchError(Exception):
    """It does not answer, or not as it should."""


class Deadline:
    """So many seconds from its beginning, for all that is done until then."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._ends = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds until then; never negative."""
        return max(0.0, self._ends - self._clock())


def fetch(url: str, most: int, deadline: Deadline) -> bytes:
    """What is at a URL, up to `most` bytes, all of it before the deadline.

    FetchError; LimitError if there is more. Redirects and proxies are not followed: a peer could
    send us anywhere, into the operator's own network too.
    """
    parts = urlsplit(url)
    try:
        with _Cut(_connect(parts, deadline), deadline) as cut:
            status, data = _ask(cut, parts, most)
    except (OSError, ValueError, HTTPException) as error:
        if not deadline.left:
            raise FetchError(f"{url}: no whole answer within {deadline.seconds:g} s") from None
        raise FetchError(f"{url}: {error or type(error).__name__}") from None
    # An answer without a length ends where it was cut.
    if not deadline.left:
        raise FetchError(f"{url}: no whole answer within {deadline.seconds:g} s")
    if status != HTTPStatus.OK:
        raise FetchError(f"{url}: HTTP status {status}")
    if len(data) > most:
        raise LimitError(f"{url} gives more than {most} bytes")
    return data


class _Cut:
    """Shuts a connection down at the deadline, under whoever waits for it.

    A socket's own timeout is from one byte to the next: who drips them would hold us for ever, in
    the handshake of TLS too.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock = sock
        # TLS takes the socket over; this handle stays.
        self._handle = sock.dup()
        self._timer = threading.Timer(deadline.left, self._shut)

    def __enter__(self) -> _Cut:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        self._handle.close()
        self.sock.close()

    def _shut(self) -> None:
        with suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)


def _ask(cut: _Cut, parts: SplitResult, most: int) -> tuple[int, bytes]:
    host = parts.hostname or ""
    connection = HTTPConnection(host, parts.port)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = HTTPSConnection(host, parts.port, context=context)
        cut.sock = context.wrap_socket(cut.sock, server_hostname=host)
    connection.sock = cut.sock
    connection.request("GET", parts.path)
    reply = connection.getresponse()
    return reply.status, reply.read(most + 1)


def _connect(parts: SplitResult, deadline: Deadline) -> socket.socket:
    """To the first of the host's addresses that takes the connection; OSError."""
    refusal = OSError("the name has no address")
    port = parts.port or _PORTS[parts.scheme]
    for family, kind, protocol, _, address in _resolve(parts.hostname or "", port, deadline):
        sock = socket.socket(family, kind, protocol)
        try:
            # 0 would mean not to wait at all, and to fail otherwise.
            sock.settimeout(max(deadline.left, MIN_SECONDS))
            sock.connect(address)
        except OSError as error:
            sock.close()
            refusal = error
        else:
            return sock
    raise refusal


_resolving = threading.BoundedSemaphore(MAX_RESOLVING)


def _resolve(host: str, port: int, deadline: Deadline) -> _Found:
    """The host's addresses; OSError, TimeoutError at the deadline.

    The system's resolver takes no deadline, so it is asked in a thread that nobody waits for.
    """
    if not _resolving.acquire(blocking=False):
        raise TimeoutError("too many names are being resolved")
    found: list[_Found | Exception] = []
    is_done = threading.Event()

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)
        finally:
            _resolving.release()
            is_done.set()

    threading.Thread(target=ask, name="resolving", daemon=True).start()
    if not is_done.wait(deadline.left):
        raise TimeoutError(f"{host} was not resolved in time")
    (result,) = found
    if isinstance(result, Exception):
        raise result
    return result
