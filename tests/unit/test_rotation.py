"""The A record set's core: health with hysteresis, changes at a pace, names spread."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primary.rotation.deciding import Candidate, Decider, Outcome, Pace
from primary.rotation.health import PRIMARY, Health, Hysteresis, Sight, Verdict, judge
from primary.rotation.placing import Standing, place
from registry.address import Address
from registry.member import MAX_ADDRESSES_PER_PLACE, Announced

BAD, GOOD = Verdict("no answer"), Verdict()
NAMES = [f"m{number}" for number in range(8)]


def decide_all(
    pace: Pace, problems: list[set[int]], in_set: set[str], step_seconds: float
) -> list[set[str]]:
    """The set before, and after each round in which these have problems."""
    decider, sets = Decider(pace), [in_set]
    for number, ill in enumerate(problems):
        candidates = {
            name: Candidate(name in sets[-1], "ill" if at in ill else "")
            for at, name in enumerate(NAMES)
        }
        outcomes = decider.decide(candidates, number * step_seconds)
        sets.append({name for name, one in outcomes.items() if one.is_in_set})
    return sets


rounds = st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=60)
paces = st.builds(Pace, st.integers(1, 4), st.floats(1, 100), st.integers(1, 6))


@given(problems=rounds, pace=paces, in_set=st.sets(st.sampled_from(NAMES)))
def test_never_below_the_floor(problems: list[set[int]], pace: Pace, in_set: set[str]) -> None:
    """Whoever is ill, the set only shrinks while more than the floor are in it."""
    for before, after in pairwise(decide_all(pace, problems, in_set, 30)):
        assert len(after) >= min(len(before), pace.floor)


@given(problems=rounds, pace=paces, step=st.floats(0, 50))
def test_never_faster_than_the_pace(problems: list[set[int]], pace: Pace, step: float) -> None:
    """Whoever leaves, time has given a change for it; at once no more leave than may."""
    sets = decide_all(pace, problems, set(NAMES), step)
    removed = sum(len(before - after) for before, after in pairwise(sets))
    gained = (len(problems) - 1) * step / pace.seconds_per_change
    assert removed <= gained + 1e-6
    for before, after in pairwise(sets):
        assert len(before - after) <= pace.changes


def test_all_ill_at_once_are_not_taken_out_at_once() -> None:
    """However long they are seen ill, the floor stays."""
    sets = decide_all(Pace(2, 600.0, 3), [set(range(8))] * 1000, set(NAMES), 30)
    assert 8 == len(sets[1])
    assert 3 == len(sets[-1])


def test_below_the_floor_help_is_taken_at_once() -> None:
    """A registry that begins has its set in the first round."""
    sets = decide_all(Pace(2, 600.0, 3), [set()], set(), 30)
    assert {"m0", "m1", "m2"} == sets[-1]


def test_the_ill_make_room_for_the_well() -> None:
    """At the floor, one that is well comes in first, and then one that is ill leaves."""
    decider = Decider(Pace(2, 1.0, 1))
    decider.decide({}, 0.0)
    candidates = {"ill": Candidate(True, "lags"), "well": Candidate(False)}
    outcomes = decider.decide(candidates, 10.0)
    assert {"ill": Outcome(False, "lags"), "well": Outcome(True)} == outcomes


def test_what_is_kept_says_why() -> None:
    """At the floor, and while no change may come."""
    candidates = {"m1": Candidate(True, "lags"), "m2": Candidate(True)}
    at_floor = Decider(Pace(1, 1.0, 2)).decide(candidates, 0.0)
    assert "floor" in at_floor["m1"].reason
    waiting = Decider(Pace(1, 1.0, 1)).decide(candidates, 0.0)
    assert (True, True) == (waiting["m1"].is_in_set, "few changes" in waiting["m1"].reason)


@given(verdicts=st.lists(st.booleans(), min_size=1, max_size=100))
def test_hysteresis(verdicts: list[bool]) -> None:
    """Ill after 3 bad rounds of 5, well after 5 good ones in a row, and nothing else moves it."""
    health, well = Health(Hysteresis(5, 3, 5)), True
    for number, is_good in enumerate(verdicts):
        health.observe("m1", GOOD if is_good else BAD, is_in_set=True)
        last = verdicts[max(0, number - 4) : number + 1]
        if well and last.count(False) >= 3:
            well = False
        elif not well and last == [True] * 5:
            well = True
        assert well == health.is_well("m1")


def test_one_bad_round_takes_nobody_out() -> None:
    """Nor does one good round let somebody in who was not in before."""
    health = Health(Hysteresis())
    health.observe("in", BAD, is_in_set=True)
    health.observe("out", GOOD, is_in_set=False)
    assert (True, False, False) == tuple(map(health.is_well, ("in", "out", "unknown")))
    assert "well for 1 of 5 rounds" == health.problem("out")


@pytest.mark.parametrize(
    ("sights", "lag", "expected"),
    [
        ([Sight(PRIMARY)], "", ""),
        ([Sight(PRIMARY, "no answer")], "", "seen from primary: no answer"),
        ([Sight(PRIMARY, "no answer"), Sight("m2")], "", ""),
        ([Sight(PRIMARY), Sight("m2", "a lie")], "", ""),
        ([Sight(PRIMARY), Sight("m2", "x"), Sight("m3", "x")], "", ""),
        (
            [Sight(PRIMARY), Sight("m2", "x"), Sight("m3", "x"), Sight("m4", "x")],
            "",
            "seen from m2: x",
        ),
        ([Sight("m2", "x"), Sight("m2", "x"), Sight(PRIMARY)], "", ""),
        ([Sight(PRIMARY)], "behind", "behind"),
        ([], "", "nobody looked"),
    ],
)
def test_most_have_to_see_it(sights: list[Sight], lag: str, expected: str) -> None:
    """A vantage point has one word, and more than half have to agree; who lags is out anyway."""
    assert Verdict(expected) == judge(sights, lag)


standings = st.dictionaries(
    st.sampled_from([f"m{number}" for number in range(20)]),
    st.builds(
        lambda operator, region, number, count, places: Standing(
            Announced(
                operator, region, tuple(Address(bytes([192, 0, number, n])) for n in range(count))
            ),
            places,
        ),
        st.sampled_from(["one", "two", "three", ""]),
        st.sampled_from(["eu", "us", "ap"]),
        st.integers(0, 255),
        st.integers(1, 3),
        st.lists(st.sampled_from("abx"), max_size=2, unique=True).map(tuple),
    ),
)


@given(standings=standings)
def test_places_hold_what_an_answer_holds(standings: dict[str, Standing]) -> None:
    """Never more addresses than fit, no name empty while others are not, and it is settled."""
    found = place(standings, "abc")
    assert set(standings) == set(found)
    for each in "abc":
        there = [name for name in found if each in found[name]]
        count = sum(len(standings[name].announced.addresses) for name in there)
        assert count <= MAX_ADDRESSES_PER_PLACE
        assert there or not any(found.values())
    again = {name: Standing(one.announced, found[name]) for name, one in standings.items()}
    assert found == place(again, "abc")


def test_spread_over_operators() -> None:
    """Two operators with a mirror in each of two regions: each name has one of both operators."""
    mirrors = [("m1", "one", "eu"), ("m2", "one", "us"), ("m3", "two", "eu"), ("m4", "two", "us")]
    standings = {
        name: Standing(Announced(operator, region, (Address(bytes([192, 0, 2, at])),)))
        for at, (name, operator, region) in enumerate(mirrors)
    }
    found = place(standings, "ab")
    for each in "ab":
        there = {standings[name].announced.operator for name in found if each in found[name]}
        assert {"one", "two"} == there


def test_who_comes_moves_nobody() -> None:
    """The others stay under their names, so that caches stay right."""
    before = {
        name: Standing(Announced("one", "eu", (Address(bytes([192, 0, 2, at])),)), (where,))
        for at, (name, where) in enumerate([("m1", "a"), ("m2", "b"), ("m3", "b")])
    }
    found = place(
        {**before, "m0": Standing(Announced("two", "us", (Address(bytes([192, 0, 2, 9])),)))}, "ab"
    )
    assert {"m0": ("a",), "m1": ("a",), "m2": ("b",), "m3": ("b",)} == found
