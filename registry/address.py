"""IP addresses: strict in, canonical out."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final, Literal

from registry.errors import Problem

IPV4_BYTES: Final = 4
IPV6_BYTES: Final = 16
# INET6_ADDRSTRLEN of POSIX, less its closing zero byte.
MAX_TEXT_LENGTH: Final = 45
_MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"

# Each by its one spelling.
_OCTETS: Final = {str(octet): octet for octet in range(256)}

# Why an address cannot be a public mail server, the narrower network first. From the IANA
# IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890) and multicast (RFC 5771, 4291).
_SPECIAL_IPV4: Final = (
    ("0.0.0.0/32", "unspecified"),
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT"),
    ("192.88.99.0/24", "6to4"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
)
_SPECIAL_IPV6: Final = (
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "v4-mapped"),
    ("::/96", "v4-compatible"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64"),
    ("100::/64", "discard-only"),
    ("2001::/32", "Teredo"),
    ("2001:2::/48", "benchmarking"),
    ("2001:10::/28", "ORCHID"),
    ("2001:20::/28", "ORCHID"),
    ("2001::/23", "protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
# All the unicast space that IANA gives out (RFC 4291, section 2.4).
_GLOBAL_IPV6: Final = ("2000::/3",)

_Network = tuple[int, int, str]


def _network(text: str, word: str = "") -> _Network:
    network = ipaddress.ip_network(text)
    return int(network.netmask), int(network.network_address), word


_IPV4_NETWORKS: Final = tuple(_network(text, word) for text, word in _SPECIAL_IPV4)
_IPV6_NETWORKS: Final = tuple(_network(text, word) for text, word in _SPECIAL_IPV6)
_IPV6_GLOBAL: Final = tuple(_network(text) for text in _GLOBAL_IPV6)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An IPv4 or IPv6 address: 4 or 16 bytes in network order. ValueError for other lengths."""

    packed: bytes

    def __post_init__(self) -> None:
        if len(self.packed) not in (IPV4_BYTES, IPV6_BYTES):
            raise ValueError(f"an address has 4 or 16 bytes, not {len(self.packed)}")

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address that `text` writes: dotted IPv4 without leading zeros, or any RFC 4291 IPv6.

        Problem "address": anything else, surrounding space, zones and prefix lengths included.
        """
        # What nearly every change carries; the library takes several times as long.
        dotted = _dotted(text)
        if dotted is not None:
            return cls(dotted)
        try:
            if len(text) > MAX_TEXT_LENGTH or "%" in text or "/" in text:
                raise ValueError
            return cls(ipaddress.ip_address(text).packed)
        except ValueError:
            raise Problem(
                "address",
                "not an IP address; write it like 192.0.2.36 or 2001:db8::24",
                "address",
            ) from None

    @property
    def family(self) -> Literal[4, 6]:
        """The IP version."""
        return 4 if len(self.packed) == IPV4_BYTES else 6

    def __str__(self) -> str:
        """The canonical text (RFC 5952): one spelling for one address."""
        packed = self.packed
        if len(packed) == IPV4_BYTES:
            return f"{packed[0]}.{packed[1]}.{packed[2]}.{packed[3]}"
        if packed.startswith(_MAPPED_PREFIX):
            # RFC 5952, section 5; Python writes these differently from version to version.
            return f"::ffff:{packed[12]}.{packed[13]}.{packed[14]}.{packed[15]}"
        return str(ipaddress.IPv6Address(packed))

    def special_purpose(self) -> str | None:
        """Why this cannot be the address of a public mail server; None for global unicast."""
        number = int.from_bytes(self.packed, "big")
        if len(self.packed) == IPV4_BYTES:
            return _word(number, _IPV4_NETWORKS)
        word = _word(number, _IPV6_NETWORKS)
        if word is None and _word(number, _IPV6_GLOBAL) is None:
            return "reserved"
        return word


def _dotted(text: str) -> bytes | None:
    """The four octets that are written with dots between them; None for any other text."""
    try:
        packed = bytes([_OCTETS[part] for part in text.split(".", IPV4_BYTES)])
    except KeyError:
        return None
    return packed if len(packed) == IPV4_BYTES else None


def _word(number: int, networks: tuple[_Network, ...]) -> str | None:
    for mask, prefix, word in networks:
        if number & mask == prefix:
            return word
    return None


def special_ranges() -> list[tuple[Address, Address]]:
    """First and last of the addresses that have a special purpose, in ranges that may overlap."""
    ranges = [_range(network, IPV4_BYTES) for network in _IPV4_NETWORKS]
    ranges += [_range(network, IPV6_BYTES) for network in _IPV6_NETWORKS]
    unicast = [_range(network, IPV6_BYTES) for network in _IPV6_GLOBAL]
    # Between the networks of global unicast, and beyond them, all is reserved.
    after = 0
    for first, last in sorted(unicast):
        begin = int.from_bytes(first.packed, "big")
        if begin > after:
            ranges.append((_numbered(after), _numbered(begin - 1)))
        after = int.from_bytes(last.packed, "big") + 1
    if after < 1 << 8 * IPV6_BYTES:
        ranges.append((_numbered(after), _numbered((1 << 8 * IPV6_BYTES) - 1)))
    return ranges


def _range(network: _Network, size: int) -> tuple[Address, Address]:
    mask, prefix, _ = network
    last = prefix | (mask ^ ((1 << 8 * size) - 1))
    return Address(prefix.to_bytes(size, "big")), Address(last.to_bytes(size, "big"))


def _numbered(number: int) -> Address:
    return Address(number.to_bytes(IPV6_BYTES, "big"))
