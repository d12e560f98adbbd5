"""Points about the message itself: header, question, codes, malformed input."""

from __future__ import annotations

import secrets
import struct
from typing import Final

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
from dns.rdatatype import AAAA, NS, SOA, TXT, A

from registry.label import dashed
from smtpnic.dns_check.asker import Asker, ask_tcp, framed
from smtpnic.dns_check.message import (
    HEADER_BYTES,
    QR_FLAG,
    Reply,
    describe,
    expect_rcode,
    of_type,
    question,
    question_bytes,
    with_flags,
    with_opt,
)
from smtpnic.dns_check.point import Deviation, Point, Scope, Target

# Private use (RFC 6895, 3.1): no name has records of it.
NO_TYPE: Final = dns.rdatatype.RdataType.make(65280)
# IQUERY is obsolete, 3 and 15 are unassigned, STATUS was never specified (RFC 6895, 2.2).
_UNKNOWN_OPCODES: Final = (1, 2, 3, 15)
_CHANGING_OPCODES: Final = (4, 5, 6)
_SERIAL_TRIES: Final = 3


def absent_name(zone: dns.name.Name) -> dns.name.Name:
    """A name below the zone that nobody has heard of."""
    return dns.name.from_text(f"dns-check-{secrets.token_hex(8)}", zone)


def zone_serial(message: dns.message.Message) -> int:
    """The serial in an answer to a question for the SOA; Deviation if it is none."""
    expect_rcode(message, dns.rcode.NOERROR, "for the zone's SOA")
    serials = [rdata.serial for rdata in of_type(message.answer, SOA)]  # type: ignore[attr-defined]
    if len(serials) != 1:
        raise Deviation("one SOA record", describe(message))
    return int(serials[0])


def _udp(ask: Asker, target: Target) -> str:
    return f"serial {zone_serial(ask.udp(question(target.zone, SOA)).parse())}"


def _tcp(ask: Asker, target: Target) -> str:
    return f"serial {zone_serial(ask_tcp(ask, question(target.zone, SOA)).parse())}"


def _same_serial(ask: Asker, target: Target) -> str:
    wire = question(target.zone, SOA)
    for _ in range(_SERIAL_TRIES):
        before = zone_serial(ask.udp(wire).parse())
        over_tcp = zone_serial(ask_tcp(ask, wire).parse())
        after = zone_serial(ask.udp(wire).parse())
        # Between two questions the zone may have changed.
        if over_tcp in (before, after):
            return f"serial {over_tcp}"
    raise Deviation(f"serial {after} over TCP, as over UDP", f"serial {over_tcp}")


def _authoritative(ask: Asker, target: Target) -> str:
    questions = [(target.zone, SOA), (target.zone, NS), (target.zone, NO_TYPE)]
    questions.append((absent_name(target.zone), A))
    if target.registered is not None and not target.generic:
        type_ = A if target.registered.family == 4 else AAAA
        questions.append((dns.name.from_text(dashed(target.registered), target.zone), type_))
    for name, type_ in questions:
        reply = ask.udp(question(name, type_))
        if not reply.flags & dns.flags.AA:
            asked = f"{name} {dns.rdatatype.to_text(type_)}"
            raise Deviation(f"AA in the answer to {asked}", f"{describe(reply.parse())}, no AA")
    return "AA in every answer"


def _name_servers(ask: Asker, target: Target) -> str:
    message = ask.udp(question(target.zone, NS)).parse()
    expect_rcode(message, dns.rcode.NOERROR, "for the zone's NS")
    hosts = [rdata.to_text() for rdata in of_type(message.answer, NS)]
    if not hosts:
        raise Deviation("NS records", describe(message))
    return ", ".join(hosts)


def _recursion(ask: Asker, target: Target) -> str:
    for flag in (0, dns.flags.RD):
        flags = ask.udp(with_flags(question(target.zone, SOA), flag)).flags
        if flags & dns.flags.RA:
            raise Deviation("RA clear: recursion is not offered", "RA set")
        if flags & dns.flags.RD != flag:
            raise Deviation("RD as in the query", f"RD {'clear' if flag else 'set'}")
    return "RA clear, RD copied"


