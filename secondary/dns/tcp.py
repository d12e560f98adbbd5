"""DNS over TCP (RFC 7766): length-prefixed, pipelined; all connections in one event loop."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import Final

from node.endpoint import Endpoint
from node.sockets import bound_socket
from secondary.dns.counters import AnswerCounter
from secondary.dns.reply import Transport
from secondary.dns.tcp_places import TcpPlaces
from secondary.dns.transport import MAX_QUERY_BYTES, Answer, answer_or_silence, packed_host

# BIND's tcp-clients and tcp-idle-timeout; a quarter of them for one client.
MAX_CONNECTIONS: Final = 150
MAX_CONNECTIONS_A_CLIENT: Final = MAX_CONNECTIONS // 4
IDLE_SECONDS: Final = 30.0
# From a query's first byte to its last, and for a client to take some of its answers: either fits
# a segment, and a segment lost twice comes within three seconds (RFC 6298). Knot allows half a
# second for each read and write.
QUERY_SECONDS: Final = 5.0
TAKING_SECONDS: Final = 5.0
# What waits for a client to take it before no more answers are made: some hundred of them.
UNTAKEN_BYTES: Final = 16 * 1024
# As many as may stay: who is beyond that is told so at once, not after a second try.
BACKLOG: Final = MAX_CONNECTIONS
# Pipelined queries answered before other connections have their turn.
TURN_QUERIES: Final = 16

_LENGTH: Final = struct.Struct("!H")


class TcpListener:
    """One TCP socket whose connections are served by the running event loop."""

    def __init__(self, endpoint: Endpoint, answer: Answer, places: TcpPlaces) -> None:
        """Binds at once; ConfigurationError says what is in the way."""
        self.answer = answer
        self.places = places
        self.counter = AnswerCounter(Transport.TCP)
        self.connections: set[TcpConnection] = set()
        self._socket = bound_socket(endpoint, socket.SOCK_STREAM)
        self._server: asyncio.Server | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, the port settled."""
        return Endpoint(*self._socket.getsockname()[:2])

    async def start(self) -> None:
        """Begins to accept."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: TcpConnection(self), sock=self._socket, backlog=BACKLOG
        )

    async def stop(self) -> None:
        """Closes the socket and every connection; answers under way are sent."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.connections):
            connection.close()
        self._socket.close()


class TcpConnection(asyncio.Protocol):
    """Length-prefixed queries, pipelined as the client likes, answered in their order."""

    def __init__(self, listener: TcpListener) -> None:
        self._listener = listener
        self._received = bytearray()
        self._writable = True
        # A query has begun and is not whole.
        self._in_query = False
        self._turn: asyncio.Handle | None = None
        self._end: asyncio.TimerHandle | None = None
        self._host = ""
        self._client = b""

    @property
    def host(self) -> str:
        """The client's address."""
        return self._host

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stays only within the limits."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._host = transport.get_extra_info("peername")[0]
        self._client = packed_host(self._host)
        if not self._listener.places.take(self, asyncio.get_running_loop().time()):
            transport.abort()
            return
        transport.set_write_buffer_limits(UNTAKEN_BYTES)
        self._listener.connections.add(self)
        self._allow(IDLE_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Gives its place back."""
        for handle in (self._end, self._turn):
            if handle is not None:
                handle.cancel()
        self._listener.connections.discard(self)
        self._listener.places.leave(self)

    def close(self) -> None:
        """Closes, after what was written has been sent or the client took too long over it."""
        self._transport.close()
        self._allow(TAKING_SECONDS)

    def abandon(self) -> None:
        """Closes at once: somebody else has the place."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answers what is complete."""
        self._received += data
        self._take_turn()

    def pause_writing(self) -> None:
        """The client does not read its answers: no more are made until it does."""
        self._writable = False
        self._allow(TAKING_SECONDS)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable = True
        if self._transport.is_closing():
            return
        self._allow(QUERY_SECONDS if self._in_query else IDLE_SECONDS)
        self._take_turn()

    def _take_turn(self) -> None:
        """Answers some queries; others' connections go before the rest."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        for _ in range(TURN_QUERIES):
            if not self._writable or self._transport.is_closing():
                break
            wire = self._next_query()
            if wire is None:
                self._transport.resume_reading()
                self._wait_for_rest()
                return
            self._reply_to(wire)
        self._transport.pause_reading()
        if self._writable and not self._transport.is_closing():
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def _wait_for_rest(self) -> None:
        """What has begun is to be whole soon: bytes alone could be sent one a minute."""
        if self._received and not self._in_query and not self._transport.is_closing():
            self._in_query = True
            self._allow(QUERY_SECONDS)

    def _next_query(self) -> bytes | None:
        """The next query, if all of it has come."""
        if len(self._received) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._received)
        end = _LENGTH.size + length
        if length > MAX_QUERY_BYTES:
            self._transport.abort()
            return None
        if len(self._received) < end:
            return None
        wire = bytes(self._received[_LENGTH.size : end])
        del self._received[:end]
        return wire

    def _reply_to(self, wire: bytes) -> None:
        listener, began_ns = self._listener, time.monotonic_ns()
        reply = answer_or_silence(listener.answer, wire, listener.counter, self._client)
        if reply is None:
            # Whoever sends what cannot be answered does not speak DNS here.
            self.close()
            return
        self._transport.write(_LENGTH.pack(len(reply)) + reply)
        listener.counter.answered(reply)
        listener.counter.took(1, (time.monotonic_ns() - began_ns) // 1000)
        self._in_query = False
        if self._writable:
            self._allow(IDLE_SECONDS)
        listener.places.stir(self, asyncio.get_running_loop().time())

    def _allow(self, seconds: float) -> None:
        """So long from now, and no longer."""
        if self._end is not None:
            self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(seconds, self._transport.abort)
