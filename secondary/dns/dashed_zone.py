"""The zone of dashed names: `192-0-2-36` has the address itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from dnslib import AAAA, RR, A, DNSLabel

from registry.address import Address
from registry.label import parse_dashed
from secondary.dns.codes import Type
from secondary.dns.fast_path import ZoneKind
from secondary.dns.records import TEXT_VERSION, record, text
from secondary.dns.table import Listing, NameTable

# A registration that changes is seen everywhere within five minutes.
NAME_TTL: Final = 300


class DashedNames:
    """One label for each registered address; A or AAAA with it, and TXT."""

    purpose: Final = "register of mail servers"
    kind: Final = ZoneKind.DASHED
    fixed_text: Final = ""

    def find(
        self, below: tuple[bytes, ...], owner: DNSLabel, type_: int, table: NameTable
    ) -> tuple[RR, ...] | None:
        """See `Contents`."""
        # Nothing exists below a registered name, so one label is all there can be.
        if len(below) != 1 or not below[0].isascii():
            return None
        address = parse_dashed(below[0].decode("ascii"))
        listing = None if address is None else table.find(address)
        if address is None or listing is None:
            return None
        return _records_of(address, listing, owner, type_)


def _records_of(address: Address, listing: Listing, owner: DNSLabel, type_: int) -> tuple[RR, ...]:
    own_type, data = (Type.A, A) if address.family == 4 else (Type.AAAA, AAAA)
    # One record set is answer enough to ANY (RFC 8482, 4.1).
    if type_ in (own_type, Type.ANY):
        return (record(owner, own_type, NAME_TTL, data(tuple(address.packed))),)
    if type_ == Type.TXT:
        return (text(owner, NAME_TTL, describe(listing)),)
    return ()


def describe(listing: Listing) -> str:
    """The machine-readable text of a registered name."""
    since = datetime.fromtimestamp(listing.since_s, UTC).date().isoformat()
    status = listing.status.name.lower()
    return f"{TEXT_VERSION}; since={since}; status={status}; host={listing.host}"
