"""What the benchmarks count: percentiles, and closed loops of calls."""

from __future__ import annotations

import os
import threading
from fractions import Fraction
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.http2 import CallError
from bench.load import ClosedLoop, Measured, percentile, pinned
from tests.support.unary_server import echo, serve_unary


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, 0.0),
        ([7.0], 1, 7.0),
        ([7.0], 99, 7.0),
        ([2.0, 1.0], 50, 1.0),
        ([2.0, 1.0], 51, 2.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        # The usual example of the nearest rank.
        ([15, 20, 35, 40, 50], 5, 15),
        ([15, 20, 35, 40, 50], 30, 20),
        ([15, 20, 35, 40, 50], 40, 20),
        ([15, 20, 35, 40, 50], 50, 35),
        ([15, 20, 35, 40, 50], 100, 50),
        (range(1, 101), 7, 7),
        (range(1, 101), 50, 50),
        (range(1, 101), 99, 99),
        (range(1, 102), 99, 100),
        (range(1, 1001), 99, 990),
    ],
)
def test_a_percentile_is_of_the_nearest_rank(
    values: list[float], percent: int, expected: float
) -> None:
    """A value that was measured; of a hundred the 99th percentile is the 99th, not the last."""
    assert expected == percentile(values, percent)


@given(st.lists(st.integers(0, 20).map(float), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_that_so_many_do_not_exceed(
    values: list[float], percent: int
) -> None:
    """Its definition, tried on every value."""

    def share(limit: float) -> Fraction:
        return Fraction(100 * sum(value <= limit for value in values), len(values))

    expected = min(value for value in values if share(value) >= percent)
    assert expected == percentile(values, percent)


def test_calls_a_second() -> None:
    """Of all clients together."""
    assert Measured(calls=30, seconds=1.5, p50_ms=1.0, p99_ms=2.0).per_second == 20.0


def test_a_loop_sends_each_message_once_and_counts_the_answers() -> None:
    """All clients share the messages; the loop ends when they do."""
    seen: list[bytes] = []
    lock = threading.Lock()

    def take(value: bytes, _context: Any) -> bytes:
        with lock:
            seen.append(value)
        return b"taken"

    messages = [str(number).encode() for number in range(50)]
    with serve_unary(take) as target:
        loop = ClosedLoop(target, clients=4)
        measured = loop.run(iter(messages), seconds=60)
        loop.close()
    assert sorted(messages) == sorted(seen)
    assert (50, True) == (measured.calls, 0 < measured.seconds < 60)
    assert 0 < measured.p50_ms <= measured.p99_ms <= measured.seconds * 1000


def test_a_loop_ends_when_its_time_is_over() -> None:
    """With the calls on their way answered, and no other begun."""
    with serve_unary(echo) as target:
        loop = ClosedLoop(target, clients=3)
        measured = loop.run(iter([b"x"] * 1000), seconds=0.0)
        loop.close()
    assert 3 == measured.calls


def test_a_refused_call_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals are fast, and are no answers; nor is silence waited out."""
    silence = threading.Event()

    def refuse(value: bytes, context: Any) -> bytes:
        if value == b"silence":
            silence.wait(10)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")
        raise AssertionError("abort raises")

    monkeypatch.setattr("bench.load.MAX_SILENCE_SECONDS", 0.2)
    with serve_unary(refuse) as target:
        refused, silent = ClosedLoop(target, clients=1), ClosedLoop(target, clients=1)
        with pytest.raises(CallError, match="no answer within"):
            silent.run(iter([b"silence"]), seconds=1)
        silence.set()
        monkeypatch.undo()
        with pytest.raises(CallError, match="refused"):
            refused.run(iter([b"refuse"]), seconds=1)
        refused.close()
        silent.close()


def test_a_pinned_process_is_let_go_again() -> None:
    """On one core within, on all that it had afterwards; also when what ran there failed."""
    before = os.sched_getaffinity(0)
    core = min(before)
    with pinned(core):
        assert {core} == os.sched_getaffinity(0)
    with pytest.raises(CallError), pinned(core):
        raise CallError
    with pinned(None):
        assert before == os.sched_getaffinity(0)
    assert before == os.sched_getaffinity(0)
