"""Points about truncation and TCP, and what is given over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import dns.message
import dns.rcode
from dns.rdatatype import ANY, AXFR, DNSKEY, IXFR, NS, RRSIG, SOA, TXT, A

from smtpnic.dns_check.asker import Asker, Connection, ask_tcp, framed
from smtpnic.dns_check.basics import absent_name, zone_serial
from smtpnic.dns_check.message import PLAIN_UDP_BYTES, Reply, describe, expect_rcode, question
from smtpnic.dns_check.point import Deviation, NotApplicable, Point, Scope, Target

# As many as a resolver may well have at once; far below any server's limit.
_PIPELINED: Final = 8


def _truncation(ask: Asker, target: Target) -> str:
    for name, type_, dnssec_ok in (
        (target.zone, NS, False),
        (target.zone, TXT, False),
        (target.zone, DNSKEY, True),
        (absent_name(target.zone), A, True),
    ):
        # With DO the size must be said: the least there is.
        wire = question(name, type_, edns=dnssec_ok, payload=PLAIN_UDP_BYTES, dnssec_ok=dnssec_ok)
        whole = ask_tcp(ask, wire)
        if whole.is_truncated:
            raise Deviation("the whole answer over TCP", "TC over TCP")
        if len(whole.wire) <= PLAIN_UDP_BYTES:
            continue
        cut = ask.udp(wire, may_be_truncated=True)
        _expect_cut(cut, whole)
        return f"TC over UDP, {len(whole.wire)} bytes over TCP"
    raise NotApplicable(f"no answer of over {PLAIN_UDP_BYTES} bytes was found")


def _expect_cut(cut: Reply, whole: Reply) -> None:
    if len(cut.wire) > PLAIN_UDP_BYTES:
        raise Deviation(f"{PLAIN_UDP_BYTES} bytes at most over UDP", f"{len(cut.wire)}")
    # What is only additional may be left out without a word (RFC 2181, 9).
    if _records(cut.parse()) < _records(whole.parse()) and not cut.is_truncated:
        raise Deviation("TC, for records are missing", f"{len(cut.wire)} bytes without TC")


def _records(message: dns.message.Message) -> int:
    return sum(len(rrset) for section in (message.answer, message.authority) for rrset in section)


def _reuse(ask: Asker, target: Target) -> str:
    with ask.connect() as connection:
        for number in range(1, 4):
            wire = question(target.zone, SOA)
            connection.send(framed(wire))
            if _receive_all(connection, [wire]):
                raise Deviation("three answers on one connection", f"{number - 1}")
    return "three answers on one connection"


def _pipelining(ask: Asker, target: Target) -> str:
    wires = _questions(target)
    with ask.connect() as connection:
        for wire in wires:
            connection.send(framed(wire))
        return _expect_all(connection, wires)


def _one_segment(ask: Asker, target: Target) -> str:
    wires = _questions(target)
    with ask.connect() as connection:
        connection.send(b"".join(framed(wire) for wire in wires))
        return _expect_all(connection, wires)


def _segments(ask: Asker, target: Target) -> str:
    wire = question(target.zone, SOA)
    data = framed(wire)
    with ask.connect() as connection:
        for at in range(len(data)):
            connection.send(data[at : at + 1])
        if _receive_all(connection, [wire]):
            raise Deviation(f"an answer to a query in {len(data)} segments", "none")
    return f"answered in {len(data)} segments"


def _questions(target: Target) -> list[bytes]:
    """Queries whose identifiers are distinct."""
    wires = (question(target.zone, SOA if number % 2 else NS) for number in range(_PIPELINED))
    return [number.to_bytes(2, "big") + wire[2:] for number, wire in enumerate(wires, 1)]


def _expect_all(connection: Connection, wires: Sequence[bytes]) -> str:
    missing = _receive_all(connection, wires)
    if missing:
        raise Deviation(f"{len(wires)} answers", f"{len(wires) - missing}")
    return f"{len(wires)} answers"


def _receive_all(connection: Connection, wires: Sequence[bytes]) -> int:
    """How many answers are missing; they may come in any order (RFC 7766, 6.2.1.1)."""
    awaited = {wire[:2] for wire in wires}
    while awaited and (reply := connection.receive()) is not None:
        if reply.wire[:2] not in awaited:
            raise Deviation("each query answered once", "an answer that no query waits for")
        awaited.discard(reply.wire[:2])
    return len(awaited)


def _any(ask: Asker, target: Target) -> str:
    message = ask.udp(question(target.zone, ANY)).parse()
    expect_rcode(message, dns.rcode.NOERROR, "for ANY")
    types = {rrset.rdtype for rrset in message.answer if rrset.rdtype != RRSIG}
    if len(types) != 1:
        raise Deviation("one record set for ANY", describe(message))
    return describe(message)


def _transfer(ask: Asker, target: Target) -> str:
    for type_ in (AXFR, IXFR):
        message = ask_tcp(ask, question(target.zone, type_)).parse()
        expect_rcode(message, dns.rcode.REFUSED, f"for {dns.rdatatype.to_text(type_)}")
    zone_serial(ask_tcp(ask, question(target.zone, SOA)).parse())
    return "REFUSED"


POINTS: Final = (
    Point(
        "truncation",
        "RFC 2181, 9",
        "sets TC when an answer does not fit, and gives it over TCP",
        _truncation,
        needs=("tcp",),
    ),
    Point("tcp-reuse", "RFC 7766, 6.2.1", "keeps a connection", _reuse, needs=("tcp",)),
    Point(
        "tcp-pipelining",
        "RFC 7766, 6.2.1.1",
        "answers queries that do not wait for answers",
        _pipelining,
        needs=("tcp-reuse",),
    ),
    Point(
        "tcp-one-segment",
        "RFC 7766, 8",
        "answers all queries of a segment",
        _one_segment,
        needs=("tcp-reuse",),
    ),
    Point(
        "tcp-segments",
        "RFC 7766, 8",
        "answers a query cut into many segments",
        _segments,
        needs=("tcp",),
    ),
    Point("any", "RFC 8482, 4.1", "answers ANY with one record set", _any, Scope.REGISTRY),
    Point(
        "transfer",
        "RFC 5936, 5",
        "gives no zone transfer",
        _transfer,
        Scope.REGISTRY,
        needs=("tcp",),
    ),
)
