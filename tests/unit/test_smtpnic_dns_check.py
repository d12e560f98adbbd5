"""The checklist of dns-check: how a point is judged, and that no answer can break it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpnic.cli import main
from smtpnic.dns_check.asker import Connection, Silence
from smtpnic.dns_check.basics import malformed_messages
from smtpnic.dns_check.checklist import CHECKLIST, UnansweredError, points_for, run
from smtpnic.dns_check.message import Reply, describe, question, question_bytes, with_opt
from smtpnic.dns_check.point import Deviation, NotApplicable, Point, Scope, Target, Verdict
from tests.support.model_server import (
    LIST_ZONE,
    REGISTERED,
    UNLISTED_ZONE,
    ZONE,
    Model,
    new_model,
)

TARGET = Target(ZONE, LIST_ZONE, UNLISTED_ZONE, REGISTERED)


class StreamInMemory:
    """A TCP connection to a model, without a socket."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._sent = b""

    def send(self, data: bytes) -> None:
        self._sent += data

    def finish(self) -> None:
        """Nothing more comes."""

    def receive(self) -> Reply | None:
        end = 2 + int.from_bytes(self._sent[:2], "big")
        if len(self._sent) < max(end, 2):
            return None
        wire, self._sent = self._sent[2:end], self._sent[end:]
        answer = self._model.answer(wire, "tcp")
        return None if answer is None else Reply(answer)

    def closed_after(self, most_seconds: float) -> float | None:
        """There is no time here."""
        return 0.0


class AskerInMemory:
    """Asks a model without sockets or time."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def udp(self, wire: bytes, *, may_be_truncated: bool = False) -> Reply:
        answer = self._model.answer(wire, "udp")
        if answer is None:
            raise Silence("an answer", "silence")
        return Reply(answer)

    def volley(self, wires: Sequence[bytes]) -> list[Reply | None]:
        # What is asked in the same words is answered in the same words, and costs its time once.
        answer_to = cache(lambda asked: self._model.answer(bytes(2) + asked, "udp"))
        found = [(wire[:2], answer_to(wire[2:])) for wire in wires]
        return [None if answer is None else Reply(id_ + answer[2:]) for id_, answer in found]

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        yield StreamInMemory(self._model)

    def reactions(self, wires: Sequence[bytes], probe: bytes) -> list[bytes]:
        self.udp(probe)
        answers = [self._model.answer(wire, "udp") for wire in wires]
        return [answer for answer in answers if answer is not None]


def answering(answer: bytes) -> AskerInMemory:
    """Whatever is asked, the answer is these bytes behind the query's identifier."""
    model = new_model()
    model.intercept = lambda wire, _: wire[:2] + answer
    return AskerInMemory(model)


def a_point(name: str, came: str | Exception, *needs: str) -> Point:
    def check(_ask: object, _target: Target) -> str:
        if isinstance(came, Exception):
            raise came
        return came

    return Point(name, "RFC 1035, 1", "does", check, needs=needs)


def verdicts(*points: Point) -> dict[str, tuple[Verdict, str]]:
    results = run(AskerInMemory(new_model()), TARGET, points)
    return {result.point.name: (result.verdict, result.why) for result in results}


def test_a_point_passes_fails_or_is_not_applicable() -> None:
    """The reason stands beside each: what came, what was expected, what is missing."""
    assert verdicts(
        a_point("a", "NXDOMAIN"),
        a_point("b", Deviation("NXDOMAIN", "NOERROR")),
        a_point("c", NotApplicable("give --registered")),
    ) == {
        "a": (Verdict.PASS, "NXDOMAIN"),
        "b": (Verdict.FAIL, "expected NXDOMAIN; came NOERROR"),
        "c": (Verdict.NOT_APPLICABLE, "give --registered"),
    }


def test_a_point_is_not_asked_when_one_that_it_needs_has_not_passed() -> None:
    """One fault shows once; it is followed through."""
    found = verdicts(
        a_point("a", Deviation("this", "that")), a_point("b", "", "a"), a_point("c", "", "b")
    )
    assert (Verdict.NOT_APPLICABLE, "see a") == found["b"]
    assert (Verdict.NOT_APPLICABLE, "see b") == found["c"]


def test_silence_over_udp_and_tcp_is_no_matter_of_points() -> None:
    """Silence over one of them fails a point; over both, nobody is there."""
    silent = Silence("an answer", "silence")
    assert (Verdict.FAIL, "expected an answer; came silence") == verdicts(a_point("udp", silent))[
        "udp"
    ]
    with pytest.raises(UnansweredError):
        verdicts(a_point("udp", silent), a_point("tcp", silent))


