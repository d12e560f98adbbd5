"""Points about EDNS: versions, options, flags, sizes, cookies."""

from __future__ import annotations

import secrets
import struct
import time
from typing import Final

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
from dns.rdatatype import NS, SOA, A

from smtpnic.dns_check.asker import Asker, ask_tcp
from smtpnic.dns_check.basics import absent_name, zone_serial
from smtpnic.dns_check.message import (
    EDNS_UDP_BYTES,
    HEADER_BYTES,
    PLAIN_UDP_BYTES,
    describe,
    expect_rcode,
    question,
    with_opt,
)
from smtpnic.dns_check.point import Deviation, NotApplicable, Point, Scope, Target

# For local use (RFC 6891, 9).
_UNKNOWN_OPTION: Final = dns.edns.OptionType.make(65001)
COOKIE_OPTION: Final = dns.edns.OptionType.COOKIE
_CLIENT_COOKIE_BYTES: Final = 8
_SHORTEST_COOKIE, _LONGEST_COOKIE = 16, 40
# RFC 9018, 4: version 1, three reserved bytes, a timestamp, a hash of eight.
_COMMON_COOKIE: Final = struct.Struct("!B3xI8s")
_COOKIE_PAST_SECONDS: Final = 3600
_COOKIE_FUTURE_SECONDS: Final = 300


def _answered(ask: Asker, target: Target) -> str:
    message = ask.udp(question(target.zone, SOA, edns=True)).parse()
    if message.opt is None:
        raise Deviation("an OPT record", f"{describe(message)}, without OPT")
    if message.edns != 0 or message.payload < PLAIN_UDP_BYTES:
        came = f"version {message.edns}, {message.payload} bytes"
        raise Deviation(f"version 0 and {PLAIN_UDP_BYTES} bytes or more", came)
    return f"version 0, {message.payload} bytes"


def _unasked(ask: Asker, target: Target) -> str:
    outside = dns.name.from_text("dns-check.invalid.")
    for name in (target.zone, absent_name(target.zone), outside):
        if ask.udp(question(name, SOA)).parse().opt is not None:
            raise Deviation("no OPT in the answer to a query without one", f"OPT, for {name}")
    return "no OPT"


def _version(ask: Asker, target: Target) -> str:
    for version in (1, 255):
        message = ask.udp(with_opt(question(target.zone, SOA), 1232, version, 0)).parse()
        expect_rcode(message, dns.rcode.BADVERS, f"for version {version}")
        if message.edns != 0:
            raise Deviation("the server's own version 0", f"version {message.edns}")
    return "BADVERS"


def _options(ask: Asker, target: Target) -> str:
    for data in (b"", b"dns-check", bytes(100)):
        option = dns.edns.GenericOption(_UNKNOWN_OPTION, data)
        message = ask.udp(question(target.zone, SOA, edns=True, options=[option])).parse()
        zone_serial(message)
        if any(option.otype == _UNKNOWN_OPTION for option in message.options):
            raise Deviation("the unknown option ignored", "it came back")
    return "ignored"


def _flags(ask: Asker, target: Target) -> str:
    message = ask.udp(with_opt(question(target.zone, SOA), 1232, 0, 0x7FFF)).parse()
    zone_serial(message)
    if message.ednsflags & 0x7FFF:
        raise Deviation("unknown flags clear in the answer", f"{message.ednsflags & 0x7FFF:#06x}")
    return "ignored"


def _dnssec_ok(ask: Asker, target: Target) -> str:
    for wanted in (False, True):
        message = ask.udp(question(target.zone, SOA, edns=True, dnssec_ok=wanted)).parse()
        if bool(message.ednsflags & dns.flags.DO) != wanted:
            raise Deviation(f"DO {'set' if wanted else 'clear'}, as in the query", "the contrary")
    return "DO copied"


def _payload(ask: Asker, target: Target) -> str:
    longest = 0
    for payload in (0, 511, PLAIN_UDP_BYTES, EDNS_UDP_BYTES, 4096, 65535):
        for name, type_ in ((target.zone, SOA), (target.zone, NS), (absent_name(target.zone), A)):
            wire = question(name, type_, edns=True, payload=payload)
            reply = ask.udp(wire, may_be_truncated=True)
            expected = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
            if reply.header_rcode not in expected:
                raise Deviation(f"an answer at {payload} bytes", describe(reply.parse()))
            if len(reply.wire) > max(payload, PLAIN_UDP_BYTES):
                limit = max(payload, PLAIN_UDP_BYTES)
                raise Deviation(f"{limit} bytes at most", f"{len(reply.wire)} bytes")
            longest = max(longest, len(reply.wire))
    return f"within every size; {longest} bytes at most"


