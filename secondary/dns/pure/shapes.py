"""What a query says beside its identifier, its cookie and the labels below a zone.

Millions of queries have some hundreds of shapes: each is parsed once, and what all its answers
have in common is made once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from secondary.dns.codes import CLASS_CHAOS, CLASS_IN, EDNS_VERSION, Option, Rcode, Type
from secondary.dns.counters import column_of
from secondary.dns.edns import extended_error_option, opt_record, option
from secondary.dns.query import RESPONSE_FLAG, Header, Query
from secondary.dns.reply import AUTHORITATIVE_FLAG, ECHOED_FLAGS, Reply, Transport, size_limit
from secondary.dns.responder import BAD_VERSION, NO_TRANSFER, OUTSIDE

# A header after its identifier: flags, and the counts of records.
_HEAD: Final = struct.Struct("!HHHHH")
# With the client's eight bytes; see `secondary.dns.cookies`.
COOKIE_BYTES: Final = 24
_FIXED_OPT_BYTES: Final = 11
_OPTION_HEAD_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of query, and the parts that its answers are put together from."""

    # Its number; None where the answer is the same for any name.
    zone: int | None
    # Where its answers are counted; see `AnswerCounter`.
    column: int
    wants_ipv4: bool
    wants_ipv6: bool
    wants_text: bool
    # Headers after the identifier.
    found: bytes
    empty: bytes
    absent: bytes
    # The OPT record, in two parts where a cookie goes between.
    opt: bytes
    opt_end: bytes
    max_bytes: int


def make_shape(header: Header, query: Query, zone: int | None) -> Shape | None:
    """The shape of a query for a name in a zone, by its number; None: the responder is asked."""
    if query.edns is not None and query.edns.version != EDNS_VERSION:
        return _fixed(header, query, BAD_VERSION)
    if query.class_ == CLASS_CHAOS:
        return None
    if zone is None or query.class_ != CLASS_IN:
        return _fixed(header, query, OUTSIDE)
    if query.type in (Type.AXFR, Type.IXFR):
        return _fixed(header, query, NO_TRANSFER)
    opt, opt_end = _opt(query, Reply(Rcode.NOERROR))
    return Shape(
        zone,
        column_of(query.type),
        wants_ipv4=query.type in (Type.A, Type.ANY),
        wants_ipv6=query.type in (Type.AAAA, Type.ANY),
        wants_text=query.type == Type.TXT,
        found=_head(header, query, Rcode.NOERROR, AUTHORITATIVE_FLAG, (1, 0)),
        empty=_head(header, query, Rcode.NOERROR, AUTHORITATIVE_FLAG, (0, 1)),
        absent=_head(header, query, Rcode.NXDOMAIN, AUTHORITATIVE_FLAG, (0, 1)),
        opt=opt,
        opt_end=opt_end,
        max_bytes=size_limit(query.edns, Transport.UDP),
    )


def _fixed(header: Header, query: Query, reply: Reply) -> Shape:
    """Of queries that get one reply without records."""
    head = _head(header, query, reply.rcode, 0, (0, 0))
    opt, opt_end = _opt(query, reply)
    max_bytes = size_limit(query.edns, Transport.UDP)
    column = column_of(query.type)
    return Shape(None, column, False, False, False, head, head, head, opt, opt_end, max_bytes)


def _head(header: Header, query: Query, rcode: Rcode, flags: int, counts: tuple[int, int]) -> bytes:
    flags |= RESPONSE_FLAG | header.flags & ECHOED_FLAGS | rcode & 0xF
    return _HEAD.pack(flags, 1, *counts, query.edns is not None)


def _opt(query: Query, reply: Reply) -> tuple[bytes, bytes]:
    error = b"" if reply.extended_error is None else extended_error_option(*reply.extended_error)
    if query.edns is None or query.edns.cookie is None:
        return opt_record(query.edns, reply.rcode, [error]), b""
    room = option(Option.COOKIE, bytes(COOKIE_BYTES))
    opt = opt_record(query.edns, reply.rcode, [room, error])
    before = _FIXED_OPT_BYTES + _OPTION_HEAD_BYTES
    return opt[:before], opt[before + COOKIE_BYTES :]
