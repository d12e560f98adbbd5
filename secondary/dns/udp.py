"""DNS over UDP (RFC 1035, 4.2.1): one socket and one thread for every address listened at."""

from __future__ import annotations

import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

from node.endpoint import Endpoint
from node.sockets import bound_socket
from secondary.dns.counters import AnswerCounter
from secondary.dns.reply import Transport
from secondary.dns.transport import Answer

# Room for the datagrams of some tens of milliseconds; the kernel takes what it allows.
RECEIVE_BUFFER_BYTES: Final = 4 << 20
# How long a thread waits for a datagram before it looks whether it is to end.
WAIT_SECONDS: Final = 0.25

_TIMEVAL: Final = struct.Struct("@ll")
# Linux's number; the socket module of Python 3.11 does not name it.
_IP_PKTINFO: Final = 8
# Linux's numbers, which the socket module does not name. By PROBE a datagram is never fragmented
# (RFC 9715, 3.1), whatever strangers say of the path: answers have 1232 bytes at most. It also
# saves the kernel the choice of an identifier for fragments.
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 10, 23
_PMTUDISC_PROBE: Final = 3


# One or more listeners at an endpoint, which ask for what they do not know.
ListenUdp = Callable[[Endpoint, Answer], Sequence["UdpListener"]]


class UdpListener(ABC):
    """A thread that answers datagrams at an endpoint, whichever way they come."""

    def __init__(self, name: str) -> None:
        self._stopping = False
        self.counter = AnswerCounter(Transport.UDP)
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    @property
    @abstractmethod
    def endpoint(self) -> Endpoint:
        """Where it listens, the port settled."""

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after what is at hand, and closes the socket."""
        self._stopping = True
        if self._thread.is_alive():
            self._thread.join()
        self._close()

    @abstractmethod
    def _serve(self) -> None:
        """Answers what comes until `_stopping`, whose change it sees within WAIT_SECONDS."""

    @abstractmethod
    def _close(self) -> None:
        """Closes the socket; nobody reads it any more."""


class SocketListener(UdpListener):
    """One UDP socket, and the thread that serves it."""

    def __init__(self, endpoint: Endpoint, *, is_shared: bool = False) -> None:
        """Binds at once, and if it `is_shared` not alone.

        ConfigurationError says what is in the way.
        """
        super().__init__(f"dns-udp-{endpoint}")
        self._socket = bound_socket(endpoint, socket.SOCK_DGRAM, is_shared=is_shared)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        # A time-out in the kernel: Python's own would cost a poll for every datagram.
        wait = _TIMEVAL.pack(0, int(WAIT_SECONDS * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        _forbid_fragments(self._socket)
        _ask_for_destinations(self._socket)

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, the port settled."""
        return Endpoint(*self._socket.getsockname()[:2])

    def _close(self) -> None:
        self._socket.close()


def _forbid_fragments(bound: socket.socket) -> None:
    if bound.family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        bound.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)


def _ask_for_destinations(bound: socket.socket) -> None:
    """At a wildcard address, has the kernel tell where each datagram was sent to.

    The answer has to come from there, or the resolver drops it.
    """
    if bound.getsockname()[0] == "0.0.0.0":  # noqa: S104 - compared, not bound
        bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    elif bound.getsockname()[0] == "::":
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
