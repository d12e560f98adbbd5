"""What a parent zone says of a zone, beside what the zone says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.resolver
import dns.rrset

from node.endpoint import Endpoint
from registry.errors import MalformedError
from smtpnic.errors import UnreachableError

DNS_PORT = 53
_GLUE_TYPES = (dns.rdatatype.A, dns.rdatatype.AAAA)


@dataclass(frozen=True, slots=True)
class Delegation:
    """The name servers of a zone, and the addresses of those within it, each as (owner, text)."""

    servers: frozenset[str] = frozenset()
    glue: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One record that the registrar has to add or to remove."""

    act: str
    record: str = field(compare=True)


def changes(zone: str, wanted: Delegation, found: Delegation) -> list[Change]:
    """What makes the parent's delegation the one that is wanted."""
    made = []
    for act, one, other in (("add", wanted, found), ("remove", found, wanted)):
        made += [Change(act, f"{zone} NS {host}") for host in one.servers - other.servers]
        made += [
            Change(act, f"{host} {'AAAA' if ':' in address else 'A'} {address}")
            for host, address in one.glue - other.glue
        ]
    return sorted(made)


def of_zone(zone: dns.name.Name, server: Endpoint, timeout: float) -> Delegation:
    """What a zone says of itself, at a server of its own.

    MalformedError: it is no zone of that server. UnreachableError.
    """
    answer = _ask(zone, dns.rdatatype.NS, server, timeout)
    servers = _hosts(answer.answer, zone)
    if not answer.flags & dns.flags.AA or not servers:
        raise MalformedError(f"{server} does not answer for {zone}")
    glue = set()
    for host in servers:
        if dns.name.from_text(host).is_subdomain(zone):
            for type_ in _GLUE_TYPES:
                found = _ask(dns.name.from_text(host), type_, server, timeout)
                glue |= {(host, data.to_text()) for each in found.answer for data in each}
    return Delegation(servers, frozenset(glue))


def of_parent(zone: dns.name.Name, server: Endpoint, timeout: float) -> Delegation:
    """What a server of the parent zone says. UnreachableError."""
    answer = _ask(zone, dns.rdatatype.NS, server, timeout)
    servers = _hosts([*answer.authority, *answer.answer], zone)
    glue = {
        (each.name.to_text().lower(), data.to_text())
        for each in answer.additional
        if each.rdtype in _GLUE_TYPES and each.name.to_text().lower() in servers
        for data in each
    }
    return Delegation(servers, frozenset(glue))


def zone_of(host: str, server: Endpoint, timeout: float) -> dns.name.Name | None:
    """The zone that a name stands in, as a server of it says; None if it is not the server's."""
    name = dns.name.from_text(host)
    answer = _ask(name, dns.rdatatype.SOA, server, timeout)
    for each in [*answer.answer, *answer.authority]:
        if each.rdtype == dns.rdatatype.SOA and answer.flags & dns.flags.AA:
            return each.name
    return None


def parent_server(zone: dns.name.Name) -> Endpoint:
    """A server of the zone above, found through the system's resolver. UnreachableError."""
    try:
        above = dns.resolver.zone_for_name(zone.parent())
        host = min(str(data.target) for data in dns.resolver.resolve(above, "NS"))
        address = min(data.to_text() for data in dns.resolver.resolve(host, "A"))
    except dns.exception.DNSException as error:
        raise UnreachableError(f"no server of the zone above {zone} is found: {error}") from error
    return Endpoint(address, DNS_PORT)


def _hosts(sets: list[dns.rrset.RRset], zone: dns.name.Name) -> frozenset[str]:
    return frozenset(
        data.target.to_text().lower()
        for each in sets
        if each.rdtype == dns.rdatatype.NS and each.name == zone
        for data in each
    )


def _ask(
    name: dns.name.Name, type_: dns.rdatatype.RdataType, server: Endpoint, timeout: float
) -> dns.message.Message:
    query = dns.message.make_query(name, type_, use_edns=0, flags=0)
    try:
        answer, _ = dns.query.udp_with_fallback(
            query, server.host, timeout=timeout, port=server.port
        )
    except (dns.exception.DNSException, OSError) as error:
        reason = str(error) or type(error).__name__
        raise UnreachableError(f"{server} does not answer for {name}: {reason}") from error
    return answer
