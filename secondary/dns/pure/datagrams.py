"""Datagrams in batches, by the C library's recvmmsg and sendmmsg, which Python does not offer.

With a call for each datagram an answer costs half as much again: the way into the kernel, the
interpreter's lock, addresses made into text and back. Here a peer's address stays as it came, and
so does the control message that says where the query was sent to: the answer leaves from there.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from array import array
from collections.abc import Sequence
from errno import EINTR
from itertools import accumulate
from typing import Any, Final, Literal

from secondary.dns.transport import MAX_QUERY_BYTES

# As many as come in a few hundred microseconds at most.
BATCH: Final = 64
# A sockaddr_in6 has 28 bytes, a control message with an in6_pktinfo 40.
_PEER_BYTES: Final = 32
_CONTROL_BYTES: Final = 64
# Linux's number; the socket module does not name it.
_MSG_WAITFORONE: Final = 0x10000
# Where a sockaddr_in and a sockaddr_in6 have the address.
_PACKED: Final = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 24)}
# Where an in_pktinfo and an in6_pktinfo have the interface, which routing shall choose.
_INTERFACE_AT: Final = {socket.AF_INET: 0, socket.AF_INET6: 16}
# Where each datagram's bytes begin.
_PLACES: Final = range(0, BATCH * MAX_QUERY_BYTES, MAX_QUERY_BYTES)
_CONTROL_ROOM: Final = memoryview(struct.pack("@L", _CONTROL_BYTES) * BATCH).cast("L")
_NO_INTERFACE: Final = memoryview(bytes(4 * BATCH)).cast("I")


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("peer", ctypes.c_void_p),
        ("peer_bytes", ctypes.c_uint),
        ("vector", ctypes.c_void_p),
        ("vectors", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_bytes", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class _Messages:
    """Messages with room for data, and their fields in columns: a structure's own are slow."""

    def __init__(self, peers: bytearray, controls: bytearray) -> None:
        self.array = (_Message * BATCH)()
        self.data = bytearray(BATCH * MAX_QUERY_BYTES)
        self._vectors = (_Vector * BATCH)()
        self.address = _address(self.data)
        peer, control = _address(peers), _address(controls)
        for number, message in enumerate(self.array):
            vector = self._vectors[number]
            vector.base = self.address + number * MAX_QUERY_BYTES
            vector.length = MAX_QUERY_BYTES
            header = message.header
            header.peer, header.peer_bytes = peer + number * _PEER_BYTES, _PEER_BYTES
            header.vector, header.vectors = ctypes.addressof(vector), 1
            header.control = control + number * _CONTROL_BYTES
        self.received = _column(self.array, "I", _Message.length.offset)
        self.bases = _column(self._vectors, "L", _Vector.base.offset)
        self.sizes = _column(self._vectors, "L", _Vector.length.offset)
        self.control_bytes = _column(self.array, "L", _Header.control_bytes.offset)


class Datagrams:
    """What comes to a UDP socket and goes from it, up to BATCH at a time, each in a place."""

    def __init__(self, bound: socket.socket) -> None:
        """Borrows the socket."""
        library = ctypes.CDLL(None, use_errno=True)
        self._receive, self._send = library.recvmmsg, library.sendmmsg
        self._fd = bound.fileno()
        packed = _PACKED[bound.family]
        self._packed = [
            slice(peer + packed.start, peer + packed.stop)
            for peer in range(0, BATCH * _PEER_BYTES, _PEER_BYTES)
        ]
        self._peers = bytearray(BATCH * _PEER_BYTES)
        controls = bytearray(BATCH * _CONTROL_BYTES)
        self._in, self._out = _Messages(self._peers, controls), _Messages(self._peers, controls)
        interface = socket.CMSG_LEN(_INTERFACE_AT[bound.family])
        self._interfaces = memoryview(controls).cast("I")[interface // 4 :: _CONTROL_BYTES // 4]
        self._came, self._goes = memoryview(self._in.data), memoryview(self._out.data)

    def receive(self) -> list[tuple[bytes, bytes]]:
        """What came, with the packed addresses that it came from; nothing if none did in time."""
        incoming = self._in
        incoming.control_bytes[:] = _CONTROL_ROOM
        count = self._receive(self._fd, incoming.array, BATCH, _MSG_WAITFORONE, None)
        # Nothing came in time, or the kernel had no memory: neither is the end.
        if count <= 0:
            return []
        peers, came = bytes(self._peers), self._came
        sizes = incoming.received[:count].tolist()
        return [
            (came[at : at + size].tobytes(), peers[packed])
            for at, size, packed in zip(_PLACES, sizes, self._packed, strict=False)
        ]

    def answer(self, answers: Sequence[bytes | None]) -> int:
        """Sends to the places what is neither empty nor None; how many it could not send."""
        out, count = self._out, len(answers)
        out.control_bytes[:] = self._in.control_bytes
        self._interfaces[:] = _NO_INTERFACE
        # One after another: that costs a copy for all, where a place for each costs one for each.
        said = [answer for answer in answers if answer]
        joined, sizes = b"".join(said), list(map(len, said))
        if len(said) < count:
            sizes = [len(answer) if answer else 0 for answer in answers]
        self._goes[: len(joined)] = joined
        out.sizes[:count] = array("L", sizes)
        out.bases[:count] = array("L", accumulate(sizes[:-1], initial=out.address))
        unsent = [] if len(said) == count else [at for at, size in enumerate(sizes) if not size]
        lost = first = 0
        for place in [*unsent, count]:
            lost += self._send_between(first, place)
            first = place + 1
        return lost

    def _send_between(self, first: int, end: int) -> int:
        lost = 0
        while first < end:
            messages = ctypes.byref(self._out.array, first * ctypes.sizeof(_Message))
            sent = self._send(self._fd, messages, end - first, 0)
            if sent > 0:
                first += sent
            elif ctypes.get_errno() != EINTR:
                # An address that nobody can be reached at (a forged one, port 0): its loss.
                lost, first = lost + 1, first + 1
        return lost


def _address(data: bytearray) -> int:
    """Where the bytes are; they must not be resized."""
    return ctypes.addressof((ctypes.c_char * len(data)).from_buffer(data))


def _column(rows: ctypes.Array[Any], format_: Literal["I", "L"], offset: int) -> memoryview:
    """A field of all structures of an array, by its format and its place in one."""
    fields: memoryview = memoryview(rows).cast("B").cast(format_)
    return fields[offset // fields.itemsize :: len(fields) // len(rows)]