def _fragments(ask: Asker, target: Target) -> str:
    payload = ask.udp(question(target.zone, SOA, edns=True, payload=4096)).parse().payload
    if payload > EDNS_UDP_BYTES:
        raise Deviation(f"{EDNS_UDP_BYTES} bytes offered, or less", f"{payload}")
    return f"{payload} bytes offered"


def _one_opt(ask: Asker, target: Target) -> str:
    wire = with_opt(with_opt(question(target.zone, SOA), 1232, 0, 0), 1232, 0, 0)
    reply = ask.udp(wire)
    if reply.header_rcode != dns.rcode.FORMERR:
        raise Deviation("FORMERR for two OPT records", describe(reply.parse()))
    return "FORMERR"


def _nsid(ask: Asker, target: Target) -> str:
    option = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
    message = ask.udp(question(target.zone, SOA, edns=True, options=[option])).parse()
    zone_serial(message)
    names = [option.nsid for option in message.options if isinstance(option, dns.edns.NSIDOption)]
    if len(names) > 1:
        raise Deviation("one NSID at most", f"{len(names)}")
    return f"NSID {names[0].decode(errors='backslashreplace')}" if names else "hidden"


def _ask_with_cookie(ask: Asker, target: Target, cookie: bytes) -> dns.message.Message:
    option = dns.edns.GenericOption(COOKIE_OPTION, cookie)
    return ask.udp(question(target.zone, SOA, edns=True, options=[option])).parse()


def _cookie_of(message: dns.message.Message) -> bytes:
    cookies = [
        option.to_wire() or b"" for option in message.options if option.otype == COOKIE_OPTION
    ]
    if len(cookies) > 1:
        raise Deviation("one COOKIE option", f"{len(cookies)}")
    return cookies[0] if cookies else b""


def obtain_cookie(ask: Asker, target: Target) -> bytes:
    """Client and server cookie; NotApplicable where the server knows no cookies."""
    client = secrets.token_bytes(_CLIENT_COOKIE_BYTES)
    cookie = _cookie_of(_ask_with_cookie(ask, target, client))
    if not cookie:
        raise NotApplicable("the server gives no cookies")
    _expect_cookie(cookie, client)
    return cookie


def _expect_cookie(cookie: bytes, client: bytes) -> None:
    if not _SHORTEST_COOKIE <= len(cookie) <= _LONGEST_COOKIE:
        raise Deviation(
            "a server cookie of 8 to 32 bytes", f"{len(cookie)} bytes with the client's"
        )
    if not cookie.startswith(client):
        raise Deviation("the client's cookie first", cookie.hex())


def _cookie(ask: Asker, target: Target) -> str:
    server = obtain_cookie(ask, target)[_CLIENT_COOKIE_BYTES:]
    if len(server) != _COMMON_COOKIE.size or server[0] != 1:
        return f"a server cookie of {len(server)} bytes"
    made_at = _COMMON_COOKIE.unpack(server)[1]
    # Serial number arithmetic on 32 bits (RFC 9018, 4.3).
    age = (int(time.time()) - made_at + (1 << 31)) % (1 << 32) - (1 << 31)
    if not -_COOKIE_FUTURE_SECONDS <= age <= _COOKIE_PAST_SECONDS:
        raise Deviation("a time within an hour ago and 5 minutes ahead", f"{age} s ago")
    return "version 1, 16 bytes"


def _cookie_accepted(ask: Asker, target: Target) -> str:
    cookie = obtain_cookie(ask, target)
    option = dns.edns.GenericOption(COOKIE_OPTION, cookie)
    wire = question(target.zone, SOA, edns=True, options=[option])
    for message in (ask.udp(wire).parse(), ask_tcp(ask, wire).parse()):
        expect_rcode(message, dns.rcode.NOERROR, "for the server's own cookie")
        _expect_cookie(_cookie_of(message), cookie[:_CLIENT_COOKIE_BYTES])
    return "accepted over UDP and TCP"


