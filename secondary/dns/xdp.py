"""The AF_XDP front of the compiled server: sockets at an interface's queues, and their filter.

Opening it needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF; serving needs none of them. The filter
goes with the process.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Final, Self

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from secondary.dns.compiled.frames import FrameSocket, bpf
from secondary.dns.xdp_filter import INSTRUCTION_BYTES, Taken, filter_program

# linux/bpf.h
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD, _LINK_CREATE = 0, 2, 5, 28
_XSKMAP: Final = 17
_PROGRAM_XDP: Final = 6
_ATTACH_XDP: Final = 37
_LICENSE: Final = b"Apache-2.0\0"
_KEY_BYTES: Final = 4
# linux/sockios.h, and of what is got a name and then a struct sockaddr
_SIOCGIFADDR, _SIOCGIFNETMASK, _SIOCGIFHWADDR = 0x8915, 0x891B, 0x8927
_REQUEST: Final = struct.Struct("=16sH22x")
_ETHERNET: Final = 1
_SHORTEST_WITHOUT_BROADCAST: Final = 31
_IPV6_ADDRESSES: Final = Path("/proc/net/if_inet6")
# Queues of a large network card; each has a thread and 4 MiB.
MAX_QUEUES: Final = 64


class XdpFront(Collector):
    """What takes queries from an interface before the kernel does, queue by queue."""

    def __init__(self, sockets: list[FrameSocket], by_queue: int, link: int) -> None:
        """`by_queue`: the map that the filter looks a queue's socket up in, empty as yet."""
        self.sockets = sockets
        self._by_queue, self._link = by_queue, link

    @classmethod
    def open(cls, interface: str, listen: Endpoint) -> Self:
        """Will take what is sent to `listen` and comes in at `interface`.

        At a wildcard address, what is sent to the interface's first IPv4 address, or to all of its
        IPv6 addresses. ConfigurationError says what is in the way.
        """
        if not listen.port:
            raise ConfigurationError("dns.interface needs a port in dns.listen")
        step = "there is no such interface"
        program = -1
        try:
            index = socket.if_nametoindex(interface)
            step = "queries are taken from Ethernet, at an address that it has"
            taken = _taken(interface, listen)
            step = "an AF_XDP socket needs CAP_NET_RAW, memory, and a queue that no other has"
            sockets = [FrameSocket(index, queue) for queue in range(_queues(interface))]
            step = "its filter needs CAP_BPF and CAP_NET_ADMIN, and no other XDP program there"
            by_queue = _socket_map(len(sockets))
            program = _loaded(filter_program(taken, by_queue))
            return cls(sockets, by_queue, _attached(program, index))
        except OSError as error:
            raise ConfigurationError(
                f"dns.interface {interface}: {error.strerror}; {step}"
            ) from error
        finally:
            if program >= 0:
                os.close(program)

    def begin(self, number: int) -> None:
        """Has the filter give the queries of a queue to its socket.

        It needs no capability (Linux 5.19): the map is open.
        """
        key, value = ctypes.c_uint32(number), ctypes.c_uint32(self.sockets[number].fd)
        where = ctypes.addressof(key), ctypes.addressof(value)
        _bpf(_MAP_UPDATE, struct.pack("I4x3Q", self._by_queue, *where, 0))

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        dropped = sum(one.dropped() for one in self.sockets)
        yield CounterMetricFamily(
            "smtpnic_dns_xdp_dropped", "Queries that AF_XDP had no room for.", value=dropped
        )

    def close(self) -> None:
        """Leaves all queries to the kernel, and so to the ordinary sockets."""
        for descriptor in (self._link, self._by_queue):
            if descriptor >= 0:
                os.close(descriptor)
        self._link = self._by_queue = -1


def served_addresses(interface: str, listen: Endpoint) -> list[bytes]:
    """Packed addresses at which queries are taken from the interface."""
    if listen.host == "0.0.0.0":  # noqa: S104 - compared, not bound
        return _first_ipv4(interface)
    if listen.host == "::":
        return _ipv6(interface)
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    return [socket.inet_pton(family, listen.host)]


def _taken(interface: str, listen: Endpoint) -> Taken:
    """OSError if nothing can be."""
    addresses = served_addresses(interface, listen)
    if not addresses:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    mine = [*addresses, *_first_ipv4(interface), *_broadcast(interface), *_ipv6(interface)]
    return Taken(_link_address(interface), addresses, listen.port, list(dict.fromkeys(mine)))


def _link_address(interface: str) -> bytes:
    kind, address = _asked(_SIOCGIFHWADDR, interface)
    if kind != _ETHERNET:
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
    return address[:6]


def _first_ipv4(interface: str) -> list[bytes]:
    return [address.ip.packed for address in _first_network(interface)]


def _broadcast(interface: str) -> list[bytes]:
    """The last address of the network, which no host of it has (RFC 919); RFC 3021 has none."""
    return [
        address.network.broadcast_address.packed
        for address in _first_network(interface)
        if address.network.prefixlen < _SHORTEST_WITHOUT_BROADCAST
    ]


def _first_network(interface: str) -> list[IPv4Interface]:
    try:
        asked = [_asked(what, interface)[1][2:6] for what in (_SIOCGIFADDR, _SIOCGIFNETMASK)]
    except OSError:
        # It has no IPv4 address.
        return []
    address, mask = map(socket.inet_ntoa, asked)
    return [IPv4Interface(f"{address}/{mask}")]


def _asked(what: int, interface: str) -> tuple[int, bytes]:
    """A kind of address and its bytes, of an interface; OSError if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        found = fcntl.ioctl(any_socket, what, _REQUEST.pack(interface.encode(), 0))
    return _REQUEST.unpack(found)[1], found[18:]


def _ipv6(interface: str) -> list[bytes]:
    if not _IPV6_ADDRESSES.exists():
        # The kernel has no IPv6.
        return []
    lines = _IPV6_ADDRESSES.read_text(encoding="ascii").splitlines()
    return [bytes.fromhex(words[0]) for words in map(str.split, lines) if words[-1] == interface]


def _queues(interface: str) -> int:
    queues = Path(f"/sys/class/net/{interface}/queues")
    return min(len(list(queues.glob("rx-*"))), MAX_QUEUES)


def _socket_map(queues: int) -> int:
    return _bpf(_MAP_CREATE, struct.pack("5I", _XSKMAP, _KEY_BYTES, _KEY_BYTES, queues, 0))


def _loaded(program: bytes) -> int:
    code, terms = ctypes.create_string_buffer(program), ctypes.create_string_buffer(_LICENSE)
    where = ctypes.addressof(code), ctypes.addressof(terms)
    size = len(program) // INSTRUCTION_BYTES
    return _bpf(_PROG_LOAD, struct.pack("2I2Q", _PROGRAM_XDP, size, *where))


def _attached(program: int, interface: int) -> int:
    """The link that holds the program to the interface, in the driver where that can run it."""
    return _bpf(_LINK_CREATE, struct.pack("4I", program, interface, _ATTACH_XDP, 0))


def _bpf(command: int, attributes: bytes) -> int:
    return bpf(command, bytearray(attributes))
