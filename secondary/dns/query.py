"""Reads a query from its bytes, in one bounded pass (RFC 1035, 4.1; RFC 6891, 6.1).

dnslib's parser is not used for what strangers send: it refuses labels that are not UTF-8, takes
labels of more than 63 bytes, and follows compression pointers by recursion.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from secondary.dns.codes import OPCODE_QUERY, Option, Type

_HEADER: Final = struct.Struct("!HHHHHH")
_QUESTION_TAIL: Final = struct.Struct("!HH")
_RECORD_TAIL: Final = struct.Struct("!HHIH")
_OPTION: Final = struct.Struct("!HH")

HEADER_BYTES: Final = _HEADER.size
# RFC 1035, 2.3.4: 255 bytes with the length bytes and the root's zero.
MAX_NAME_BYTES: Final = 255
MAX_LABEL_BYTES: Final = 63
# An OPT, a TSIG or SIG(0), an IXFR's SOA: no query has a use for more.
MAX_RECORDS: Final = 8
# RFC 7873, 4: eight bytes of the client's, alone or with 8 to 32 of the server's.
CLIENT_COOKIE_BYTES: Final = 8
_MIN_COOKIE_BYTES: Final = 16
_MAX_COOKIE_BYTES: Final = 40

RESPONSE_FLAG: Final = 0x8000
DNSSEC_OK_FLAG: Final = 0x8000


class QueryFormatError(Exception):
    """The bytes are not a query; the sender is at fault and is told FORMERR."""


@dataclass(frozen=True, slots=True)
class Header:
    """The fixed first 12 bytes (RFC 1035, 4.1.1)."""

    id: int
    flags: int
    questions: int
    answers: int
    authorities: int
    additionals: int

    @property
    def is_response(self) -> bool:
        """Whether QR is set."""
        return bool(self.flags & RESPONSE_FLAG)

    @property
    def opcode(self) -> int:
        """What kind of query it is; 0 for the usual."""
        return self.flags >> 11 & 0xF


@dataclass(frozen=True, slots=True)
class Edns:
    """What the query's OPT record says (RFC 6891, 6.1.2 and 6.1.3)."""

    payload_bytes: int
    version: int
    dnssec_ok: bool
    # RFC 7873, 4: of a length that a cookie can have.
    cookie: bytes | None = None
    # RFC 5001, 2.1.
    wants_nsid: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One question; `labels` as sent, letter case included, the root's empty label left out.

    Without any question, `question_bytes` is 0, and the query is for a cookie (RFC 7873, 5.4).
    """

    labels: tuple[bytes, ...]
    type: int
    class_: int
    edns: Edns | None
    question_bytes: int


def parse_header(wire: bytes) -> Header | None:
    """The header; None when the bytes are too few to hold one."""
    if len(wire) < HEADER_BYTES:
        return None
    return Header(*_HEADER.unpack_from(wire))


def parse_query(wire: bytes, header: Header) -> Query:
    """The question and the EDNS part; QueryFormatError if there is not exactly one question."""
    try:
        if header.questions == 0:
            return _parse_cookie_query(wire, header)
        # RFC 9619: a QUERY with more than one question is a format error.
        if header.questions != 1:
            raise QueryFormatError(f"{header.questions} questions")
        labels, offset = read_name(wire, HEADER_BYTES)
        type_, class_ = _QUESTION_TAIL.unpack_from(wire, offset)
        # A meta-type that stands only in the additional section (RFC 6891, 6.1.1).
        if type_ == Type.OPT:
            raise QueryFormatError("a question for OPT")
        offset += _QUESTION_TAIL.size
        edns = None
        if header.opcode == OPCODE_QUERY:
            edns = _read_edns(wire, offset, header)
    except (struct.error, IndexError):
        raise QueryFormatError("the message ends too early") from None
    return Query(labels, type_, class_, edns, offset - HEADER_BYTES)


def _parse_cookie_query(wire: bytes, header: Header) -> Query:
    """RFC 7873, 5.4: with a cookie, and only with one, the question may be missing."""
    edns = _read_edns(wire, HEADER_BYTES, header)
    if edns is None or edns.cookie is None:
        raise QueryFormatError("no question")
    return Query((), 0, 0, edns, 0)


def read_name(wire: bytes, offset: int) -> tuple[tuple[bytes, ...], int]:
    """The labels of an uncompressed name, and the offset after it.

    QueryFormatError says what is wrong; IndexError: the name does not end.
    """
    start = offset
    labels = []
    while length := wire[offset]:
        if length > MAX_LABEL_BYTES:
            raise QueryFormatError("a compressed or reserved label in the question")
        end = offset + 1 + length
        # The closing zero has to fit too.
        if end - start >= MAX_NAME_BYTES:
            raise QueryFormatError("the name is longer than 255 bytes")
        labels.append(wire[offset + 1 : end])
        offset = end
    return tuple(labels), offset + 1


def _skip_name(wire: bytes, offset: int) -> int:
    """The offset after a name that may end in a compression pointer; nothing is followed."""
    while length := wire[offset]:
        if length >= 0xC0:
            return offset + 2
        if length > MAX_LABEL_BYTES:
            raise QueryFormatError("a reserved label type")
        offset += 1 + length
    return offset + 1


def _read_edns(wire: bytes, offset: int, header: Header) -> Edns | None:
    before = header.answers + header.authorities
    count = before + header.additionals
    if count > MAX_RECORDS:
        raise QueryFormatError(f"{count} records in a query")
    edns = None
    for number in range(count):
        owner = offset
        offset = _skip_name(wire, offset)
        type_, class_, ttl, length = _RECORD_TAIL.unpack_from(wire, offset)
        offset += _RECORD_TAIL.size
        end = offset + length
        if end > len(wire):
            raise QueryFormatError("a record reaches past the message's end")
        if type_ == Type.OPT and number >= before:
            if edns is not None or wire[owner] != 0:
                raise QueryFormatError("a second OPT, or one that is not at the root")
            cookie, wants_nsid = _read_options(wire, offset, end)
            version = ttl >> 16 & 0xFF
            edns = Edns(class_, version, bool(ttl & DNSSEC_OK_FLAG), cookie, wants_nsid)
        offset = end
    return edns


def _read_options(wire: bytes, offset: int, end: int) -> tuple[bytes | None, bool]:
    """The first cookie (RFC 7873, 5.3), and whether NSID is there; others mean nothing here.

    They have to fill the OPT record exactly.
    """
    cookie, wants_nsid = None, False
    while offset < end:
        code, length = _OPTION.unpack_from(wire, offset)
        offset += _OPTION.size
        if code == Option.COOKIE and cookie is None:
            cookie = wire[offset : offset + length]
        elif code == Option.NSID:
            wants_nsid = True
        offset += length
    if offset != end:
        raise QueryFormatError("an EDNS option reaches past its record's end")
    if cookie is not None and not _is_cookie_length(len(cookie)):
        raise QueryFormatError(f"a cookie of {len(cookie)} bytes")
    return cookie, wants_nsid


def _is_cookie_length(length: int) -> bool:
    return length == CLIENT_COOKIE_BYTES or _MIN_COOKIE_BYTES <= length <= _MAX_COOKIE_BYTES
