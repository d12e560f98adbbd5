"""Sends what a check wants sent, and gives what comes back; bounded in time.

An answer that is truncated where nobody expects it, or that does not come, may be a rate limit's
or the network's doing: the question is sent again before the server is blamed.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol

from node.endpoint import Endpoint
from smtpnic.dns_check.message import Reply
from smtpnic.dns_check.point import Deviation
from smtpnic.errors import UnreachableError

# dig's and the stub resolver's attempts.
UDP_TRIES: Final = 3
# What a server has to say to a message that needs no answer comes before, or soon after, the
# answer to a query that was sent behind it.
QUIET_SECONDS: Final = 0.2
# BIND, NSD and Knot count answers by the second.
RATE_LIMIT_SECONDS: Final = 1.1
# So that separate writes leave as separate segments.
SEGMENT_GAP_SECONDS: Final = 0.005
# For the whole list, whatever the server does.
RUN_SECONDS: Final = 120.0

_MAX_MESSAGE_BYTES: Final = 65535
_LENGTH: Final = struct.Struct("!H")


class Silence(Deviation):
    """No answer came in time."""


class Connection(Protocol):
    """A TCP connection to the server. What fails at sending shows at receiving."""

    def send(self, data: bytes) -> None:
        """Sends bytes as they are, in a segment of their own."""

    def finish(self) -> None:
        """Says that nothing more will be sent."""

    def receive(self) -> Reply | None:
        """The next answer; None when the server has closed or stays silent."""

    def closed_after(self, most_seconds: float) -> float | None:
        """Seconds until the server closed it; None if it has not. What it says is not looked at."""


class Asker(Protocol):
    """A way to ask one server; what cannot be had is raised as Deviation."""

    def udp(self, wire: bytes, *, may_be_truncated: bool = False) -> Reply:
        """The answer to a query over UDP."""

    def volley(self, wires: Sequence[bytes]) -> list[Reply | None]:
        """The answer to each of many queries that leave at once over UDP, asked once.

        Their identifiers are distinct. None: no answer came.
        """

    def connect(self) -> AbstractContextManager[Connection]:
        """A TCP connection."""

    def reactions(self, wires: Sequence[bytes], probe: bytes) -> list[bytes]:
        """What comes for datagrams that may need no answer, once `probe` after them is answered."""


class SocketAsker:
    """Asks over the network; `timeout_seconds` is for each answer."""

    def __init__(self, server: Endpoint, timeout_seconds: float) -> None:
        """UnreachableError if the host has no address."""
        try:
            found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise UnreachableError(f"{server.host}: {error.strerror or error}") from error
        self._family: socket.AddressFamily = found[0][0]
        self._address: tuple[Any, ...] = found[0][4]
        self._timeout_seconds = timeout_seconds
        self._end = time.monotonic() + RUN_SECONDS

    @property
    def address(self) -> Endpoint:
        """The one that is asked, of those the host may have."""
        return Endpoint(str(self._address[0]), int(self._address[1]))

    def udp(self, wire: bytes, *, may_be_truncated: bool = False) -> Reply:
        """The answer to a query over UDP; of several tries the first that is whole."""
        truncated: Reply | None = None
        for _ in range(UDP_TRIES):
            if truncated is not None:
                time.sleep(self._at_most(RATE_LIMIT_SECONDS))
            reply = self._udp_once(wire)
            if reply is not None and (may_be_truncated or not reply.is_truncated):
                return reply
            truncated = reply
        if truncated is None:
            raise Silence("an answer", f"silence over UDP, asked {UDP_TRIES} times")
        return truncated

    def volley(self, wires: Sequence[bytes]) -> list[Reply | None]:
        """The answer to each of many queries that leave at once over UDP, asked once."""
        awaited = {wire[:2] for wire in wires}
        came: dict[bytes, Reply] = {}
        with self._udp_socket() as client:
            for wire in wires:
                client.send(wire)
            end = time.monotonic() + self._at_most(self._timeout_seconds / UDP_TRIES)
            while awaited and (data := _next_datagram(client, end)) is not None:
                if data[:2] in awaited:
                    awaited.remove(data[:2])
                    came[data[:2]] = Reply(data)
        return [came.get(wire[:2]) for wire in wires]

    def connect(self) -> AbstractContextManager[Connection]:
        """A TCP connection."""
        return self._connect()

    def reactions(self, wires: Sequence[bytes], probe: bytes) -> list[bytes]:
        """What comes for datagrams that may need no answer, once `probe` after them is answered."""
        came: list[bytes] = []
        probe_answered = False
        with self._udp_socket() as client:
            for wire in wires:
                client.send(wire)
            for _ in range(UDP_TRIES):
                client.send(probe)
                end = time.monotonic() + self._at_most(self._timeout_seconds / UDP_TRIES)
                while (data := _next_datagram(client, end)) is not None:
                    if data[:2] != probe[:2]:
                        came.append(data)
                    elif not probe_answered:
                        probe_answered = True
                        end = time.monotonic() + QUIET_SECONDS
                if probe_answered:
                    return came
        raise Silence("an answer to the query that follows", "silence over UDP")

    def _udp_once(self, wire: bytes) -> Reply | None:
        with self._udp_socket() as client:
            client.send(wire)
            end = time.monotonic() + self._at_most(self._timeout_seconds / UDP_TRIES)
            while (data := _next_datagram(client, end)) is not None:
                if data[:2] == wire[:2]:
                    return Reply(data)
        return None

    @contextmanager
    def _udp_socket(self) -> Iterator[socket.socket]:
        with socket.socket(self._family, socket.SOCK_DGRAM) as client:
            try:
                client.connect(self._address)
                yield client
            except OSError as error:
                raise Silence("an answer", f"{error.strerror or error} over UDP") from None

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with socket.socket(self._family, socket.SOCK_STREAM) as client:
            client.settimeout(self._at_most(self._timeout_seconds))
            try:
                client.connect(self._address)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                came = f"TCP: {error.strerror or error}"
                raise Silence("a TCP connection", came) from None
            yield SocketConnection(client, self._timeout_seconds, self._at_most)

    def _at_most(self, seconds: float) -> float:
        """So long, but not past the end of the run."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Silence("an answer", f"nothing: the {RUN_SECONDS:g} s for the whole list are up")
        return min(seconds, left)


