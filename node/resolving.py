"""Asks resolvers, all of them, and tells what each one said."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import dns.asyncquery
import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from registry.errors import Problem
from registry.names import parse_host
from registry.observations import Agreed, Answer, Outcome, agree

DNS_PORT: Final = 53
# What resolvers grant a slow name server before they give up (RFC 9520 speaks of such caches).
LOOKUP_SECONDS: Final = 5.0
# Each query has a socket of its own, so that its port cannot be guessed (RFC 5452, 9.2).
MAX_SOCKETS: Final = 512


class Resolvers:
    """The resolvers that the registry believes where most of them agree."""

    def __init__(self, servers: Sequence[Endpoint], seconds: float = LOOKUP_SECONDS) -> None:
        self._servers = servers
        self._seconds = seconds
        self._sockets = asyncio.Semaphore(MAX_SOCKETS)

    @property
    def count(self) -> int:
        """From how many places is looked."""
        return len({server.host for server in self._servers})

    async def ask(self, name: str, type_: str) -> Agreed:
        """What the resolvers agree on about the records of this type at the name.

        Host names come canonical, addresses in their usual form, TXT as one text.
        """
        try:
            query = dns.message.make_query(name, type_, use_edns=0)
        except dns.exception.DNSException as error:
            return Agreed(Outcome.ABSENT, detail=f"no such name can be: {error}")
        # Asks whether the resolver validated, without the signatures (RFC 6840, 5.7).
        query.flags |= dns.flags.AD
        answers = await asyncio.gather(*(self._ask(server, query) for server in self._servers))
        return agree(answers)

    async def server_of(self, name: str) -> str:
        """The name server that the SOA record of the name's zone gives; empty if none tells.

        One answer will do: it only says whose turn it is to be asked.
        """
        query = dns.message.make_query(name, "SOA", use_edns=0)
        for server in self._servers:
            reply = await self._exchange(server, query)
            if isinstance(reply, dns.message.Message):
                found = _soa_server(reply)
                if found:
                    return found
        return ""

    async def _ask(self, server: Endpoint, query: dns.message.Message) -> Answer:
        reply = await self._exchange(server, query)
        if isinstance(reply, str):
            return Answer(str(server), Outcome.FAILED, detail=reply)
        return _read(str(server), reply)

    async def _exchange(
        self, server: Endpoint, query: dns.message.Message
    ) -> dns.message.Message | str:
        """What a resolver answers, or why it does not."""
        try:
            async with self._sockets, asyncio.timeout(self._seconds):
                reply, _ = await dns.asyncquery.udp_with_fallback(
                    query, server.host, timeout=self._seconds, port=server.port
                )
        except (TimeoutError, dns.exception.Timeout):
            return "no answer in time"
        except (dns.exception.DNSException, OSError) as error:
            return str(error) or type(error).__name__
        return reply


def _soa_server(reply: dns.message.Message) -> str:
    """In the answer at a zone's top, and below it beside the answer that there is none."""
    for rrset in (*reply.answer, *reply.authority):
        if rrset.rdtype == dns.rdatatype.SOA:
            return str(rrset[0].mname).lower()
    return ""


def _read(server: str, reply: dns.message.Message) -> Answer:
    if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return Answer(server, Outcome.FAILED, detail=_reason(reply))
    authenticated = bool(reply.flags & dns.flags.AD)
    try:
        # Through CNAMEs, which delegate the PTR records of small networks (RFC 2317).
        found = dns.message.QueryMessage.resolve_chaining(reply)  # type: ignore[arg-type]
    except dns.exception.DNSException as error:
        return Answer(server, Outcome.FAILED, detail=str(error))
    values = frozenset(filter(None, map(_value, found.answer or ())))
    if not values:
        return Answer(
            server, Outcome.ABSENT, frozenset(), authenticated, dns.rcode.to_text(reply.rcode())
        )
    return Answer(server, Outcome.FOUND, values, authenticated)


def _value(data: dns.rdata.Rdata) -> str:
    if data.rdtype == dns.rdatatype.PTR:
        try:
            return parse_host(data.target.to_text(), "ptr")  # type: ignore[attr-defined]
        except Problem:
            # No host name: nobody can register it.
            return ""
    if data.rdtype == dns.rdatatype.TXT:
        joined = b"".join(data.strings)  # type: ignore[attr-defined]
        return str(joined.decode("utf-8", "replace"))
    return data.to_text()


def _reason(reply: dns.message.Message) -> str:
    """The code, and what an Extended DNS Error (RFC 8914) adds."""
    words = [dns.rcode.to_text(reply.rcode())]
    words += [
        option.to_text() for option in reply.options if isinstance(option, dns.edns.EDEOption)
    ]
    return ", ".join(words)


def system_resolvers() -> tuple[Endpoint, ...]:
    """Those of /etc/resolv.conf; ConfigurationError if there are none."""
    try:
        found = dns.resolver.Resolver()
    except dns.exception.DNSException as error:
        raise ConfigurationError(
            f"no resolvers in /etc/resolv.conf ({error}): name some in the settings"
        ) from error
    return tuple(Endpoint(str(server), found.port) for server in found.nameservers)