def _question_echo(ask: Asker, target: Target) -> str:
    mixed = dns.name.Name(_mix_case(label) for label in target.zone.labels)
    outside = dns.name.from_text("dNs-cHeCk.INvaLID.")
    for name in (mixed, dns.name.from_text("dNs-CheCK-Absent", mixed), outside):
        wire = question(name, SOA)
        asked = question_bytes(wire)
        reply = ask.udp(wire)
        came = reply.wire[HEADER_BYTES : HEADER_BYTES + len(asked)]
        if came != asked:
            raise Deviation(f"the question {name} byte for byte", repr(came))
    return "the question byte for byte"


def _mix_case(label: bytes) -> bytes:
    both = zip(label.upper(), label.lower(), strict=True)
    return bytes(pair[number % 2] for number, pair in enumerate(both))


def _out_of_zone(ask: Asker, target: Target) -> str:
    near = dns.name.Name((b"x" + target.zone.labels[0], *target.zone.labels[1:]))
    names = [dns.name.from_text("dns-check.invalid."), dns.name.root]
    # A name that ends like the zone's as text, and not in its labels.
    names += [near] if target.zone != dns.name.root else []
    for name in names:
        message = ask.udp(question(name, A)).parse()
        expect_rcode(message, dns.rcode.REFUSED, f"for {name}")
        if message.answer or message.authority:
            raise Deviation(f"REFUSED without records for {name}", describe(message))
    return "REFUSED"


def _opcodes(ask: Asker, target: Target) -> str:
    return _expect_notimp(ask, target, _UNKNOWN_OPCODES)


def _changing_opcodes(ask: Asker, target: Target) -> str:
    return _expect_notimp(ask, target, _CHANGING_OPCODES)


def _expect_notimp(ask: Asker, target: Target, opcodes: tuple[int, ...]) -> str:
    for opcode in opcodes:
        reply = ask.udp(with_flags(question(target.zone, SOA), opcode << 11))
        code = dns.rcode.to_text(dns.rcode.Rcode.make(reply.header_rcode))
        if reply.header_rcode != dns.rcode.NOTIMP:
            raise Deviation(f"NOTIMP for opcode {opcode}", code)
        if reply.opcode != opcode:
            raise Deviation(f"opcode {opcode} in the answer", f"opcode {reply.opcode}")
    return "NOTIMP"


def _responses(ask: Asker, target: Target) -> str:
    response = with_flags(question(target.zone, SOA), QR_FLAG)
    refused = with_flags(question(dns.name.root, NS), QR_FLAG | dns.rcode.REFUSED)
    bare = secrets.token_bytes(2) + struct.pack("!HHHHH", QR_FLAG | 1, 0, 0, 0, 0)
    came = ask.reactions((response, refused, bare), question(target.zone, SOA))
    if came:
        raise Deviation("silence", f"{len(came)} answers to 3 responses")
    return "silence"


def _one_question(ask: Asker, target: Target) -> str:
    wire = question(target.zone, SOA)
    two = wire[:4] + struct.pack("!H", 2) + wire[6:] + question_bytes(question(target.zone, NS))
    # FORMERR is what a response must say; Knot sends none.
    if target.generic and not ask.reactions((two,), question(target.zone, SOA)):
        return "silence"
    reply = ask.udp(two)
    if reply.header_rcode != dns.rcode.FORMERR:
        code = dns.rcode.to_text(dns.rcode.Rcode.make(reply.header_rcode))
        raise Deviation("FORMERR for two questions", code)
    return "FORMERR"


def malformed_messages(zone: dns.name.Name) -> dict[str, bytes]:
    """Messages that no query can be, by what is wrong with them; their flags say query."""
    wire = question(zone, SOA)
    head, asked = wire[:HEADER_BYTES], question_bytes(wire)
    tail = asked[-4:]
    opt = with_opt(wire, 1232, 0, 0, struct.pack("!HH", 65001, 4) + b"1234")
    return {
        "a header cut short": wire[: HEADER_BYTES - 1],
        "an identifier alone": wire[:2],
        "a header without its question": head,
        "a name without an end": head + b"\x05short",
        "a question without type and class": wire[: HEADER_BYTES + len(asked) - 4],
        "a name that points to itself": head + b"\xc0\x0c" + tail,
        "a name that points behind the message": head + b"\xc3\xff" + tail,
        "a reserved label type": head + b"\x80a\0" + tail,
        "a name of 320 bytes": head + (b"\x3f" + b"a" * 63) * 5 + b"\0" + tail,
        "65535 records announced, none there": wire[:10] + b"\xff\xff" + wire[12:],
        "an OPT that reaches past the end": opt[:-8] + struct.pack("!HH", 65001, 4),
        "an EDNS option that reaches past its record": opt[:-6] + b"\xff\xff" + opt[-4:],
    }