def _cookie_forged(ask: Asker, target: Target) -> str:
    client = obtain_cookie(ask, target)[:_CLIENT_COOKIE_BYTES]
    message = _ask_with_cookie(ask, target, client + secrets.token_bytes(16))
    if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.BADCOOKIE):
        raise Deviation("an answer or BADCOOKIE for a forged cookie", describe(message))
    _expect_cookie(_cookie_of(message), client)
    return f"{dns.rcode.to_text(message.rcode())} and a new cookie"


def _cookie_malformed(ask: Asker, target: Target) -> str:
    obtain_cookie(ask, target)
    for size in (1, 7, 12, 41):
        message = _ask_with_cookie(ask, target, bytes(size))
        expect_rcode(message, dns.rcode.FORMERR, f"for a cookie of {size} bytes")
    return "FORMERR"


def _cookie_alone(ask: Asker, _: Target) -> str:
    client = secrets.token_bytes(_CLIENT_COOKIE_BYTES)
    option = struct.pack("!HH", COOKIE_OPTION, len(client)) + client
    header = secrets.token_bytes(2) + bytes(HEADER_BYTES - 2)
    message = ask.udp(with_opt(header, EDNS_UDP_BYTES, 0, 0, option)).parse()
    expect_rcode(message, dns.rcode.NOERROR, "for a cookie without a question")
    _expect_cookie(_cookie_of(message), client)
    return "NOERROR and a cookie"


def _extended_error(ask: Asker, _: Target) -> str:
    message = ask.udp(question(dns.name.from_text("dns-check.invalid."), A, edns=True)).parse()
    codes = [int(error.code) for error in message.extended_errors()]
    if codes != [dns.edns.EDECode.NOT_AUTHORITATIVE]:
        expected = f"extended error {int(dns.edns.EDECode.NOT_AUTHORITATIVE)} with REFUSED"
        raise Deviation(expected, ", ".join(map(str, codes)) or "none")
    return "20, not authoritative"


POINTS: Final = (
    Point("edns", "RFC 6891, 6.1.1", "answers EDNS with EDNS", _answered),
    Point("edns-unasked", "RFC 6891, 7", "sends no OPT unless asked", _unasked),
    Point("edns-version", "RFC 6891, 6.1.3", "says BADVERS to other versions", _version),
    Point("edns-options", "RFC 6891, 6.1.2", "ignores unknown options", _options),
    Point("edns-flags", "RFC 6891, 6.1.4", "ignores unknown flags", _flags),
    Point("edns-do", "RFC 3225, 3", "copies DO", _dnssec_ok),
    Point("edns-payload", "RFC 6891, 6.2.3", "keeps within the size offered", _payload),
    Point(
        "edns-fragments",
        "RFC 9715, 3.1",
        "offers no size that could be fragmented",
        _fragments,
        Scope.REGISTRY,
        needs=("edns",),
    ),
    Point("edns-one-opt", "RFC 6891, 6.1.1", "says FORMERR to two OPT records", _one_opt),
    Point(
        "extended-error",
        "RFC 8914, 4.21",
        "says why it refuses",
        _extended_error,
        Scope.REGISTRY,
        needs=("edns",),
    ),
    Point("nsid", "RFC 5001, 2.2", "survives the question for its identifier", _nsid),
    Point("cookie", "RFC 9018, 4", "gives well-formed cookies", _cookie),
    Point(
        "cookie-accepted",
        "RFC 7873, 5.2.5",
        "accepts its own cookie",
        _cookie_accepted,
        needs=("cookie", "tcp"),
    ),
    Point(
        "cookie-forged",
        "RFC 7873, 5.2.4",
        "gives a new cookie for a forged one",
        _cookie_forged,
        needs=("cookie",),
    ),
    Point(
        "cookie-malformed",
        "RFC 7873, 5.2.2",
        "says FORMERR to a cookie of a wrong length",
        _cookie_malformed,
        needs=("cookie",),
    ),
    Point(
        "cookie-alone",
        "RFC 7873, 5.4",
        "gives a cookie to who asks for nothing else",
        _cookie_alone,
        Scope.REGISTRY,
        needs=("cookie",),
    ),
)
