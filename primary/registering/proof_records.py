"""The TXT records by which a domain, or a network, names the holder that may register for it.

`_smtpnic.example.org TXT "v=smtpnic1; holder=<32 hex>"` need not be secret, and may stay: only
who runs the zone can put it there, and it lets nobody but that holder in. One record serves all
the mail servers of a domain, and the one at `_smtpnic.2.0.192.in-addr.arpa` a whole network.

A lost key is replaced by what nobody could have put there before:
`"v=smtpnic1; holder=<32 hex>; key=<64 hex>"`, the SHA-256 of the new management key.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from registry.address import Address
from registry.label import reversed_name

LABEL: Final = "_smtpnic"
VERSION: Final = "v=smtpnic1"

# Where reverse zones are cut: the octets that are delegated, and of IPv6 the lengths that
# providers are given and give out (RFC 6177).
IPV4_PREFIXES: Final = (32, 24, 16)
IPV6_PREFIXES: Final = (128, 64, 56, 48, 32)
_OCTET_BITS: Final = 8
_NIBBLE_BITS: Final = 4


@dataclass(frozen=True, slots=True)
class Network:
    """A network that holds an address, and where its TXT record stands."""

    prefix: str
    name: str


def domain_record_name(domain: str) -> str:
    """Where a domain's record stands."""
    return f"{LABEL}.{domain}"


def networks_of(address: Address) -> tuple[Network, ...]:
    """The networks whose record counts for the address, the narrowest first."""
    is_ipv4 = address.family == 4
    bits, unit = (32, _OCTET_BITS) if is_ipv4 else (128, _NIBBLE_BITS)
    labels = reversed_name(address).split(".")
    zone = "in-addr.arpa" if is_ipv4 else "ip6.arpa"
    networks = []
    for length in IPV4_PREFIXES if is_ipv4 else IPV6_PREFIXES:
        below = labels[(bits - length) // unit :]
        network = ipaddress.ip_network((address.packed, length), strict=False)
        networks.append(Network(str(network), ".".join([LABEL, *below, zone])))
    return tuple(networks)


def pointer_name(address: Address) -> str:
    """Where the address's PTR record stands."""
    zone = "in-addr.arpa" if address.family == 4 else "ip6.arpa"
    return f"{reversed_name(address)}.{zone}"


def holder_text(holder_id: bytes) -> str:
    """What the record says."""
    return f"{VERSION}; holder={holder_id.hex()}"


def recovery_text(holder_id: bytes, key_hash: bytes) -> str:
    """What the record says to give the holder another management key."""
    return f"{holder_text(holder_id)}; key={key_hash.hex()}"


def names_holder(text: str, holder_id: bytes) -> bool:
    """Whether a TXT record lets this holder in."""
    return _fields(text).get("holder") == holder_id.hex()


def names_key(text: str, holder_id: bytes, key_hash: bytes) -> bool:
    """Whether a TXT record gives this holder this key."""
    return names_holder(text, holder_id) and _fields(text).get("key") == key_hash.hex()


def is_ours(text: str) -> bool:
    """Whether a TXT record is meant for the registry at all."""
    return bool(_fields(text))


def _fields(text: str) -> dict[str, str]:
    """The record's parts, forgiving in space and case; nothing if it is another's record."""
    first, *parts = (part.strip().lower() for part in text.split(";"))
    if first.replace(" ", "") != VERSION:
        return {}
    pairs = (part.partition("=") for part in parts)
    return {name.strip(): value.strip() for name, _, value in pairs}
