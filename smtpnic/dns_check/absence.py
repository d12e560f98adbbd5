"""Points about what is not there."""

from __future__ import annotations

from typing import Final

import dns.message
import dns.name
import dns.rcode
from dns.rdatatype import SOA, A

from smtpnic.dns_check.asker import Asker
from smtpnic.dns_check.basics import NO_TYPE, absent_name
from smtpnic.dns_check.message import describe, expect_rcode, question
from smtpnic.dns_check.point import Deviation, NotApplicable, Point, Scope, Target

# Who is refused, registers and tries again waits a minute at most.
NEGATIVE_TTL: Final = 60


def expect_absent(message: dns.message.Message, what: str) -> None:
    """Deviation unless it is NXDOMAIN without an answer."""
    expect_rcode(message, dns.rcode.NXDOMAIN, what)
    if message.answer:
        raise Deviation(f"NXDOMAIN without an answer {what}", describe(message))


def expect_nodata(message: dns.message.Message, what: str) -> None:
    """Deviation unless it is NOERROR without an answer (RFC 2308, 2.2)."""
    if message.rcode() != dns.rcode.NOERROR or message.answer:
        raise Deviation(f"NODATA {what}", describe(message))


def _name_error(ask: Asker, target: Target) -> str:
    name = absent_name(target.zone)
    message = ask.udp(question(name, A)).parse()
    if target.generic and message.answer:
        raise NotApplicable("the zone has a wildcard")
    expect_absent(message, f"for {name}")
    if not target.generic:
        # Loopback is nobody's to register (RFC 5782, 5); the others are no address' name.
        for text in ("127-0-0-1", "127-0-0-01", "300-0-0-1", "2-0-0-127.x"):
            name = dns.name.from_text(text, target.zone)
            expect_absent(ask.udp(question(name, A)).parse(), f"for {name}")
    return "NXDOMAIN"


def _no_data(ask: Asker, target: Target) -> str:
    expect_nodata(ask.udp(question(target.zone, NO_TYPE)).parse(), f"for {target.zone} TYPE65280")
    return "NODATA"


def _negative_answers(ask: Asker, target: Target) -> list[dns.message.Message]:
    """An absent name's and an absent type's."""
    questions = ((absent_name(target.zone), A), (target.zone, NO_TYPE))
    return [ask.udp(question(name, type_)).parse() for name, type_ in questions]


def _authority_soa(message: dns.message.Message, zone: dns.name.Name) -> tuple[int, int]:
    """TTL and MINIMUM of the SOA in a negative answer; Deviation if there is none."""
    soas = [rrset for rrset in message.authority if rrset.rdtype == SOA]
    if len(soas) != 1 or soas[0].name != zone:
        raise Deviation(f"the SOA of {zone} as authority", describe(message))
    return soas[0].ttl, soas[0][0].minimum


def _negative_soa(ask: Asker, target: Target) -> str:
    soa = next(iter(ask.udp(question(target.zone, SOA)).parse().answer), None)
    if soa is None:
        raise Deviation("the zone's SOA", "no answer to that")
    expected = min(soa.ttl, getattr(soa[0], "minimum", soa.ttl))
    for message in _negative_answers(ask, target):
        ttl, _ = _authority_soa(message, target.zone)
        if ttl != expected:
            raise Deviation(f"TTL {expected}: the lesser of SOA and MINIMUM", f"TTL {ttl}")
    return f"SOA with TTL {expected}"


def _negative_ttl(ask: Asker, target: Target) -> str:
    for message in _negative_answers(ask, target):
        ttl, minimum = _authority_soa(message, target.zone)
        if (ttl, minimum) != (NEGATIVE_TTL, NEGATIVE_TTL):
            came = f"TTL {ttl}, MINIMUM {minimum}"
            raise Deviation(f"TTL {NEGATIVE_TTL}, MINIMUM {NEGATIVE_TTL}", came)
    return f"{NEGATIVE_TTL} s"


POINTS: Final = (
    Point("name-error", "RFC 2308, 2.1", "says NXDOMAIN to absent names", _name_error),
    Point("no-data", "RFC 2308, 2.2", "says NODATA to absent types", _no_data),
    Point("negative-soa", "RFC 2308, 3", "says how long an absence holds", _negative_soa),
    Point(
        "negative-ttl",
        "RFC 2308, 5",
        "has an absence forgotten after 60 s",
        _negative_ttl,
        Scope.REGISTRY,
        needs=("negative-soa",),
    ),
)
