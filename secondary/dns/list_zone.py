"""The list of registered addresses, reversed (RFC 5782)."""

from __future__ import annotations

from typing import Final

from dnslib import RR, DNSLabel

from registry.address import Address
from secondary.dns.dashed_zone import NAME_TTL, describe
from secondary.dns.fast_path import ZoneKind
from secondary.dns.records import TEXT_VERSION
from secondary.dns.reversed_names import (
    ALWAYS_LISTED,
    NEVER_LISTED,
    Range,
    parse_name,
    records_of,
)
from secondary.dns.table import NameTable

_TEST_TEXT: Final = f"{TEXT_VERSION}; test entry"


class ListedNames:
    """127.0.0.2 for each registered address; the names above it exist, and are empty."""

    purpose: Final = "list of registered mail servers"
    kind: Final = ZoneKind.LISTED
    fixed_text: Final = _TEST_TEXT

    def find(
        self, below: tuple[bytes, ...], owner: DNSLabel, type_: int, table: NameTable
    ) -> tuple[RR, ...] | None:
        """See `Contents`."""
        address, ranges = parse_name(below)
        if address is not None and address not in NEVER_LISTED:
            if address in ALWAYS_LISTED:
                return records_of(owner, type_, NAME_TTL, lambda: _TEST_TEXT)
            listing = table.find(address)
            if listing is not None:
                return records_of(owner, type_, NAME_TTL, lambda: describe(listing))
        return () if any(is_inhabited(addresses, table) for addresses in ranges) else None


def is_inhabited(addresses: Range, table: NameTable) -> bool:
    """Whether a listed address stands there: then the names above it exist too (RFC 8020)."""
    first, last = addresses
    return table.any_listed(first, last) or any(
        _is_between(test, first, last) for test in ALWAYS_LISTED
    )


def _is_between(address: Address, first: Address, last: Address) -> bool:
    return address.family == first.family and first <= address <= last
