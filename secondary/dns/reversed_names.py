"""What lists of reversed addresses share (RFC 5782): names, the one answer, test entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dnslib import RR, A, DNSLabel

from registry.address import Address
from registry.label import parse_reversed, reversed_ranges
from secondary.dns.codes import Type
from secondary.dns.records import record, text

# RFC 5782, 2.1: what an A record of a list says, when it says nothing but "listed".
LISTED_ADDRESS: Final = (127, 0, 0, 2)
# RFC 5782, 5: whoever runs a mail server can see that a list is alive, and does not list all.
ALWAYS_LISTED: Final = (Address.parse("127.0.0.2"), Address.parse("::ffff:127.0.0.2"))
NEVER_LISTED: Final = (Address.parse("127.0.0.1"), Address.parse("::ffff:127.0.0.1"))

Range = tuple[Address, Address]


def records_of(owner: DNSLabel, type_: int, ttl: int, said: Callable[[], str]) -> tuple[RR, ...]:
    """A listed name's records of a type; `said` makes its text, if that is asked for."""
    # One record set is answer enough to ANY (RFC 8482, 4.1).
    if type_ in (Type.A, Type.ANY):
        return (record(owner, Type.A, ttl, A(LISTED_ADDRESS)),)
    return (text(owner, ttl, said()),) if type_ == Type.TXT else ()


def parse_name(below: Sequence[bytes]) -> tuple[Address | None, list[Range]]:
    """The address that has this name, and the ranges of those whose names stand below it."""
    # No byte is lost, and what is not ASCII is no digit.
    labels = [label.decode("latin-1") for label in below]
    return parse_reversed(labels), reversed_ranges(labels)
