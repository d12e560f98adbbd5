"""Back-off: growth, bounds, jitter, reset."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.limits import BACKOFF_JITTER, BACKOFF_MAX_SECONDS
from node.retry import Backoff


@given(seed=st.integers(), failures=st.integers(1, 60))
def test_delays_stay_within_their_bounds(seed: int, failures: int) -> None:
    """However often it fails, a delay is positive and at most a fifth above the maximum."""
    backoff = Backoff(Random(seed))

    for _ in range(failures):
        assert 0 < backoff.next_delay() <= BACKOFF_MAX_SECONDS * (1 + BACKOFF_JITTER)


def test_delays_grow_to_the_maximum() -> None:
    """Without jitter, each delay is 1.6 times the last, until the maximum."""

    class Middle(Random):
        def uniform(self, a: float, b: float) -> float:
            return (a + b) / 2

    backoff = Backoff(Middle(), first_seconds=1.0, max_seconds=3.0)

    assert [1.0, 1.6, 2.56, 3.0, 3.0] == pytest.approx([backoff.next_delay() for _ in range(5)])


def test_same_random_gives_the_same_delays() -> None:
    """Nothing but the given source of randomness decides."""
    first, second = Backoff(Random(7)), Backoff(Random(7))

    assert [first.next_delay() for _ in range(9)] == [second.next_delay() for _ in range(9)]


def test_many_clients_do_not_return_at_once() -> None:
    """The jitter spreads those that failed together."""
    delays = {round(Backoff(Random(seed)).next_delay(), 4) for seed in range(100)}

    assert len(delays) > 50


def test_success_starts_it_again() -> None:
    """After a reset the first delay is short again."""
    backoff = Backoff(Random(1), first_seconds=1.0)
    for _ in range(10):
        backoff.next_delay()

    backoff.reset()

    assert backoff.next_delay() <= 1.0 + BACKOFF_JITTER


@pytest.mark.parametrize(("first", "maximum"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_delays_that_make_no_sense_are_refused(first: float, maximum: float) -> None:
    """A back-off that never waits is none."""
    with pytest.raises(ValueError, match="is no back-off"):
        Backoff(Random(), first_seconds=first, max_seconds=maximum)
