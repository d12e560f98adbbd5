"""Faults of a name server, one at a time, and which point of the checklist each breaks.

Each is something that a server somewhere has been seen to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdatatype import AAAA, ANY, AXFR, SOA, A

from registry.address import Address
from registry.label import dashed, reversed_name
from tests.support.model_server import (
    LIST_ZONE,
    REGISTERED,
    UNLISTED_ZONE,
    ZONE,
    Model,
    bare,
    below,
    cookie_of,
    rrset_of,
)

OWN = below(dashed(REGISTERED), ZONE)
OPTION = 65001

Message = dns.message.Message


@dataclass(frozen=True, slots=True)
class Fault:
    """How a model is spoiled, the one point that then fails, and words of why it does."""

    spoil: Callable[[Model], None]
    point: str
    words: str


def amending(change: Callable[[Message, Message, str], None]) -> Callable[[Model], None]:
    """Spoils by changing answers: given query, answer and transport."""

    def spoil(model: Model) -> None:
        model.amend = change

    return spoil


def intercepting(
    condition: Callable[[bytes], bool], rcode: dns.rcode.Rcode
) -> Callable[[Model], None]:
    """Spoils by giving some queries a bare answer."""

    def spoil(model: Model) -> None:
        model.intercept = lambda wire, _: bare(wire, rcode) if condition(wire) else None

    return spoil


def put(name: dns.name.Name, ttl: int, type_: str, text: str) -> Callable[[Model], None]:
    """Spoils by other records."""

    def spoil(model: Model) -> None:
        model.records[name, dns.rdatatype.from_text(type_)] = rrset_of(name, ttl, type_, text)

    return spoil


def setting(**attributes: object) -> Callable[[Model], None]:
    """Spoils by how the model is set."""

    def spoil(model: Model) -> None:
        for name, value in attributes.items():
            setattr(model, name, value)

    return spoil


def asked(query: Message) -> tuple[dns.name.Name, dns.rdatatype.RdataType]:
    return query.question[0].name, query.question[0].rdtype


def has_option(wire: bytes, code: int, sizes: tuple[int, ...] = ()) -> bool:
    """Whether a query has that EDNS option, of one of these sizes if any are given."""
    try:
        options = dns.message.from_wire(wire).options
    except (dns.exception.DNSException, ValueError):
        return False
    return any(
        option.otype == code and (not sizes or len(option.to_wire() or b"") in sizes)
        for option in options
    )


def is_malformed(wire: bytes) -> bool:
    return wire[12:14] == b"\xc0\x0c"


def lower_question(query: bytes, answer: bytes, _: str) -> bytes:
    end = query.index(0, 12)
    return answer[:12] + answer[12:end].lower() + answer[end:]


def no_name_error(query: Message, response: Message, _: str) -> None:
    if response.rcode() == dns.rcode.NXDOMAIN and asked(query)[0].parent() == ZONE:
        response.set_rcode(dns.rcode.NOERROR)


def no_name_error_below(query: Message, response: Message, _: str) -> None:
    if asked(query)[0].is_subdomain(OWN) and asked(query)[0] != OWN:
        response.set_rcode(dns.rcode.NOERROR)


def name_error_at_empty(query: Message, response: Message, _: str) -> None:
    name = asked(query)[0]
    if name.is_subdomain(LIST_ZONE) and name != LIST_ZONE and not response.answer:
        response.set_rcode(dns.rcode.NXDOMAIN)


def name_error_for_other_type(query: Message, response: Message, _: str) -> None:
    if asked(query) == (OWN, AAAA):
        response.set_rcode(dns.rcode.NXDOMAIN)


def error_address(query: Message, response: Message, _: str) -> None:
    name, type_ = asked(query)
    if name == below("300.0.0.127", LIST_ZONE) and type_ == A:
        response.set_rcode(dns.rcode.NOERROR)
        response.answer.append(rrset_of(name, 60, "A", "127.255.255.254"))


def unlist_private(query: Message, response: Message, _: str) -> None:
    name = below(reversed_name(Address.parse("10.0.0.1")), UNLISTED_ZONE)
    if asked(query)[0] == name:
        response.set_rcode(dns.rcode.NOERROR)
        response.answer.append(rrset_of(name, 60, "A", "127.0.0.2"))


def resolve(query: Message, response: Message, _: str) -> None:
    name, type_ = asked(query)
    is_in = query.question[0].rdclass == dns.rdataclass.IN
    if type_ == A and is_in and not name.is_subdomain(ZONE):
        response.set_rcode(dns.rcode.NOERROR)
        response.answer.append(rrset_of(name, 60, "A", "198.51.100.1"))


def clear_aa(_: Message, response: Message, _how: str) -> None:
    response.flags &= ~dns.flags.AA


def set_ra(_: Message, response: Message, _how: str) -> None:
    response.flags |= dns.flags.RA


def always_opt(query: Message, response: Message, _: str) -> None:
    if query.edns < 0:
        response.use_edns(0)


def bad_version_is_fine(query: Message, response: Message, _: str) -> None:
    if query.edns > 0:
        response.set_rcode(dns.rcode.NOERROR)


def copy_flags(query: Message, response: Message, _: str) -> None:
    if query.edns == 0:
        response.ednsflags |= query.ednsflags & 0x7FFF


def clear_do(query: Message, response: Message, _: str) -> None:
    if query.edns == 0:
        response.ednsflags &= ~dns.flags.DO


def offer_4096(query: Message, response: Message, _: str) -> None:
    if query.edns == 0:
        response.use_edns(0, response.ednsflags, 4096, options=list(response.options))


def other_serial(query: Message, response: Message, how: str) -> None:
    if how == "tcp" and asked(query) == (ZONE, SOA):
        text = "a.ns.nic.example. hostmaster.nic.example. 6 3600 600 1209600 60"
        response.answer = [rrset_of(ZONE, 60, "SOA", text)]


def other_negative_ttl(_: Message, response: Message, _how: str) -> None:
    response.authority = [
        dns.rrset.from_rdata_list(rrset.name, 3600, list(rrset)) for rrset in response.authority
    ]


def all_types(query: Message, response: Message, _: str) -> None:
    if asked(query) == (ZONE, ANY):
        response.answer.append(rrset_of(ZONE, 300, "NS", "a.ns.nic.example."))


def transfer(query: Message, response: Message, _: str) -> None:
    if asked(query)[1] == AXFR:
        response.set_rcode(dns.rcode.NOERROR)


def foreign_cookie(query: Message, response: Message, _: str) -> None:
    if cookie_of(query):
        option = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, bytes(24))
        response.use_edns(0, response.ednsflags, 1232, options=[option])


def refuse_own_cookie(query: Message, response: Message, _: str) -> None:
    if len(cookie_of(query)) > 8:
        response.set_rcode(dns.rcode.BADCOOKIE)


def forget_cookie(query: Message, response: Message, _: str) -> None:
    if len(cookie_of(query)) > 8 and b"dnscheck" not in cookie_of(query):
        response.use_edns(0)


def without_text(query: Message, response: Message, _: str) -> None:
    if asked(query) == (ZONE, dns.rdatatype.TXT) and query.edns >= 0:
        response.answer.clear()


LONG_SOA = "a.ns.nic.example. hostmaster.nic.example. 7 3600 600 1209600 3600"
FORMERR, NOERROR = dns.rcode.FORMERR, dns.rcode.NOERROR

FAULTS = {
    "answers responses": Fault(
        intercepting(lambda wire: len(wire) >= 12 and wire[2] & 0x80 != 0, NOERROR),
        "responses",
        "expected silence; came 3 answers",
    ),
    "lower-cases the question": Fault(
        setting(amend_bytes=lower_question), "question-echo", "byte for byte"
    ),
    "sends OPT unasked": Fault(amending(always_opt), "edns-unasked", "came OPT"),
    "NODATA in place of NXDOMAIN": Fault(
        amending(no_name_error), "name-error", "expected NXDOMAIN for dns-check-"
    ),
    "NXDOMAIN at an empty non-terminal": Fault(
        amending(name_error_at_empty), "empty-non-terminals", "came NXDOMAIN"
    ),
    "forgets AA": Fault(amending(clear_aa), "authoritative", "expected AA"),
    "resolves names out of its zones": Fault(
        amending(resolve), "out-of-zone", "expected REFUSED for dns-check.invalid."
    ),
    "forgets TC": Fault(setting(truncates=False), "truncation", "without TC"),
    "closes TCP after one query": Fault(
        setting(queries_a_connection=1), "tcp-reuse", "three answers on one connection; came 1"
    ),
    "needs a query in one segment": Fault(
        setting(needs_whole_segments=True), "tcp-segments", "segments; came none"
    ),
    "gives a wrong address": Fault(
        put(OWN, 300, "A", "203.0.113.26"), "registered", "came NOERROR; answer A 203.0.113.26"
    ),
    "gives another TTL": Fault(
        put(OWN, 3600, "A", "203.0.113.25"), "registered-ttl", "expected TTL 300; came 3600"
    ),
    "describes nothing": Fault(put(OWN, 300, "TXT", '"hello"'), "registered-text", "v=smtpnic1"),
    "keeps an absence for an hour": Fault(
        put(ZONE, 3600, "SOA", LONG_SOA), "negative-ttl", "came TTL 3600, MINIMUM 3600"
    ),
    "a negative TTL that is not the SOA's": Fault(
        amending(other_negative_ttl), "negative-soa", "came TTL 3600"
    ),
    "FORMERR at an unknown option": Fault(
        intercepting(lambda wire: has_option(wire, OPTION), FORMERR), "edns-options", "came FORMERR"
    ),
    "NOERROR for BADVERS": Fault(
        amending(bad_version_is_fine), "edns-version", "expected BADVERS for version 1"
    ),
    "copies unknown EDNS flags": Fault(amending(copy_flags), "edns-flags", "came 0x7fff"),
    "clears DO": Fault(amending(clear_do), "edns-do", "expected DO set"),
    "offers sizes that are fragmented": Fault(amending(offer_4096), "edns-fragments", "came 4096"),
    "FORMERR at a small payload size": Fault(
        intercepting(lambda wire: wire[-11:-6] == b"\0\0\x29\1\xff", FORMERR),
        "edns-payload",
        "expected an answer at 511 bytes",
    ),
    "reads two OPT records": Fault(
        intercepting(lambda wire: len(wire) > 12 and wire[10:12] == b"\0\2", NOERROR),
        "edns-one-opt",
        "expected FORMERR",
    ),
    "another serial over TCP": Fault(amending(other_serial), "same-serial", "came serial 6"),
    "offers recursion": Fault(amending(set_ra), "recursion", "came RA set"),
    "answers two questions": Fault(
        intercepting(lambda wire: wire[4:6] == b"\0\2", NOERROR), "one-question", "came NOERROR"
    ),
    "SERVFAIL at malformed messages": Fault(
        intercepting(is_malformed, dns.rcode.SERVFAIL),
        "malformed",
        "points to itself; came SERVFAIL",
    ),
    "SERVFAIL at CHAOS": Fault(
        intercepting(lambda wire: wire[-2:] == b"\0\3", dns.rcode.SERVFAIL), "chaos", "SERVFAIL"
    ),
    "answers STATUS": Fault(
        intercepting(lambda wire: len(wire) > 12 and wire[2] == 0x10, NOERROR),
        "opcodes",
        "expected NOTIMP for opcode 2",
    ),
    "answers UPDATE": Fault(
        intercepting(lambda wire: len(wire) > 12 and wire[2] == 0x28, NOERROR),
        "changing-opcodes",
        "expected NOTIMP for opcode 5",
    ),
    "all types for ANY": Fault(amending(all_types), "any", "expected one record set"),
    "gives transfers": Fault(amending(transfer), "transfer", "expected REFUSED for AXFR"),
    "FORMERR at NSID": Fault(
        intercepting(lambda wire: has_option(wire, 3), FORMERR), "nsid", "came FORMERR"
    ),
    "gives another's cookie": Fault(
        amending(foreign_cookie), "cookie", "the client's cookie first"
    ),
    "refuses its own cookie": Fault(
        amending(refuse_own_cookie), "cookie-accepted", "came BADCOOKIE"
    ),
    "no new cookie for a forged one": Fault(
        amending(forget_cookie), "cookie-forged", "expected a server cookie"
    ),
    "takes a cookie of a wrong length": Fault(
        intercepting(lambda wire: wire[-11:-7] == b"\0\x0a\0\7", NOERROR),
        "cookie-malformed",
        "for a cookie of 7 bytes",
    ),
    "FORMERR at a cookie without a question": Fault(
        intercepting(lambda wire: len(wire) > 12 and wire[4:12] == b"\0\0\0\0\0\0\0\1", FORMERR),
        "cookie-alone",
        "expected NOERROR for a cookie without a question; came FORMERR",
    ),
    "another reason for refusing": Fault(
        setting(refused_because=dns.edns.EDECode.PROHIBITED),
        "extended-error",
        "expected extended error 20 with REFUSED; came 18",
    ),
    "lets somebody issue certificates": Fault(
        put(ZONE, 300, "CAA", '0 issue "ca.example"'), "no-certificates", "came NOERROR; answer CAA"
    ),
    "does not say what the zone is": Fault(
        amending(without_text), "zone-text", "expected a text for smtpnic.example."
    ),
    "NXDOMAIN for AAAA at an IPv4 name": Fault(
        amending(name_error_for_other_type), "other-type", "came NXDOMAIN"
    ),
    "NODATA below a registered name": Fault(
        amending(no_name_error_below), "below-registered", "expected NXDOMAIN"
    ),
    "another value for a test entry": Fault(
        put(below("2.0.0.127", LIST_ZONE), 300, "A", "127.0.0.4"),
        "list-test-entries",
        "came NOERROR; answer A 127.0.0.4",
    ),
    "lists 127.0.0.1": Fault(
        put(below("1.0.0.127", LIST_ZONE), 300, "A", "127.0.0.2"),
        "list-name-error",
        "expected NXDOMAIN for 1.0.0.127",
    ),
    "lists a registered address otherwise": Fault(
        put(below(reversed_name(REGISTERED), LIST_ZONE), 300, "A", "127.0.0.3"),
        "list-registered",
        "came NOERROR; answer A 127.0.0.3",
    ),
    "unlists a registered address": Fault(
        put(below(reversed_name(REGISTERED), UNLISTED_ZONE), 300, "A", "127.0.0.2"),
        "unlisted-registered",
        "expected NXDOMAIN",
    ),
    "unlists a private address": Fault(
        amending(unlist_private), "unlisted-special", "nothing listed for 10.0.0.1"
    ),
    "tells failures by addresses": Fault(
        amending(error_address), "no-error-addresses", "127.255.255.254"
    ),
}
