"""Points about what the registry's zones hold."""

from __future__ import annotations

import ipaddress
from typing import Final

import dns.message
import dns.name
import dns.rcode
from dns.rdatatype import AAAA, ANY, CAA, SOA, TXT, A, RdataType

from registry.address import Address
from registry.label import dashed, reversed_name
from smtpnic.dns_check.absence import expect_absent, expect_nodata
from smtpnic.dns_check.asker import Asker
from smtpnic.dns_check.basics import absent_name, zone_serial
from smtpnic.dns_check.message import describe, expect_rcode, of_type, question
from smtpnic.dns_check.point import Check, Deviation, NotApplicable, Point, Scope, Target

NAME_TTL: Final = 300
LISTED: Final = "127.0.0.2"
_TEXT_VERSION: Final = "v=smtpnic1"
# RFC 8659, 4.2: whoever could have a name answered for could also have a certificate for it.
_NOBODY_ISSUES: Final = '0 issue ";"'
# RFC 5782, 5: the test entries, and what must not be listed beside them.
_LISTED_TESTS: Final = ("127.0.0.2", "::ffff:127.0.0.2")
_ABSENT_TESTS: Final = ("127.0.0.1", "::ffff:127.0.0.1")
# Labels above the test entries, where no record is; of the IPv6 one, all but the first.
_EMPTY_NON_TERMINALS: Final = ("0.0.127", "0.127", "127")
# Nobody can register these: RFC 1918, RFC 3927, RFC 1122, RFC 4291, RFC 4193.
_NEVER_UNLISTED: Final = (
    "10.0.0.1",
    "192.168.0.1",
    "169.254.0.1",
    "127.0.0.1",
    "fe80::1",
    "fd00::1",
)
# Public, and no mail server's: a.root-servers.net.
_HARDLY_REGISTERED: Final = ("198.41.0.4", "2001:503:ba3e::2:30")
# Where blocking lists of old signalled their own failures, and had mail refused by it.
_ERROR_NETWORK: Final = ipaddress.IPv4Network("127.255.255.0/24")


def dashed_name(address: Address, target: Target) -> dns.name.Name:
    """The address's name in the registry's zone."""
    return dns.name.from_text(dashed(address), target.zone)


def list_name(address: str, zone: dns.name.Name) -> dns.name.Name:
    """The address's name in a zone of reversed names."""
    return dns.name.from_text(reversed_name(Address.parse(address)), zone)


def _own_type(address: Address) -> RdataType:
    return A if address.family == 4 else AAAA


def _expect_listed(message: dns.message.Message, what: str) -> None:
    found = [rdata.to_text() for rdata in of_type(message.answer, A)]
    if message.rcode() != dns.rcode.NOERROR or found != [LISTED]:
        raise Deviation(f"{LISTED} {what}", describe(message))


def _no_certificates(ask: Asker, target: Target) -> str:
    message = ask.udp(question(target.zone, CAA)).parse()
    found = [rdata.to_text() for rdata in of_type(message.answer, CAA)]
    if message.rcode() != dns.rcode.NOERROR or found != [_NOBODY_ISSUES]:
        raise Deviation(f"CAA {_NOBODY_ISSUES} for {target.zone}", describe(message))
    return found[0]


def _zone_text(ask: Asker, target: Target) -> str:
    message = ask.udp(question(target.zone, TXT, edns=True)).parse()
    found = [rdata.to_text() for rdata in of_type(message.answer, TXT)]
    if message.rcode() != dns.rcode.NOERROR or not found:
        raise Deviation(f"a text for {target.zone}", describe(message))
    return found[0]


def _registered(ask: Asker, target: Target) -> str:
    address = target.require_registered()
    name = dashed_name(address, target)
    message = ask.udp(question(name, _own_type(address))).parse()
    found = [rdata.to_text() for rrset in message.answer for rdata in rrset]
    if message.rcode() != dns.rcode.NOERROR or found != [str(address)]:
        raise Deviation(f"{address} and nothing else for {name}", describe(message))
    return str(found[0])


