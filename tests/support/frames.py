"""Ethernet frames with a DNS query in them, and what RFC 791, 768 and 8200 say of any frame."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from tests.support.framed_server import FRAMED_PORT
from tests.support.veth import CLIENT_V4, SERVER_V4

IPV4: Final = struct.Struct("!BBHHHBBH4s4s")
IPV6: Final = struct.Struct("!IHBB16s16s")
UDP: Final = struct.Struct("!HHHH")
ETHERNET_IPV4, ETHERNET_IPV6, ETHERNET_VLAN = b"\x08\x00", b"\x86\xdd", b"\x81\x00\x00\x05"
LINK_BYTES: Final = 14
MORE_FRAGMENTS: Final = 0x2000
_UDP: Final = 17
_DONT_FRAGMENT: Final = 0x4000


def added(data: bytes) -> int:
    """The sum of RFC 1071, before its complement is taken."""
    even = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(data: bytes) -> int:
    """RFC 1071."""
    return ~added(data) & 0xFFFF


def datagram(payload: bytes, ends: bytes, *, port: int = 4000, target: int = FRAMED_PORT) -> bytes:
    """UDP between two packed addresses, which stand one after the other in `ends`."""
    size = UDP.size + len(payload)
    udp = UDP.pack(port, target, size, 0) + payload
    right = checksum(ends + struct.pack("!HH", size, _UDP) + udp)
    return udp[:6] + struct.pack("!H", right or 0xFFFF) + udp[8:]


def packet(
    payload: bytes,
    *,
    source: str = CLIENT_V4,
    target: str = SERVER_V4,
    options: bytes = b"",
    damage: int = 0,
    length: int | None = None,
) -> bytes:
    """An IPv4 packet with a query in it; `damage` to its checksum, another `length` of UDP."""
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    udp = datagram(payload, ends)
    right = int.from_bytes(udp[6:8], "big")
    given = len(udp) if length is None else length
    udp = udp[:4] + struct.pack("!HH", given, (right ^ damage) or 0xFFFF) + udp[8:]
    words = 5 + len(options) // 4
    fields = 0x40 | words, 0, 4 * words + len(udp), 7, 0, 64, _UDP, 0, ends[:4], ends[4:]
    return with_sum(IPV4.pack(*fields) + options) + udp


def packet6(payload: bytes, *, source: str, target: str) -> bytes:
    """An IPv6 packet with a query in it."""
    ends = socket.inet_pton(socket.AF_INET6, source), socket.inet_pton(socket.AF_INET6, target)
    udp = datagram(payload, b"".join(ends))
    return IPV6.pack(6 << 28, len(udp), _UDP, 64, *ends) + udp


def with_sum(header: bytes) -> bytes:
    """An IPv4 header with its checksum made anew."""
    bare = header[:10] + b"\0\0" + header[12:]
    return bare[:10] + struct.pack("!H", checksum(bare)) + bare[12:]


def fragments(payload: bytes) -> list[bytes]:
    """The same in two packets."""
    whole = packet(payload)[IPV4.size :]
    ends = socket.inet_aton(CLIENT_V4), socket.inet_aton(SERVER_V4)
    return [
        with_sum(IPV4.pack(0x45, 0, IPV4.size + len(part), 9, flags, 64, _UDP, 0, *ends)) + part
        for flags, part in ((MORE_FRAGMENTS, whole[:16]), (2, whole[16:]))
    ]


@dataclass(frozen=True, slots=True)
class Reader:
    """What a host at `mine` has for the UDP port of a server, and for a `left` one of another.

    `mine` are its packed addresses, and `not_from` others that nobody sends from.
    """

    mine: tuple[bytes, ...]
    not_from: tuple[bytes, ...] = ()
    left: int = 0

    def payload(self, frame: bytes) -> bytes | None:
        """What a frame holds for the server; None: nothing; empty: this cannot say."""
        kind, packet = frame[12:LINK_BYTES], frame[LINK_BYTES:]
        if kind == ETHERNET_IPV4:
            return self._ipv4(packet)
        return self._ipv6(packet) if kind == ETHERNET_IPV6 else None

    def _ipv4(self, packet: bytes) -> bytes | None:
        if len(packet) < IPV4.size or packet[0] >> 4 != 4:
            return None
        words, total = packet[0] & 15, int.from_bytes(packet[2:4], "big")
        if words > 5:
            return b"" if added(packet[: 4 * words]) == 0xFFFF else None
        if words < 5 or total > len(packet) or added(packet[: IPV4.size]) != 0xFFFF:
            return None
        flags = int.from_bytes(packet[6:8], "big")
        if flags & ~_DONT_FRAGMENT & 0x7FFF:
            return b""
        if packet[9] != _UDP:
            return None
        return self._udp(packet[IPV4.size : total], packet[12:16], packet[16:20])

    def _ipv6(self, packet: bytes) -> bytes | None:
        if len(packet) < IPV6.size or packet[0] >> 4 != 6 or packet[6] != _UDP:
            return None
        length = int.from_bytes(packet[4:6], "big")
        if length > len(packet) - IPV6.size:
            return None
        udp = packet[IPV6.size : IPV6.size + length]
        if udp[6:8] == b"\0\0" or (len(udp) >= UDP.size and udp[4:6] == b"\0\0"):
            return None
        return self._udp(udp, packet[8:24], packet[24:40])

    def _udp(self, udp: bytes, source: bytes, target: bytes) -> bytes | None:
        if len(udp) < UDP.size or target not in self.mine or not self._sends(source):
            return None
        port, to, length, given = UDP.unpack_from(udp)
        if to == self.left:
            return b""
        if not port or to != FRAMED_PORT or not UDP.size <= length <= len(udp):
            return None
        ends = source + target + struct.pack("!HH", length, _UDP)
        # What no hardware completed yet has the sum of the ends alone.
        if given not in (0, added(ends)) and added(ends + udp[:length]) != 0xFFFF:
            return None
        return udp[UDP.size : length]

    def _sends(self, source: bytes) -> bool:
        if source in self.mine or source in self.not_from:
            return False
        address = ip_address(source)
        if isinstance(address, IPv4Address):
            return source[0] not in (0, 127) and source[0] < 224
        assert isinstance(address, IPv6Address)
        return not (
            address.is_multicast
            or address.is_unspecified
            or address.is_loopback
            or address.ipv4_mapped
        )
