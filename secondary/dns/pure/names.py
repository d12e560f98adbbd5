"""The records of a name, in the bytes of an answer; `secondary.dns.zone` has them as objects.

As there, an empty answer is for a name without records of the type, and None for one that does
not exist.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from registry.kinds import Status
from secondary.dns.codes import CLASS_IN, Type
from secondary.dns.dashed_zone import NAME_TTL, describe
from secondary.dns.fast_path import FastZone, ZoneKind
from secondary.dns.list_zone import is_inhabited
from secondary.dns.pure.shapes import Shape
from secondary.dns.query import HEADER_BYTES
from secondary.dns.records import text_data
from secondary.dns.reversed_names import (
    ALWAYS_LISTED,
    LISTED_ADDRESS,
    NEVER_LISTED,
    parse_name,
)
from secondary.dns.table import DAY_SECONDS, DictTable, Listing, label_of, outline_facts
from secondary.dns.unlisted_zone import UNLISTED_TTL, is_unlisted

IPV4_BYTES: Final = 4
IPV6_BYTES: Final = 16
# The label of an IPv6 address is always, and that of an IPv4 address never, as long as this.
IPV6_LABEL_BYTES: Final = 39

# Owner, type, class, TTL, length of the data; the owner is the question's name.
_RECORD: Final = struct.Struct("!HHHIH")
_OWNER: Final = 0xC000 | HEADER_BYTES
_TEXT_HEAD: Final = struct.Struct("!HB")
_STRING_BYTES: Final = 255
# Eleven years of days.
_MAX_DAYS: Final = 4096

# The records of the name of lower-case labels below the origin.
Find = Callable[[Sequence[bytes], Shape, DictTable], bytes | None]

_ALWAYS: Final = frozenset(address.packed for address in ALWAYS_LISTED)
_NEVER: Final = frozenset(address.packed for address in NEVER_LISTED)


def _record(type_: Type, ttl: int, data: bytes) -> bytes:
    return _RECORD.pack(_OWNER, type_, CLASS_IN, ttl, len(data)) + data


# What stands before the address in the records of a dashed name.
IPV4_RECORD: Final = _record(Type.A, NAME_TTL, bytes(IPV4_BYTES))[:-IPV4_BYTES]
_IPV6_RECORD: Final = _record(Type.AAAA, NAME_TTL, bytes(IPV6_BYTES))[:-IPV6_BYTES]
# What stands before the length of the data.
_TEXT_RECORD: Final = _record(Type.TXT, NAME_TTL, b"")[:-2]


def registered(shape: Shape, facts: bytes, *, is_ipv6: bool) -> bytes:
    """The records of a registered dashed name."""
    if shape.wants_text:
        return _told(facts, IPV6_BYTES if is_ipv6 else IPV4_BYTES)
    if is_ipv6:
        return _IPV6_RECORD + facts[:IPV6_BYTES] if shape.wants_ipv6 else b""
    return IPV4_RECORD + facts[:IPV4_BYTES] if shape.wants_ipv4 else b""


def _told(facts: bytes, width: int) -> bytes:
    """The TXT record of a registration."""
    status, since_day, host = outline_facts(facts, width)
    said = _said_before_host(status, since_day) + host
    if len(said) > _STRING_BYTES:
        return _record(Type.TXT, NAME_TTL, text_data(said.decode("ascii")))
    return _TEXT_RECORD + _TEXT_HEAD.pack(len(said) + 1, len(said)) + said


@lru_cache(_MAX_DAYS)
def _said_before_host(status: int, day: int) -> bytes:
    return describe(Listing(Status(status), day * DAY_SECONDS, "")).encode("ascii")


class Names:
    """The names below the origin of a zone."""

    def __init__(self, zone: FastZone) -> None:
        ttl = UNLISTED_TTL if zone.kind is ZoneKind.UNLISTED else NAME_TTL
        self._address = _record(Type.A, ttl, bytes(LISTED_ADDRESS))
        self._text = _record(Type.TXT, ttl, zone.text)
        self.find: Find = {
            ZoneKind.DASHED: self._find_dashed,
            ZoneKind.LISTED: self._find_listed,
            ZoneKind.UNLISTED: self._find_unlisted,
        }[zone.kind]

    def _find_dashed(self, below: Sequence[bytes], shape: Shape, table: DictTable) -> bytes | None:
        facts = table.facts.get(below[0]) if len(below) == 1 else None
        if facts is None:
            return None
        return registered(shape, facts, is_ipv6=len(below[0]) == IPV6_LABEL_BYTES)

    def _find_listed(self, below: Sequence[bytes], shape: Shape, table: DictTable) -> bytes | None:
        address, ranges = parse_name(below)
        if address is not None and address.packed not in _NEVER:
            if address.packed in _ALWAYS:
                return self._listed(shape)
            facts = table.facts.get(label_of(address))
            if facts is not None:
                is_told = shape.wants_text
                return _told(facts, len(address.packed)) if is_told else self._listed(shape)
        return b"" if any(is_inhabited(addresses, table) for addresses in ranges) else None

    def _find_unlisted(
        self, below: Sequence[bytes], shape: Shape, table: DictTable
    ) -> bytes | None:
        address, ranges = parse_name(below)
        if address is not None and is_unlisted(address, table):
            return self._listed(shape)
        return b"" if ranges else None

    def _listed(self, shape: Shape) -> bytes:
        """What any listed name has."""
        if shape.wants_text:
            return self._text
        return self._address if shape.wants_ipv4 else b""