def _registered_text(ask: Asker, target: Target) -> str:
    name = dashed_name(target.require_registered(), target)
    message = ask.udp(question(name, TXT)).parse()
    texts = [
        b"".join(rdata.strings).decode("utf-8", "replace")  # type: ignore[attr-defined]
        for rdata in of_type(message.answer, TXT)
    ]
    if len(texts) != 1 or not texts[0].startswith(f"{_TEXT_VERSION};"):
        raise Deviation(f"one text that begins with {_TEXT_VERSION}", describe(message))
    return str(texts[0])


def _registered_ttl(ask: Asker, target: Target) -> str:
    address = target.require_registered()
    message = ask.udp(question(dashed_name(address, target), _own_type(address))).parse()
    ttls = {rrset.ttl for rrset in message.answer}
    if ttls != {NAME_TTL}:
        raise Deviation(f"TTL {NAME_TTL}", ", ".join(map(str, sorted(ttls))) or describe(message))
    return f"{NAME_TTL} s"


def _other_type(ask: Asker, target: Target) -> str:
    address = target.require_registered()
    name = dashed_name(address, target)
    other = AAAA if address.family == 4 else A
    what = f"for {name} {dns.rdatatype.to_text(other)}"
    expect_nodata(ask.udp(question(name, other)).parse(), what)
    return "NODATA"


def _below_registered(ask: Asker, target: Target) -> str:
    name = dns.name.from_text("dns-check", dashed_name(target.require_registered(), target))
    expect_absent(ask.udp(question(name, A)).parse(), f"for {name}")
    return "NXDOMAIN"


def _list_apex(ask: Asker, target: Target) -> str:
    return _apex(ask, target.require_list_zone())


def _unlisted_apex(ask: Asker, target: Target) -> str:
    return _apex(ask, target.require_unlisted_zone())


def _apex(ask: Asker, zone: dns.name.Name) -> str:
    message = ask.udp(question(zone, SOA)).parse()
    serial = zone_serial(message)
    if message.answer[0].name != zone:
        raise Deviation(f"the SOA of {zone}", describe(message))
    return f"serial {serial}"


def _list_test_entries(ask: Asker, target: Target) -> str:
    zone = target.require_list_zone()
    for text in _LISTED_TESTS:
        _expect_listed(ask.udp(question(list_name(text, zone), A)).parse(), f"for {text}")
    return LISTED


def _list_name_error(ask: Asker, target: Target) -> str:
    zone = target.require_list_zone()
    names = [list_name(text, zone) for text in _ABSENT_TESTS]
    for name in (*names, absent_name(zone)):
        expect_absent(ask.udp(question(name, A)).parse(), f"for {name}")
    return "NXDOMAIN"


def _empty_non_terminals(ask: Asker, target: Target) -> str:
    zone = target.require_list_zone()
    names = [dns.name.from_text(text, zone) for text in _EMPTY_NON_TERMINALS]
    parent = list_name(_LISTED_TESTS[1], zone).parent()
    # A label at a time up to the zone: so a resolver that minimises asks (RFC 9156).
    while parent != zone:
        names.append(parent)
        parent = parent.parent()
    for name in names:
        expect_nodata(ask.udp(question(name, A)).parse(), f"for {name}")
    return f"NODATA at {len(names)} names"


def _list_registered(ask: Asker, target: Target) -> str:
    zone = target.require_list_zone()
    address = str(target.require_registered())
    _expect_listed(ask.udp(question(list_name(address, zone), A)).parse(), f"for {address}")
    return LISTED


def _unlisted_registered(ask: Asker, target: Target) -> str:
    zone = target.require_unlisted_zone()
    address = str(target.require_registered())
    name = list_name(address, zone)
    message = ask.udp(question(name, A)).parse()
    expect_absent(message, f"for {name}")
    return "NXDOMAIN"


def _unlisted_others(ask: Asker, target: Target) -> str:
    zone = target.require_unlisted_zone()
    asked = []
    for text in _HARDLY_REGISTERED:
        address = Address.parse(text)
        known = ask.udp(question(dashed_name(address, target), _own_type(address))).parse()
        if known.rcode() == dns.rcode.NXDOMAIN:
            message = ask.udp(question(list_name(text, zone), A)).parse()
            _expect_listed(message, f"for {text}, which is not registered")
            asked.append(text)
    if not asked:
        raise NotApplicable("no address that is not registered is known")
    return f"{LISTED} for {', '.join(asked)}"


