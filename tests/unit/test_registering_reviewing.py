"""When an active registration lapses, and when it comes back."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primary.registering.judging import Subject
from primary.registering.reviewing import (
    DAYS_TO_LAPSE,
    GRACE_DAYS,
    Action,
    hold_back,
    may_lapse,
    review,
)
from primary.registering.schedule import (
    DAY_MS,
    HOUR_MS,
    MAX_PERIOD_MS,
    REVIEW_MS,
    Trial,
    review_period,
)
from primary.registering.standing import Standing
from registry.address import Address
from registry.decision import SetLapses

NOW = 20_000 * DAY_MS
SUBJECT = Subject(bytes(16), Address.parse("192.0.2.36"), "mail.example.org", "example.org")
SOUND = Standing(SUBJECT, "", Trial.passed(NOW, Random(0)))


def look(
    standing: Standing, now_ms: int, *, held: bool, known: bool = True
) -> tuple[Action, Standing]:
    return review(standing, now_ms, held=held, known=known, dice=Random(1), period_ms=REVIEW_MS)


def test_failures_on_three_days_let_it_lapse() -> None:
    """The holder is told on the first and on the second."""
    standing, actions = SOUND, []
    for day in range(DAYS_TO_LAPSE):
        action, standing = look(standing, NOW + day * DAY_MS, held=False)
        actions.append(action)

    assert actions == [Action.WARN, Action.WARN, Action.LAPSE]
    assert standing.lapsed_ms == NOW + 2 * DAY_MS


def test_a_bad_day_is_one_failure() -> None:
    """However often it is looked at."""
    standing, actions = SOUND, []
    for hour in range(24):
        action, standing = look(standing, NOW + hour * HOUR_MS, held=False)
        actions.append(action)

    assert actions == [Action.WARN, *[Action.NOTHING] * 23]


@given(st.lists(st.booleans(), max_size=30))
def test_what_cannot_be_told_is_no_failure(silences: list[bool]) -> None:
    """SERVFAIL for a month: nothing lapses, and nobody is told anything."""
    standing = SOUND
    for day, _ in enumerate(silences):
        action, standing = look(standing, NOW + day * DAY_MS, held=False, known=False)
        assert action is Action.NOTHING
    assert standing.failed_days == 0


def test_one_good_look_forgets_the_bad_ones() -> None:
    """Three days in a row are meant, not three in a year."""
    standing = replace(SOUND, failed_days=2, failed_day=NOW // DAY_MS - 1)
    action, standing = look(standing, NOW, held=True)

    assert (action, standing.failed_days) == (Action.NOTHING, 0)


def test_a_good_look_is_the_date_of_verification() -> None:
    """A bad one, and one that cannot be told, leave the date that there was."""
    verified = look(SOUND, NOW, held=True)[1]
    assert verified.verified_ms == NOW
    for known in (True, False):
        later = look(verified, NOW + DAY_MS, held=False, known=known)[1]
        assert later.verified_ms == NOW


def test_what_lapsed_comes_back_when_it_is_mended() -> None:
    """Within a month, by itself; after that nobody looks any more."""
    lapsed = replace(SOUND, failed_days=3, lapsed_ms=NOW)
    assert look(lapsed, NOW + DAY_MS, held=False)[0] is Action.NOTHING
    action, standing = look(lapsed, NOW + (GRACE_DAYS - 1) * DAY_MS, held=True)
    assert (action, standing.lapsed_ms, standing.failed_days) == (Action.RESTORE, 0, 0)
    assert look(lapsed, NOW + GRACE_DAYS * DAY_MS, held=False)[0] is Action.END


@pytest.mark.parametrize(
    ("held", "known", "days"), [(True, True, 30), (False, True, 1), (False, False, 1)]
)
def test_the_policy_says_how_often_what_holds_is_looked_at(
    held: bool, known: bool, days: int
) -> None:
    """What fails, or cannot be told, is looked at every day whatever the policy."""
    _, standing = review(SOUND, NOW, held=held, known=known, dice=Random(1), period_ms=30 * DAY_MS)
    assert 0.75 * days * DAY_MS <= standing.trial.look_ms - NOW <= 1.25 * days * DAY_MS


def test_a_policy_beyond_all_bounds_is_a_year() -> None:
    """A root may name any number; nothing is left alone for ever."""
    assert MAX_PERIOD_MS == review_period(2**62)
    assert 30 * DAY_MS == review_period(30 * DAY_MS // 1000)


def test_looks_are_spread() -> None:
    """What became active together is not looked at together for ever."""
    times = {
        review(SOUND, NOW, held=True, known=True, dice=Random(seed), period_ms=REVIEW_MS)[
            1
        ].trial.look_ms
        for seed in range(20)
    }
    assert len(times) == 20
    assert all(abs(time - NOW - DAY_MS) <= DAY_MS / 4 for time in times)


@pytest.mark.parametrize(
    ("lapsed", "registrations", "may"),
    [
        (0, 0, True),
        (3, 10, False),
        (2, 10, True),
        (4_999, 1_000_000, True),
        (5_000, 1_000_000, False),
    ],
)
def test_not_all_lapse_at_once(lapsed: int, registrations: int, may: bool) -> None:
    """One in two hundred a day; more is likelier our own fault."""
    assert may_lapse(lapsed, registrations, None) == may


def test_the_board_decides_what_many_come_to() -> None:
    """All of them, or none; whatever the numbers."""
    assert may_lapse(10, 10, SetLapses(True, 0))
    assert not may_lapse(0, 10, SetLapses(False, 0))


def test_what_is_held_back_may_lapse_within_the_day() -> None:
    """Once the board has decided; it needs no fourth bad day."""
    action, standing = look(replace(SOUND, failed_days=2), NOW, held=False)
    assert action is Action.LAPSE
    waiting = hold_back(standing, NOW, Random(0))
    assert (waiting.lapsed_ms, waiting.failed_days) == (0, DAYS_TO_LAPSE)
    assert waiting.trial.look_ms < NOW + 3 * HOUR_MS
    assert look(waiting, NOW + HOUR_MS, held=False)[0] is Action.LAPSE
    assert look(waiting, NOW + HOUR_MS, held=True)[1].failed_days == 0
