"""Addresses as DNS labels: dashed for the registry's own zone, reversed for RFC 5782 lists.

Parsing takes the canonical form alone, lower-case, so that a name and an address are one to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from registry.address import IPV4_BYTES, Address

_OCTETS: Final = {str(value): value for value in range(256)}
_NIBBLES: Final = frozenset("0123456789abcdef")
_GROUPS: Final = 8
_GROUP_DIGITS: Final = 4
_DASHED_IPV6_LENGTH: Final = _GROUPS * _GROUP_DIGITS + _GROUPS - 1


def dashed(address: Address) -> str:
    """One label: `192-0-2-36`, or eight groups of four digits for IPv6."""
    packed = address.packed
    if len(packed) == IPV4_BYTES:
        return f"{packed[0]}-{packed[1]}-{packed[2]}-{packed[3]}"
    return packed.hex("-", 2)


def parse_dashed(label: str) -> Address | None:
    """The address whose dashed form is exactly `label`; None if there is none."""
    groups = label.split("-")
    if len(groups) == IPV4_BYTES:
        return _from_octets(groups)
    if len(groups) != _GROUPS or len(label) != _DASHED_IPV6_LENGTH:
        return None
    if any(len(group) != _GROUP_DIGITS or not _NIBBLES.issuperset(group) for group in groups):
        return None
    return Address(bytes.fromhex("".join(groups)))


def reversed_name(address: Address) -> str:
    """The name below a list's zone (RFC 5782, 2.1 and 2.4): octets or nibbles, last first."""
    packed = address.packed
    if len(packed) == IPV4_BYTES:
        return f"{packed[3]}.{packed[2]}.{packed[1]}.{packed[0]}"
    return ".".join(reversed(packed.hex()))


def parse_reversed(labels: Sequence[str]) -> Address | None:
    """The address whose reversed name has exactly these labels, leftmost first; else None."""
    if len(labels) == IPV4_BYTES:
        return _from_octets(labels[::-1])
    if len(labels) != _GROUPS * _GROUP_DIGITS or not _NIBBLES.issuperset(labels):
        return None
    return Address(bytes.fromhex("".join(reversed(labels))))


def reversed_ranges(labels: Sequence[str]) -> list[tuple[Address, Address]]:
    """First and last of the addresses whose reversed names stand below the name of these labels.

    Two ranges where octets may be nibbles too: below `4.3` stand 3.4.0.0/16 and 3400::/8. Below
    `4.3.2.1`, an IPv4 address itself, stands 1234::/16. None where no address can stand.
    """
    ranges = []
    if 0 < len(labels) < IPV4_BYTES and all(label in _OCTETS for label in labels):
        known = bytes([_OCTETS[label] for label in reversed(labels)])
        ranges.append((known.ljust(IPV4_BYTES, b"\0"), known.ljust(IPV4_BYTES, b"\xff")))
    digits = _GROUPS * _GROUP_DIGITS
    if 0 < len(labels) < digits and _NIBBLES.issuperset(labels):
        begun = "".join(reversed(labels))
        ends = begun.ljust(digits, "0"), begun.ljust(digits, "f")
        ranges.append((bytes.fromhex(ends[0]), bytes.fromhex(ends[1])))
    return [(Address(first), Address(last)) for first, last in ranges]


def _from_octets(octets: Sequence[str]) -> Address | None:
    try:
        return Address(bytes([_OCTETS[octet] for octet in octets]))
    except KeyError:
        return None
