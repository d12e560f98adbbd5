"""What is said, and how it is put into bytes (RFC 1035, 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from dnslib import RR, DNSHeader, DNSLabel, DNSQuestion, DNSRecord

from secondary.dns.codes import ExtendedError, Rcode
from secondary.dns.edns import EDNS_UDP_BYTES
from secondary.dns.query import HEADER_BYTES, RESPONSE_FLAG, Edns, Header, Query

# RFC 1035, 4.2.1: without EDNS.
PLAIN_UDP_BYTES: Final = 512
# RFC 1035, 4.2.2: a 16-bit length goes before a message over TCP.
TCP_BYTES: Final = 65535

AUTHORITATIVE_FLAG: Final = 0x0400
TRUNCATED_FLAG: Final = 0x0200
# Opcode and RD go back as they came (RFC 1035, 4.1.1), and CD too (RFC 4035, 3.1.6).
ECHOED_FLAGS: Final = 0x7910
# Where the header counts: answers and authorities in four bytes, the least of additionals' two.
_COUNTS: Final = slice(6, 10)
_ADDITIONALS: Final = 11


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


@dataclass(frozen=True, slots=True)
class Response:
    """An answer in bytes.

    `question_bytes` of question follow its header, and `opt_bytes` of OPT record end it.
    """

    wire: bytes
    question_bytes: int = 0
    opt_bytes: int = 0
    # The query had a cookie that only somebody at its address can have.
    is_client_known: bool = False

    def truncated(self) -> bytes:
        """The same without its records, TC set: what there is to say is said over TCP."""
        header = bytearray(self.wire[:HEADER_BYTES])
        header[2] |= TRUNCATED_FLAG >> 8
        header[_COUNTS] = bytes(4)
        question = self.wire[HEADER_BYTES : HEADER_BYTES + self.question_bytes]
        return bytes(header) + question + self.wire[len(self.wire) - self.opt_bytes :]


def bare(query: bytes, rcode: Rcode) -> Response:
    """A header alone: the question could not be read, or means something else in this opcode."""
    flags = RESPONSE_FLAG | int.from_bytes(query[2:4]) & ECHOED_FLAGS | rcode
    return Response((query[:2] + flags.to_bytes(2)).ljust(HEADER_BYTES, b"\0"))


def encode(
    header: Header,
    query: Query,
    owner: DNSLabel,
    reply: Reply,
    opt: bytes,
    *,
    is_client_known: bool,
) -> Response:
    """The answer to `query`, however long; `owner` is its name, `opt` the OPT record or nothing."""
    flags = RESPONSE_FLAG | header.flags & ECHOED_FLAGS | reply.rcode & 0xF
    if reply.authoritative:
        flags |= AUTHORITATIVE_FLAG
    questions = [DNSQuestion(owner, query.type, query.class_)] if query.question_bytes else []
    message = DNSRecord(
        DNSHeader(header.id, flags),
        questions=questions,
        rr=list(reply.answers),
        auth=list(reply.authority),
    )
    wire = message.pack()
    if opt:
        wire[_ADDITIONALS] = 1
        wire += opt
    return Response(bytes(wire), query.question_bytes, len(opt), is_client_known)


def size_limit(edns: Edns | None, transport: Transport) -> int:
    """How many bytes an answer may have; what is longer is truncated."""
    if transport is Transport.TCP:
        return TCP_BYTES
    if edns is None:
        return PLAIN_UDP_BYTES
    # RFC 6891, 6.2.3: a payload size below 512 counts as 512.
    return min(max(edns.payload_bytes, PLAIN_UDP_BYTES), EDNS_UDP_BYTES)
