"""DNS over UDP (RFC 1035, 4.2.1): one socket and one thread for every address listened at."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any, Final

from node.endpoint import Endpoint
from secondary.dns.counters import AnswerCounter
from secondary.dns.reply import Transport
from secondary.dns.transport import MAX_QUERY_BYTES, Answer, answer_or_silence, packed_host
from secondary.sockets import bound_socket

# Room for the datagrams of some tens of milliseconds; the kernel takes what it allows.
RECEIVE_BUFFER_BYTES: Final = 4 << 20
# How long a thread waits for a datagram before it looks whether it is to end.
WAIT_SECONDS: Final = 0.25

_TIMEVAL: Final = struct.Struct("@ll")
# Linux's numbers; the socket module of Python 3.11 does not name them.
_IP_PKTINFO: Final = 8
# struct in_pktinfo: interface, local address, destination. struct in6_pktinfo: address, interface.
_IPV4_PKTINFO: Final = struct.Struct("@i4s4s")
_IPV6_PKTINFO: Final = struct.Struct("@16sI")

_Ancillary = list[tuple[int, int, bytes]]


class UdpListener:
    """One UDP socket, and the thread that serves it."""

    def __init__(self, endpoint: Endpoint, answer: Answer, *, is_shared: bool = False) -> None:
        """Binds at once, and if it `is_shared` not alone.

        ConfigurationError says what is in the way.
        """
        self._answer = answer
        self._stopping = False
        self.counter = AnswerCounter(Transport.UDP)
        self._socket = bound_socket(endpoint, socket.SOCK_DGRAM, is_shared=is_shared)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        # A time-out in the kernel: Python's own would cost a poll for every datagram.
        wait = _TIMEVAL.pack(0, int(WAIT_SECONDS * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        self._ancillary_bytes = _ask_for_destinations(self._socket)
        self._thread = threading.Thread(target=self._serve, name=f"dns-udp-{endpoint}", daemon=True)

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, the port settled."""
        return Endpoint(*self._socket.getsockname()[:2])

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the datagram at hand, and closes the socket."""
        self._stopping = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        receive, ancillary_bytes = self._socket.recvmsg, self._ancillary_bytes
        while not self._stopping:
            try:
                wire, ancillary, _, peer = receive(MAX_QUERY_BYTES, ancillary_bytes)
            except OSError:
                # Nothing came in time, or the kernel had no memory: neither is the end.
                continue
            client = packed_host(peer[0])
            reply = answer_or_silence(self._answer, wire, self.counter, client)
            if reply is not None:
                self._send(reply, ancillary, peer)

    def _send(self, reply: bytes, ancillary: _Ancillary, peer: Any) -> None:
        try:
            self._socket.sendmsg([reply], _source(ancillary), 0, peer)
        except OSError:
            # An address that nobody can be reached at (a forged one, port 0): its loss.
            self.counter.ignored += 1
        else:
            self.counter.answered(reply)


def _ask_for_destinations(bound: socket.socket) -> int:
    """At a wildcard address, has the kernel tell where each datagram was sent to.

    The answer has to come from there, or the resolver drops it. Returns the room to keep for it.
    """
    if bound.getsockname()[0] == "0.0.0.0":  # noqa: S104 - compared, not bound
        bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        return socket.CMSG_SPACE(_IPV4_PKTINFO.size)
    if bound.getsockname()[0] == "::":
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        return socket.CMSG_SPACE(_IPV6_PKTINFO.size)
    return 0


def _source(ancillary: _Ancillary) -> _Ancillary:
    """What makes the answer leave from where the query went, by whichever way routing takes."""
    if not ancillary:
        return []
    level, type_, data = ancillary[0]
    if level == socket.IPPROTO_IP:
        _, local, _ = _IPV4_PKTINFO.unpack(data)
        return [(level, type_, _IPV4_PKTINFO.pack(0, local, bytes(4)))]
    local, _ = _IPV6_PKTINFO.unpack(data)
    return [(level, type_, _IPV6_PKTINFO.pack(local, 0))]