def _unlisted_special(ask: Asker, target: Target) -> str:
    zone = target.require_unlisted_zone()
    for text in _NEVER_UNLISTED:
        message = ask.udp(question(list_name(text, zone), A)).parse()
        if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or message.answer:
            raise Deviation(f"nothing listed for {text}", describe(message))
    return "nothing listed"


def _no_error_addresses(ask: Asker, target: Target) -> str:
    asked = 0
    for zone in (target.zone, target.list_zone, target.unlisted_zone):
        if zone is None:
            continue
        for below in ("", "300.0.0.127.", "255.255.255.127.", "example.com.", "127-255-255-255."):
            name = dns.name.from_text(f"{below}{zone}")
            for type_ in (A, ANY):
                asked += 1
                message = ask.udp(question(name, type_)).parse()
                for rdata in of_type(message.answer, A):
                    if ipaddress.IPv4Address(rdata.to_text()) in _ERROR_NETWORK:
                        what = f"no address of {_ERROR_NETWORK} for {name}"
                        raise Deviation(what, describe(message))
    expect_rcode(ask.udp(question(target.zone, SOA)).parse(), dns.rcode.NOERROR, "after them")
    return f"none in {asked} answers"


def _point(name: str, reference: str, promise: str, check: Check, *needs: str) -> Point:
    return Point(name, reference, promise, check, Scope.REGISTRY, needs)


POINTS: Final = (
    _point("no-certificates", "RFC 8659, 4.2", "lets nobody issue certificates", _no_certificates),
    _point("zone-text", "RFC 1035, 3.3.14", "says what the zone is", _zone_text),
    _point("registered", "RFC 1034, 4.3.2", "gives a registered address, alone", _registered),
    _point(
        "registered-text", "RFC 1035, 3.3.14", "describes a registered address", _registered_text
    ),
    _point(
        "registered-ttl",
        "RFC 1035, 3.2.1",
        "has a registered address asked again after 300 s",
        _registered_ttl,
        "registered",
    ),
    _point(
        "other-type",
        "RFC 2308, 2.2",
        "says NODATA to the other family's type at a registered name",
        _other_type,
        "registered",
    ),
    _point(
        "below-registered",
        "RFC 8020, 2",
        "says NXDOMAIN below a registered name",
        _below_registered,
    ),
    _point("list", "RFC 1034, 4.3.2", "answers for the list zone", _list_apex),
    _point(
        "list-test-entries",
        "RFC 5782, 5",
        "lists 127.0.0.2 and ::ffff:127.0.0.2",
        _list_test_entries,
        "list",
    ),
    _point(
        "list-name-error",
        "RFC 5782, 5",
        "does not list 127.0.0.1 and ::ffff:127.0.0.1",
        _list_name_error,
        "list",
    ),
    _point(
        "empty-non-terminals",
        "RFC 8020, 2",
        "says NODATA above a listed name",
        _empty_non_terminals,
        "list",
    ),
    _point(
        "list-registered", "RFC 5782, 2.1", "lists a registered address", _list_registered, "list"
    ),
    _point("unlisted", "RFC 1034, 4.3.2", "answers for the unlisted zone", _unlisted_apex),
    _point(
        "unlisted-registered",
        "RFC 5782, 2.1",
        "does not list a registered address as unlisted",
        _unlisted_registered,
        "unlisted",
    ),
    _point(
        "unlisted-others",
        "RFC 5782, 2.1",
        "lists an address that is not registered as unlisted",
        _unlisted_others,
        "unlisted",
    ),
    _point(
        "unlisted-special",
        "RFC 6890, 2.2",
        "never lists a private or local address as unlisted",
        _unlisted_special,
        "unlisted",
    ),
    _point(
        "no-error-addresses",
        "RFC 8914, 1",
        "never tells a failure by an address in 127.255.255.0/24",
        _no_error_addresses,
    ),
)
