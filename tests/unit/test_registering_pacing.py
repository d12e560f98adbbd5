"""Two queries a second to one name server, and no more."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from primary.registering import pacing
from primary.registering.pacing import MAX_WAIT_SECONDS, QUERIES_A_SECOND, Pace


@given(steps=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 4)), max_size=60))
def test_a_server_is_never_asked_more(steps: list[tuple[float, int]]) -> None:
    """Whenever turns are asked for, and for however many queries: between two there is time."""
    pace, now, asked = Pace(), 0.0, []
    for pause, queries in steps:
        now += pause
        wait = pace.turn("ns.example.org", queries, now)
        if wait is not None:
            assert 0 <= wait <= MAX_WAIT_SECONDS
            asked.append((now + wait, queries))

    for (at, queries), (later, _) in pairwise(asked):
        assert later - at >= queries / QUERIES_A_SECOND - 1e-6


def test_one_server_does_not_hold_up_another() -> None:
    """Each has turns of its own."""
    pace = Pace()
    assert [pace.turn(name, 2, 0.0) for name in ("a", "a", "b", "a", "b")] == [0, 1, 0, 2, 1]


def test_who_would_wait_long_comes_again() -> None:
    """And has no place meanwhile: the next turn is as near as it was."""
    pace = Pace()
    given_out = [pace.turn("a", 2, 0.0) for _ in range(100)]
    assert given_out[11:] == [None] * 89
    assert pace.turn("a", 2, 1.0) == MAX_WAIT_SECONDS


def test_what_others_ask_counts_too() -> None:
    """However much it is: the next turn is as much later, or another day."""
    pace = Pace()
    pace.charge("a", 3, 0.0)
    assert pace.turn("a", 2, 0.0) == 1.5
    pace.charge("a", 100, 0.0)
    assert pace.turn("a", 2, 0.0) is None


def test_only_so_many_are_remembered() -> None:
    """The longest known is forgotten."""
    pace = Pace()
    for number in range(pacing.MAX_SERVERS + 1):
        pace.turn(f"ns{number}", 2, 0.0)
    assert [pace.turn("ns0", 2, 0.0), pace.turn("ns2", 2, 0.0)] == [0, 1]
