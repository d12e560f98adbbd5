"""Counts of answers: by type and response code, and by how long they took."""

from __future__ import annotations

from random import Random

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondary.dns.counters import BUCKET_SECONDS, TYPES, AnswerCounter
from secondary.dns.implementation import Implementation
from secondary.dns.rate_limit import RateLimits
from secondary.dns.reply import Transport
from tests.support.fast_path import Both, mutated, random_query
from tests.support.views import NOW_S


def answer(kind: str, rcode: str = "NOERROR", name: str = "192-0-2-1.smtpnic.org.") -> bytes:
    reply = dns.message.make_response(dns.message.make_query(name, kind))
    reply.set_rcode(dns.rcode.from_text(rcode))
    return reply.to_wire()


@pytest.mark.parametrize("kind", TYPES.values())
def test_answers_are_counted_by_type_and_response_code(kind: str) -> None:
    """Each type that receivers and resolvers ask for has its own count."""
    counter = AnswerCounter(Transport.UDP)
    counter.answered(answer(kind))
    counter.answered(answer(kind, "NXDOMAIN"))
    counter.answered(answer(kind, "NXDOMAIN"))

    assert {(kind, "NOERROR", 1), (kind, "NXDOMAIN", 2)} == set(counter.by_kind())


@given(kind=st.integers(1, 65535).filter(lambda kind: kind not in TYPES))
def test_any_other_type_is_one_kind(kind: int) -> None:
    """Whatever strangers ask for, the labels stay few."""
    counter = AnswerCounter(Transport.UDP)
    counter.answered(answer(f"TYPE{kind}"))

    assert [("other", "NOERROR", 1)] == list(counter.by_kind())


@given(st.binary(min_size=2, max_size=2))
def test_an_answer_without_a_question_is_of_no_type(identifier: bytes) -> None:
    """A header alone has none, whatever its identifier looks like."""
    counter = AnswerCounter(Transport.UDP)
    counter.answered(identifier + b"\x80\x01" + bytes(8))

    assert [("other", "FORMERR", 1)] == list(counter.by_kind())


@given(st.integers(0, 1 << 40))
def test_a_time_is_counted_in_the_bucket_that_ends_above_it(microseconds: int) -> None:
    """The bounds are those that Prometheus is told."""
    counter = AnswerCounter(Transport.UDP)
    counter.took(3, microseconds)
    expected = [bound for bound in BUCKET_SECONDS if microseconds / 1e6 < bound]
    bucket = len(BUCKET_SECONDS) - len(expected)

    assert [3 if place == bucket else 0 for place in range(16)] == counter.times
    assert 3 * microseconds == counter.total_us


@pytest.mark.parametrize("limits", [RateLimits(0, 0, 0), RateLimits(1, 1, 1)])
def test_the_fast_path_counts_what_its_answers_show(limits: RateLimits) -> None:
    """In pure Python it counts by what it knows of the query, truncated or not, malformed too."""
    both, random, client = Both(Implementation.PURE, limits), Random(7), bytes((192, 0, 2, 1))
    counter, expected = AnswerCounter(Transport.UDP), AnswerCounter(Transport.UDP)
    queries = [random_query(random) for _ in range(600)]
    queries += [mutated(random, query) for query in queries]
    for begin in range(0, len(queries), 64):
        batch = [(query, client) for query in queries[begin : begin + 64]]
        for reply in both.fast.answer_all(both.table, counter.answers, batch, int(NOW_S), 10**9):
            if reply:
                expected.answered(reply)

    assert expected.answers == counter.answers
    assert len(list(counter.by_kind())) > 10
