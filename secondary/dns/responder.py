"""From a query's bytes to the answer's bytes: no sockets, no clock, nothing kept between queries.

A datagram comes here as it arrived; whatever answers the common query faster stands before this
and hands on the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dnslib import DNSLabel

from secondary.dns.codes import CLASS_IN, EDNS_VERSION, OPCODE_QUERY, ExtendedError, Rcode, Type
from secondary.dns.query import Query, QueryFormatError, parse_header, parse_query
from secondary.dns.reply import Reply, Transport, bare, encode
from secondary.dns.table import NameTable
from secondary.dns.zone import Zone

_NEVER_LOADED: Final = Reply(
    Rcode.SERVFAIL,
    extended_error=(ExtendedError.NOT_READY, "the register is not loaded here yet"),
)
_TOO_OLD: Final = Reply(
    Rcode.SERVFAIL,
    extended_error=(ExtendedError.INVALID_DATA, "the register here is too old to answer from"),
)
_OUTSIDE: Final = Reply(
    Rcode.REFUSED,
    extended_error=(ExtendedError.NOT_AUTHORITATIVE, "not a name of this server's zones"),
)
_NO_TRANSFER: Final = Reply(
    Rcode.REFUSED,
    extended_error=(ExtendedError.PROHIBITED, "the register is not given out by zone transfer"),
)
_BAD_VERSION: Final = Reply(Rcode.BADVERS)


class Responder:
    """Answers from a table that may not be loaded yet; any number of threads may call it."""

    def __init__(
        self, zone: Zone, table: Callable[[], NameTable | None], *, max_silence_seconds: float
    ) -> None:
        """`table` gives the table to answer from, None while there is none.

        A table that the registry vouched for longer than `max_silence_seconds` ago answers nothing.
        """
        self._zone = zone
        self._table = table
        self._max_silence_seconds = max_silence_seconds

    def answer(self, wire: bytes, transport: Transport, now: float) -> bytes | None:
        """The answer to send, None to stay silent; `now` in seconds since 1970."""
        header = parse_header(wire)
        # To answer a response is to start a loop of two servers.
        if header is None or header.is_response:
            return None
        if header.opcode != OPCODE_QUERY:
            return bare(header, Rcode.NOTIMP)
        try:
            query = parse_query(wire, header)
        except QueryFormatError:
            return bare(header, Rcode.FORMERR)
        owner = DNSLabel(query.labels)
        return encode(header, query, owner, self._decide(query, owner, now), transport)

    def _decide(self, query: Query, owner: DNSLabel, now: float) -> Reply:
        if query.edns is not None and query.edns.version != EDNS_VERSION:
            return _BAD_VERSION
        labels = tuple([label.lower() for label in query.labels])
        if query.class_ != CLASS_IN or not self._zone.holds(labels):
            return _OUTSIDE
        if query.type in (Type.AXFR, Type.IXFR):
            return _NO_TRANSFER
        table = self._table()
        if table is None:
            return _NEVER_LOADED
        if now - table.standing.vouched_s > self._max_silence_seconds:
            return _TOO_OLD
        return self._zone.find(labels, owner, query.type, table)
