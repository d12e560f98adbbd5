"""One gRPC call after another over an own HTTP/2 connection, at a few microseconds a call.

gRPC's own client costs as much as its server, so on one machine it would be half of what is
measured. This one knows just what a closed loop of unary calls needs of RFC 9113 and RFC 7541,
and sends what gRPC clients send: TLS with ALPN, HEADERS, one DATA frame, END_STREAM.
"""

from __future__ import annotations

import socket
import ssl
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER: Final = 9
# RFC 9113, 6: frame types and flags.
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
INITIAL_WINDOW_SIZE: Final = 4
# RFC 9113, 6.9.1 and 6.9.2.
MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535
# RFC 9113, 5.1.1.
MAX_STREAM: Final = 2**31 - 1
RECEIVE_BYTES: Final = 65_536
CONNECT_SECONDS: Final = 10.0
GRPC_PREFIX: Final = struct.Struct(">BI")


class CallError(Exception):
    """The server did not answer a call as it should; the text says how."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where calls go, and to which method. `authority`: the CA's PEM file; None for no TLS."""

    host: str
    port: int
    method: str
    authority: Path | None


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame (RFC 9113, 4.1)."""
    header = len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4)
    return header + payload


class UnaryConnection:
    """One client: a connection with at most one call on its way. `start`, then `finish`."""

    def __init__(self, target: Target) -> None:
        """Connects; OSError if nobody listens or TLS fails."""
        self.socket = _connect(target)
        self._stream = -1
        self._headers, self._repeated = _request_headers(target)
        self._buffer = bytearray()
        self._answer = self._trailers = b""
        self._send_window = DEFAULT_WINDOW
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, MAX_WINDOW)
        window = (MAX_WINDOW - DEFAULT_WINDOW).to_bytes(4)
        self.socket.sendall(
            PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, window)
        )
        self.socket.setblocking(False)

    def start(self, message: bytes) -> None:
        """Sends a call with this message."""
        self._stream += 2
        if self._stream > MAX_STREAM:
            raise CallError("a connection has no more streams")
        data = GRPC_PREFIX.pack(0, len(message)) + message
        self._send_window -= len(data)
        if self._send_window < 0:
            raise CallError("the server's flow control leaves no room for a call")
        self._answer = b""
        self._send(
            frame(HEADERS, END_HEADERS, self._stream, self._headers)
            + frame(DATA, END_STREAM, self._stream, data)
        )
        self._headers = self._repeated

    def finish(self) -> bytes | None:
        """The answer, once all of it is here; None until then. Call it when there is input."""
        finished = False
        while not finished and self._receive():
            while (received := self._next_frame()) is not None:
                finished = self._take(*received) or finished
        if not finished:
            return None
        if not self._answer:
            raise CallError(f"the call was refused: {self._trailers!r}")
        message = self._answer[GRPC_PREFIX.size :]
        if self._answer != GRPC_PREFIX.pack(0, len(message)) + message:
            raise CallError("the answer is not one whole message")
        return message

    def close(self) -> None:
        """Ends the connection."""
        self.socket.close()

    def _send(self, data: bytes) -> None:
        # A few hundred bytes always fit into an idle connection's socket buffer.
        if self.socket.send(data) != len(data):
            raise CallError("the connection takes no more")

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        if not data:
            raise CallError("the server closed the connection")
        self._buffer += data
        return True

    def _next_frame(self) -> tuple[int, int, int, bytes] | None:
        """Type, flags, stream and payload of a frame, once all of it is here."""
        buffer = self._buffer
        if len(buffer) < FRAME_HEADER:
            return None
        end = FRAME_HEADER + int.from_bytes(buffer[:3])
        if len(buffer) < end:
            return None
        kind, flags = buffer[3], buffer[4]
        # The first bit is reserved, and ignored (RFC 9113, 4.1).
        stream = int.from_bytes(buffer[5:FRAME_HEADER]) & MAX_STREAM
        payload = bytes(buffer[FRAME_HEADER:end])
        del buffer[:end]
        return kind, flags, stream, payload

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        """Whether the frame ended the call."""
        if kind == DATA:
            self._answer += payload
        elif kind == HEADERS:
            # Not decoded: a person finds gRPC's message in the bytes.
            self._trailers = payload
        elif kind == WINDOW_UPDATE and stream == 0:
            self._send_window += int.from_bytes(payload)
        elif kind == SETTINGS and not flags & ACK:
            self._send(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._send(frame(PING, ACK, 0, payload))
        elif kind in (RST_STREAM, GOAWAY):
            raise CallError(f"the server gave the call up: {payload!r}")
        return kind in (DATA, HEADERS) and bool(flags & END_STREAM)


def _connect(target: Target) -> socket.socket:
    plain = socket.create_connection((target.host, target.port), timeout=CONNECT_SECONDS)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target.authority is None:
        return plain
    context = ssl.create_default_context(cafile=str(target.authority))
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain, server_hostname=target.host)


def _request_headers(target: Target) -> tuple[bytes, bytes]:
    """The header block of a connection's first call, and of every other (RFC 7541).

    The first one puts four fields into the dynamic table; the others refer to them there.
    """
    scheme = b"\x87" if target.authority else b"\x86"
    method_and_scheme = b"\x83" + scheme
    fields = (
        b"\x44" + _text(target.method),
        b"\x41" + _text(f"{target.host}:{target.port}"),
        b"\x5f" + _text("application/grpc"),
        b"\x40" + _text("te") + _text("trailers"),
    )
    return method_and_scheme + b"".join(fields), method_and_scheme + b"\xc1\xc0\xbf\xbe"


def _text(value: str) -> bytes:
    """A string of fewer than 127 bytes, not Huffman-coded (RFC 7541, 5.2)."""
    return bytes([len(value)]) + value.encode()
