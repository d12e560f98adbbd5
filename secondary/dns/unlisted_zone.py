"""The list of addresses that are not registered, reversed (RFC 5782); made up as it is asked.

It is the opposite of `list_zone`: 127.0.0.2 is a reason to refuse, and a name that is absent, or
a failure, is none. So it never lists what cannot be registered: an address within a network.
"""

from __future__ import annotations

from typing import Final

from dnslib import RR, DNSLabel

from registry.address import Address
from secondary.dns.fast_path import ZoneKind
from secondary.dns.reversed_names import ALWAYS_LISTED, parse_name, records_of
from secondary.dns.table import NameTable
from secondary.dns.zone import NEGATIVE_TTL

# Here it is a record, not its absence, that a registration ends.
UNLISTED_TTL: Final = NEGATIVE_TTL


class UnlistedNames:
    """127.0.0.2 for each address that could be registered and is not."""

    purpose: Final = "list of addresses without a registered mail server"
    kind: Final = ZoneKind.UNLISTED

    def __init__(self, register_at: str) -> None:
        """`register_at` tells people where they can register; ValueError if that is not ASCII."""
        if not (register_at.isascii() and register_at.isprintable()):
            raise ValueError(f"{register_at!r}: expected printable ASCII")
        self.fixed_text = f"not a registered mail server; register it at {register_at}"

    def find(
        self, below: tuple[bytes, ...], owner: DNSLabel, type_: int, table: NameTable
    ) -> tuple[RR, ...] | None:
        """See `Contents`."""
        address, ranges = parse_name(below)
        if address is not None and is_unlisted(address, table):
            return records_of(owner, type_, UNLISTED_TTL, lambda: self.fixed_text)
        # Any address may come to stand below: nothing may be concluded for them (RFC 8020).
        return () if ranges else None


def is_unlisted(address: Address, table: NameTable) -> bool:
    """Whether it could be registered and is not, or is the test entry."""
    if address in ALWAYS_LISTED:
        return True
    return address.special_purpose() is None and table.find(address) is None
