"""From a query's bytes to the answer's bytes: no sockets, no clock, nothing kept between queries.

A datagram comes here as it arrived; whatever answers the common query faster stands before this
and hands on the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from dnslib import DNSLabel

from secondary.dns.codes import (
    CLASS_CHAOS,
    CLASS_IN,
    EDNS_VERSION,
    OPCODE_QUERY,
    ExtendedError,
    Option,
    Rcode,
    Type,
)
from secondary.dns.cookies import ServerCookies
from secondary.dns.edns import extended_error_option, opt_record, option
from secondary.dns.identity import Identity
from secondary.dns.query import (
    CLIENT_COOKIE_BYTES,
    Edns,
    Query,
    QueryFormatError,
    parse_header,
    parse_query,
)
from secondary.dns.reply import Reply, Response, Transport, bare, encode, size_limit
from secondary.dns.table import NameTable
from secondary.dns.zones import Zones
from secondary.notice import Condition

_NEVER_LOADED: Final = Reply(
    Rcode.SERVFAIL,
    extended_error=(ExtendedError.NOT_READY, "the register is not loaded here yet"),
)
_UNFIT: Final = {
    condition: Reply(Rcode.SERVFAIL, extended_error=(ExtendedError.INVALID_DATA, text))
    for condition, text in (
        (Condition.STALE, "the register here is too old to answer from"),
        (Condition.BEHIND, "the register here is behind other mirrors"),
    )
}
_FORKED: Final = "the registry signed two registers: this is the last one that both agree on"
OUTSIDE: Final = Reply(
    Rcode.REFUSED,
    extended_error=(ExtendedError.NOT_AUTHORITATIVE, "not a name of this server's zones"),
)
NO_TRANSFER: Final = Reply(
    Rcode.REFUSED,
    extended_error=(ExtendedError.PROHIBITED, "the register is not given out by zone transfer"),
)
BAD_VERSION: Final = Reply(Rcode.BADVERS)
_COOKIE_GIVEN: Final = Reply(Rcode.NOERROR)
_BAD_COOKIE: Final = Reply(Rcode.BADCOOKIE)


class Responder:
    """Answers from a table that may not be loaded yet; any number of threads may call it."""

    def __init__(
        self,
        zones: Zones,
        table: Callable[[], NameTable | None],
        *,
        cookies: ServerCookies,
        identity: Identity,
        condition: Callable[[float], Condition] = lambda _: Condition.GOOD,
    ) -> None:
        """`table` gives the table to answer from, None while there is none.

        `condition` says what it is worth at a time, in seconds since 1970.
        """
        self.zones = zones
        self._table = table
        self.cookies = cookies
        self.identity = identity
        self._condition = condition
        self._nsid = option(Option.NSID, identity.nsid.encode("ascii"))

    def answer(self, wire: bytes, transport: Transport, now: float, client: bytes) -> bytes | None:
        """The answer to send, None to stay silent; see `respond`."""
        response = self.respond(wire, transport, now, client)
        return None if response is None else response.wire

    def respond(
        self, wire: bytes, transport: Transport, now: float, client: bytes
    ) -> Response | None:
        """The answer, and what is known of who asked; None to stay silent.

        `now` in seconds since 1970; `client` is the packed address that the query came from.
        """
        header = parse_header(wire)
        # To answer a response is to start a loop of two servers.
        if header is None or header.is_response:
            return None
        if header.opcode != OPCODE_QUERY:
            return bare(wire, Rcode.NOTIMP)
        try:
            query = parse_query(wire, header)
        except QueryFormatError:
            return bare(wire, Rcode.FORMERR)
        cookie, is_known = self._check_cookie(query, now, client)
        owner = DNSLabel(query.labels)
        reply = self._decide(query, owner, now, is_known=is_known)
        opt = b""
        if query.edns is not None:
            opt = opt_record(query.edns, reply.rcode, self._options(query.edns, reply, cookie))
        response = encode(header, query, owner, reply, opt, is_client_known=is_known)
        if len(response.wire) > size_limit(query.edns, transport):
            return replace(response, wire=response.truncated())
        return response

    def _check_cookie(self, query: Query, now: float, client: bytes) -> tuple[bytes | None, bool]:
        """The cookie to send if one came, and whether what came was made here for the client."""
        if query.edns is None or query.edns.cookie is None:
            return None, False
        return self.cookies.answer(query.edns.cookie, client, now)

    def _options(self, edns: Edns, reply: Reply, cookie: bytes | None) -> Iterator[bytes]:
        """In the order of their numbers; only what was asked for, and what went wrong."""
        if edns.wants_nsid and self.identity.nsid:
            yield self._nsid
        if cookie is not None:
            yield option(Option.COOKIE, cookie)
        if reply.extended_error is not None:
            yield extended_error_option(*reply.extended_error)

    def _decide(self, query: Query, owner: DNSLabel, now: float, *, is_known: bool) -> Reply:
        if query.edns is not None and query.edns.version != EDNS_VERSION:
            return BAD_VERSION
        if not query.question_bytes:
            return _cookie_only(query, is_known=is_known)
        labels = tuple([label.lower() for label in query.labels])
        if query.class_ == CLASS_CHAOS:
            return self.identity.find(labels, owner, query.type)
        return self._look_up(query, labels, owner, now)

    def _look_up(
        self, query: Query, labels: tuple[bytes, ...], owner: DNSLabel, now: float
    ) -> Reply:
        zone = self.zones.holding(labels)
        if query.class_ != CLASS_IN or zone is None:
            return OUTSIDE
        if query.type in (Type.AXFR, Type.IXFR):
            return NO_TRANSFER
        table = self._table()
        if table is None:
            return _NEVER_LOADED
        condition = self._condition(now)
        if condition in _UNFIT:
            return _UNFIT[condition]
        reply = self.zones.find(zone, labels, owner, query.type, table)
        return _marked(reply) if condition is Condition.FORKED else reply


def _marked(reply: Reply) -> Reply:
    """The reply, with the remark that it is not of the newest register (RFC 8914, 4.4 and 4.20)."""
    is_absence = reply.rcode is Rcode.NXDOMAIN
    code = ExtendedError.STALE_NXDOMAIN_ANSWER if is_absence else ExtendedError.STALE_ANSWER
    return replace(reply, extended_error=reply.extended_error or (code, _FORKED))


def _cookie_only(query: Query, *, is_known: bool) -> Reply:
    """RFC 7873, 5.4: a server cookie is given, or one that was sent is confirmed."""
    assert query.edns is not None
    assert query.edns.cookie is not None
    sent_one = len(query.edns.cookie) > CLIENT_COOKIE_BYTES
    return _BAD_COOKIE if sent_one and not is_known else _COOKIE_GIVEN