class SocketConnection:
    """A TCP connection of the operating system's."""

    def __init__(
        self,
        client: socket.socket,
        timeout_seconds: float,
        at_most: Callable[[float], float],
    ) -> None:
        """`timeout_seconds` is for each answer; `at_most` shortens what the run has no time for."""
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._at_most = at_most
        self._is_first = True

    def send(self, data: bytes) -> None:
        """Sends bytes as they are, in a segment of their own."""
        if not self._is_first:
            time.sleep(SEGMENT_GAP_SECONDS)
        self._is_first = False
        try:
            self._client.sendall(data)
        except OSError:
            # The server has closed: that is found where an answer is awaited.
            return

    def finish(self) -> None:
        """Says that nothing more will be sent."""
        try:
            self._client.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def receive(self) -> Reply | None:
        """The next answer; None when the server has closed or stays silent."""
        end = time.monotonic() + self._at_most(self._timeout_seconds)
        head = self._read(_LENGTH.size, end)
        if head is None:
            return None
        data = self._read(_LENGTH.unpack(head)[0], end)
        return None if data is None else Reply(data)

    def closed_after(self, most_seconds: float) -> float | None:
        """Seconds until the server closed it; None if it has not. What it says is not looked at."""
        began = time.monotonic()
        end = began + self._at_most(most_seconds)
        while (left := end - time.monotonic()) > 0:
            self._client.settimeout(left)
            try:
                if not self._client.recv(_MAX_MESSAGE_BYTES):
                    return time.monotonic() - began
            except TimeoutError:
                break
            except OSError:
                return time.monotonic() - began
        # Where the whole run has no more time, nothing is known.
        self._at_most(most_seconds)
        return None

    def _read(self, size: int, end: float) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            try:
                self._client.settimeout(max(end - time.monotonic(), 0.001))
                part = self._client.recv(size - len(data))
            except OSError:
                return None
            if not part:
                return None
            data += part
        return bytes(data)


def framed(wire: bytes) -> bytes:
    """A message as it goes over TCP: its length before it (RFC 1035, 4.2.2)."""
    return _LENGTH.pack(len(wire)) + wire


def ask_tcp(ask: Asker, wire: bytes) -> Reply:
    """The answer to one query over a TCP connection of its own."""
    with ask.connect() as connection:
        connection.send(framed(wire))
        reply = connection.receive()
    if reply is None:
        raise Silence("an answer", "silence or the connection's end over TCP")
    if reply.wire[:2] != wire[:2]:
        raise Deviation("the query's identifier", "another over TCP")
    return reply


def _next_datagram(client: socket.socket, end: float) -> bytes | None:
    """The next datagram of at least a header's identifier before `end`; None if none comes."""
    while (left := end - time.monotonic()) > 0:
        if not select.select([client], [], [], left)[0]:
            return None
        data = client.recv(_MAX_MESSAGE_BYTES)
        if data:
            return data
    return None