def _malformed(ask: Asker, target: Target) -> str:
    probe = question(target.zone, SOA)
    # Identifiers of their own tell whose each answer is, and none is that of the query behind.
    sent = {
        (int.from_bytes(probe[:2]) ^ number).to_bytes(2): (what, wire)
        for number, (what, wire) in enumerate(malformed_messages(target.zone).items(), 1)
    }
    for came in ask.reactions([id_ + wire[2:] for id_, (_, wire) in sent.items()], probe):
        what = sent[came[:2]][0] if came[:2] in sent else "a malformed message"
        reply = Reply(came)
        if reply.header_rcode != dns.rcode.FORMERR:
            code = dns.rcode.to_text(dns.rcode.Rcode.make(reply.header_rcode))
            raise Deviation(f"FORMERR or silence at {what}", code)
    with ask.connect() as connection:
        connection.send(framed(probe[:5]) + framed(b"") + framed(probe)[:-3])
        connection.finish()
        while (over_tcp := connection.receive()) is not None:
            if over_tcp.header_rcode != dns.rcode.FORMERR:
                raise Deviation("FORMERR or silence at garbage over TCP", hex(over_tcp.flags))
    zone_serial(ask_tcp(ask, probe).parse())
    return "FORMERR or silence; it still answers"


def _chaos(ask: Asker, target: Target) -> str:
    said = []
    for text in ("version.bind.", "id.server."):
        wire = question(dns.name.from_text(text), TXT, class_=dns.rdataclass.CH)
        message = ask.udp(wire).parse()
        if message.rcode() in (dns.rcode.SERVFAIL, dns.rcode.FORMERR):
            raise Deviation(f"a text or a refusal for {text} CH", describe(message))
        texts = [rdata.to_text() for rdata in of_type(message.answer, TXT)]
        said.append(f"{text} {', '.join(texts) or dns.rcode.to_text(message.rcode())}")
    zone_serial(ask.udp(question(target.zone, SOA)).parse())
    return "; ".join(said)


POINTS: Final = (
    Point("udp", "RFC 1035, 4.2.1", "answers for the zone over UDP", _udp),
    Point("tcp", "RFC 7766, 5", "answers for the zone over TCP", _tcp),
    Point(
        "same-serial",
        "RFC 1035, 3.3.13",
        "shows one serial over UDP and TCP",
        _same_serial,
        needs=("udp", "tcp"),
    ),
    Point("name-servers", "RFC 1034, 4.2.1", "names its servers", _name_servers),
    Point("authoritative", "RFC 1035, 4.1.1", "sets AA for its zone", _authoritative),
    Point("recursion", "RFC 1035, 4.1.1", "offers no recursion, copies RD", _recursion),
    Point(
        "question-echo",
        "RFC 5452, 9.1",
        "repeats the question, letter case included (0x20)",
        _question_echo,
    ),
    Point("out-of-zone", "RFC 1035, 4.1.1", "refuses names of other zones", _out_of_zone),
    Point("opcodes", "RFC 1035, 4.1.1", "says NOTIMP to unknown opcodes", _opcodes),
    Point(
        "changing-opcodes",
        "RFC 1035, 4.1.1",
        "says NOTIMP to NOTIFY, UPDATE and DSO",
        _changing_opcodes,
        Scope.REGISTRY,
    ),
    Point("responses", "RFC 1035, 7.3", "never answers a response", _responses),
    Point("one-question", "RFC 9619, 4", "says FORMERR to two questions", _one_question),
    Point(
        "malformed",
        "RFC 1035, 4.1.1",
        "survives malformed messages, with FORMERR or silence",
        _malformed,
        needs=("udp", "tcp"),
    ),
    Point("chaos", "RFC 4892, 2", "survives version.bind and id.server", _chaos),
)
