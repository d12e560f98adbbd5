"""What is said, and how it is put into bytes (RFC 1035, 4.1; RFC 6891, 6)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

from dnslib import EDNS0, RR, DNSHeader, DNSLabel, DNSQuestion, DNSRecord, EDNSOption

from secondary.dns.codes import EDNS_VERSION, OPTION_EXTENDED_ERROR, ExtendedError, Rcode
from secondary.dns.query import HEADER_BYTES, RESPONSE_FLAG, Edns, Header, Query

# RFC 1035, 4.2.1: without EDNS.
PLAIN_UDP_BYTES: Final = 512
# What passes every path unfragmented (DNS flag day 2020); offered, and never exceeded.
EDNS_UDP_BYTES: Final = 1232
# RFC 1035, 4.2.2: a 16-bit length goes before a message over TCP.
TCP_BYTES: Final = 65535

AUTHORITATIVE_FLAG: Final = 0x0400
TRUNCATED_FLAG: Final = 0x0200
# Opcode and RD go back as they came (RFC 1035, 4.1.1), and CD too (RFC 4035, 3.1.6).
_ECHOED_FLAGS: Final = 0x7910
_EDE_CODE: Final = struct.Struct("!H")


class Transport(Enum):
    """How a query came; it bounds the size of the answer."""

    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Reply:
    """What is to be said, before it is put into bytes."""

    rcode: Rcode
    answers: tuple[RR, ...] = ()
    authority: tuple[RR, ...] = ()
    authoritative: bool = False
    extended_error: tuple[ExtendedError, str] | None = None


def bare(header: Header, rcode: Rcode) -> bytes:
    """A header alone: the question could not be read, or means something else in this opcode."""
    flags = RESPONSE_FLAG | header.flags & _ECHOED_FLAGS | rcode
    packed = header.id.to_bytes(2, "big") + flags.to_bytes(2, "big")
    return packed.ljust(HEADER_BYTES, b"\0")


def encode(
    header: Header, query: Query, owner: DNSLabel, reply: Reply, transport: Transport
) -> bytes:
    """The answer to `query`; `owner` is its name. What does not fit is left out and TC set."""
    flags = RESPONSE_FLAG | header.flags & _ECHOED_FLAGS | reply.rcode & 0xF
    if reply.authoritative:
        flags |= AUTHORITATIVE_FLAG
    message = DNSRecord(
        DNSHeader(header.id, flags),
        questions=[DNSQuestion(owner, query.type, query.class_)],
        rr=list(reply.answers),
        auth=list(reply.authority),
        ar=_additional(query.edns, reply),
    )
    wire = message.pack()
    if len(wire) > _size_limit(query.edns, transport):
        message.header.bitmap |= TRUNCATED_FLAG
        message.rr, message.auth = [], []
        wire = message.pack()
    return bytes(wire)


def _size_limit(edns: Edns | None, transport: Transport) -> int:
    if transport is Transport.TCP:
        return TCP_BYTES
    if edns is None:
        return PLAIN_UDP_BYTES
    # RFC 6891, 6.2.3: a payload size below 512 counts as 512.
    return min(max(edns.payload_bytes, PLAIN_UDP_BYTES), EDNS_UDP_BYTES)


def _additional(edns: Edns | None, reply: Reply) -> list[RR]:
    """No OPT unless the query had one (RFC 6891, 7)."""
    if edns is None:
        return []
    return [_opt(edns.dnssec_ok, reply.rcode >> 4, reply.extended_error)]


@cache
def _opt(dnssec_ok: bool, extended_rcode: int, error: tuple[ExtendedError, str] | None) -> EDNS0:
    """The OPT record; there are only so many, and each costs as much to make as an answer."""
    options = []
    if error is not None:
        code, text = error
        options.append(EDNSOption(OPTION_EXTENDED_ERROR, _EDE_CODE.pack(code) + text.encode()))
    return EDNS0(
        ext_rcode=extended_rcode,
        version=EDNS_VERSION,
        flags="do" if dnssec_ok else "",
        udp_len=EDNS_UDP_BYTES,
        opts=options,
    )