def test_each_point_is_told_before_it_is_asked() -> None:
    """A progress can be shown."""
    told: list[str] = []
    points = [a_point("a", ""), a_point("b", "")]
    run(AskerInMemory(new_model()), TARGET, points, lambda point: told.append(point.name))
    assert ["a", "b"] == told


def test_a_foreign_server_is_asked_no_point_of_the_registry() -> None:
    """--generic leaves out what the registry's zones promise."""
    generic = points_for(Target(ZONE, generic=True))
    assert {Scope.GENERIC} == {point.scope for point in generic}
    assert len(CHECKLIST) == len(points_for(TARGET)) > len(generic)


def test_the_checklist_is_in_order() -> None:
    """Names are unique, needed points come first, references name a section."""
    names = [point.name for point in CHECKLIST]
    assert len(names) == len(set(names))
    for number, point in enumerate(CHECKLIST):
        assert set(point.needs) <= set(names[:number])
        assert re.fullmatch(r"RFC \d+, [\d.]+", point.reference)


def test_every_point_passes_at_a_model_without_fault() -> None:
    """In memory as over sockets."""
    results = run(AskerInMemory(new_model()), TARGET, CHECKLIST)
    assert [] == [result for result in results if result.verdict is not Verdict.PASS]


@given(st.binary(max_size=200))
def test_no_answer_breaks_the_checklist(answer: bytes) -> None:
    """Any bytes lead to verdicts, never to an error of the program."""
    assert run(answering(answer), TARGET, CHECKLIST)


@given(st.data())
def test_no_damage_to_an_answer_breaks_the_checklist(data: st.DataObject) -> None:
    """Answers that are nearly right, too."""
    model = new_model()
    at = data.draw(st.integers(2, 60))
    byte = data.draw(st.integers(0, 255))

    def damage(_query: bytes, wire: bytes, _how: str) -> bytes:
        return wire[:at] + bytes([byte]) + wire[at + 1 :] if len(wire) > at else wire

    model.amend_bytes = damage
    assert run(AskerInMemory(model), TARGET, CHECKLIST)


@pytest.mark.parametrize("name", malformed_messages(ZONE))
def test_what_is_sent_as_malformed_is(name: str) -> None:
    """An independent parser refuses each."""
    with pytest.raises((dns.exception.DNSException, ValueError)):
        dns.message.from_wire(malformed_messages(ZONE)[name])


def test_a_query_has_an_opt_record_only_when_it_is_to() -> None:
    """Fields that dnspython would not write are written as told."""
    plain = question(ZONE, dns.rdatatype.SOA)
    assert dns.message.from_wire(plain).opt is None
    strange = dns.message.from_wire(with_opt(plain, 100, 3, 0x7FFF))
    assert (3, 100, 0x7FFF) == (strange.edns, strange.payload, strange.ednsflags & 0xFFFF)


def test_the_question_is_found_in_a_query() -> None:
    """With and without an OPT record behind it."""
    expected = b"\7smtpnic\7example\0\0\6\0\1"
    assert expected == question_bytes(question(ZONE, dns.rdatatype.SOA))
    assert expected == question_bytes(question(ZONE, dns.rdatatype.SOA, edns=True))


def test_an_answer_is_described_in_a_few_words() -> None:
    """The code, the first records, and how many more there are."""
    message = dns.message.make_response(dns.message.make_query("a.example", "A"))
    message.answer.append(
        dns.rrset.from_text("a.example.", 1, "IN", "A", *(f"192.0.2.{n}" for n in range(5)))
    )
    expected = "NOERROR; answer A 192.0.2.0, A 192.0.2.1, A 192.0.2.2 and 2 more"
    assert expected == describe(message)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--zone", "a..b", (2, "--zone: 'a..b' is not a domain name")),
        ("--list-zone", "a..b", (2, "--list-zone")),
        ("--registered", "mail.example.org", (3, "not an IP address")),
        ("--port", "0", (2, "port")),
    ],
)
def test_a_wrong_option_is_named(
    option: str,
    value: str,
    expected: tuple[int, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is asked."""
    code, words = expected
    assert code == main(["dns-check", "127.0.0.1", option, value])
    assert words in capsys.readouterr().err


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """What it does, how it is called, what the exit codes mean."""
    assert 0 == main(["dns-check", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in ("smtpnic dns-check 192.0.2.53", "--generic", "--registered", "Exit code 0"):
        assert words in text
