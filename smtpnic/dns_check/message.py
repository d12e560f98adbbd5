"""Questions as bytes, and answers read without trust.

Questions are put together here where they are to be wrong; else dnspython does it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType

from smtpnic.dns_check.point import Deviation

HEADER_BYTES: Final = 12
# RFC 1035, 4.2.1.
PLAIN_UDP_BYTES: Final = 512
# What passes every path unfragmented (DNS flag day 2020).
EDNS_UDP_BYTES: Final = 1232

QR_FLAG: Final = 0x8000
_SHOWN_RECORDS: Final = 3


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer's bytes; at least a header."""

    wire: bytes

    def __post_init__(self) -> None:
        if len(self.wire) < HEADER_BYTES:
            raise Deviation("an answer", f"{len(self.wire)} bytes, less than a header")

    @property
    def id(self) -> int:
        """The identifier."""
        return struct.unpack_from("!H", self.wire)[0]  # type: ignore[no-any-return]

    @property
    def flags(self) -> int:
        """The 16 bits of flags, opcode and response code."""
        return struct.unpack_from("!H", self.wire, 2)[0]  # type: ignore[no-any-return]

    @property
    def opcode(self) -> int:
        """What kind of query was answered."""
        return self.flags >> 11 & 0xF

    @property
    def is_truncated(self) -> bool:
        """Whether TC is set."""
        return bool(self.flags & dns.flags.TC)

    @property
    def header_rcode(self) -> int:
        """The four bits of the header; the rest of the code is in the OPT record."""
        return self.flags & 0xF

    @property
    def answer_count(self) -> int:
        """How many records it says to have as its answer."""
        return struct.unpack_from("!H", self.wire, 6)[0]  # type: ignore[no-any-return]

    def parse(self) -> dns.message.Message:
        """The whole of it; Deviation if it is not well-formed."""
        try:
            return dns.message.from_wire(self.wire)
        except (dns.exception.DNSException, ValueError) as error:
            raise Deviation("a well-formed answer", f"{type(error).__name__}: {error}") from None


def question(
    name: dns.name.Name,
    type_: RdataType,
    *,
    class_: RdataClass = dns.rdataclass.IN,
    edns: bool = False,
    payload: int = EDNS_UDP_BYTES,
    options: Iterable[dns.edns.Option] = (),
    dnssec_ok: bool = False,
) -> bytes:
    """A query; RD is clear, for no recursion is wanted."""
    query = dns.message.make_query(name, type_, class_, flags=0)
    if edns or dnssec_ok:
        ednsflags = dns.flags.DO if dnssec_ok else 0
        query.use_edns(0, ednsflags, payload, options=list(options))
    return query.to_wire()


def with_flags(wire: bytes, flags: int) -> bytes:
    """The same message with these flags, opcode included, beside its own."""
    (old,) = struct.unpack_from("!H", wire, 2)
    return wire[:2] + struct.pack("!H", old | flags) + wire[4:]


def with_opt(wire: bytes, payload: int, version: int, flags: int, options: bytes = b"") -> bytes:
    """The query with one more OPT record whose fields may be anything (RFC 6891, 6.1.2)."""
    (additionals,) = struct.unpack_from("!H", wire, 10)
    opt = struct.pack("!BHHBBHH", 0, 41, payload, 0, version, flags, len(options)) + options
    return wire[:10] + struct.pack("!H", additionals + 1) + wire[12:] + opt


def question_bytes(wire: bytes) -> bytes:
    """The question section of a query that was made here: all after the header, without EDNS."""
    at = HEADER_BYTES
    while wire[at]:
        at += 1 + wire[at]
    return wire[HEADER_BYTES : at + 5]


def of_type(section: Iterable[dns.rrset.RRset], type_: RdataType) -> Iterator[dns.rdata.Rdata]:
    """The records of one type in a section."""
    return (rdata for rrset in section if rrset.rdtype == type_ for rdata in rrset)


def describe(message: dns.message.Message) -> str:
    """An answer in a few words: its code, and the first records."""
    words = [dns.rcode.to_text(message.rcode())]
    for title, section in (("answer", message.answer), ("authority", message.authority)):
        records = [
            f"{dns.rdatatype.to_text(rrset.rdtype)} {rdata.to_text()}"
            for rrset in section
            for rdata in rrset
        ]
        more = f" and {len(records) - _SHOWN_RECORDS} more" if len(records) > _SHOWN_RECORDS else ""
        if records:
            words.append(f"{title} {', '.join(records[:_SHOWN_RECORDS])}{more}")
    return "; ".join(words)


def expect_rcode(message: dns.message.Message, expected: dns.rcode.Rcode, what: str) -> None:
    """Deviation unless `message` has that code; `what` was asked."""
    if message.rcode() != expected:
        raise Deviation(f"{dns.rcode.to_text(expected)} {what}", describe(message))
