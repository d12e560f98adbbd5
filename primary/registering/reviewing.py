"""Staying true: registrations are looked at again and again, and lapse for good reason only.

While one holds, the board's policy says how often; where it does not, it is looked at every day.
It takes failures on three different days. What could not be told is no failure, one resolver alone
sees none, and where many would lapse at once the fault is likelier to be ours.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto
from random import Random
from typing import Final

from primary.registering.schedule import (
    DAY_MS,
    RETRY_MS,
    REVIEW_MS,
    Trial,
    jittered,
    next_review,
)
from primary.registering.standing import Standing
from registry.decision import SetLapses

# A weekend's outage is two days.
DAYS_TO_LAPSE: Final = 3
# How long what lapsed is looked at, and comes back by itself when it is mended.
GRACE_DAYS: Final = 30
# Resolvers in more than one place have to see it.
MIN_VANTAGE_POINTS: Final = 2
# Of all registrations, in a day: one in two hundred.
LAPSES_A_DAY: Final = 1 / 200
# A young register would hardly be allowed any.
MIN_LAPSES_A_DAY: Final = 3


class Action(Enum):
    """What a look at a registration leads to."""

    NOTHING = auto()
    WARN = auto()
    LAPSE = auto()
    RESTORE = auto()
    END = auto()


def review(
    standing: Standing, now_ms: int, *, held: bool, known: bool, dice: Random, period_ms: int
) -> tuple[Action, Standing]:
    """What is to be done, and how the registration then stands.

    `held`: its names lead to each other; `known`: that could be told; `period_ms`: how often it is
    looked at while it holds.
    """
    look_ms = next_review(now_ms, dice, period_ms if held else REVIEW_MS)
    later = replace(standing, trial=replace(standing.trial, look_ms=look_ms))
    if held:
        sound = replace(later, failed_days=0, failed_day=0, lapsed_ms=0, verified_ms=now_ms)
        if not standing.lapsed_ms:
            return Action.NOTHING, sound
        if not standing.trial.is_passed:
            # What had not shown that it stays has that before it still.
            sound = replace(sound, trial=Trial.begin(now_ms, dice))
        return Action.RESTORE, sound
    if standing.lapsed_ms:
        is_over = now_ms >= grace_ends(standing)
        return (Action.END if is_over else Action.NOTHING), later
    day = now_ms // DAY_MS
    is_counted = day == standing.failed_day
    failed_days = standing.failed_days + (not is_counted)
    if not known or (is_counted and failed_days < DAYS_TO_LAPSE):
        return Action.NOTHING, later
    failing = replace(later, failed_days=failed_days, failed_day=day)
    if failed_days < DAYS_TO_LAPSE:
        return Action.WARN, failing
    return Action.LAPSE, replace(failing, lapsed_ms=now_ms)


def give_up(standing: Standing, now_ms: int, dice: Random) -> Standing:
    """How it stands where too many proofs of the first week did not come: as after the last of
    the bad days.
    """
    trial = replace(standing.trial, look_ms=next_review(now_ms, dice))
    return replace(
        standing,
        trial=trial,
        failed_days=DAYS_TO_LAPSE,
        failed_day=now_ms // DAY_MS,
        lapsed_ms=now_ms,
    )


def grace_ends(standing: Standing) -> int:
    """Until when what lapsed is looked at, and comes back by itself."""
    return standing.lapsed_ms + GRACE_DAYS * DAY_MS


def hold_back(standing: Standing, now_ms: int, dice: Random) -> Standing:
    """How a registration stands that would lapse, and may not now: looked at again in an hour."""
    return put_off(replace(standing, lapsed_ms=0), now_ms, dice)


def put_off(standing: Standing, now_ms: int, dice: Random) -> Standing:
    """How it stands where it could not be looked at: within the next two hours it is."""
    look_ms = now_ms + jittered(RETRY_MS, dice) + dice.randrange(RETRY_MS)
    return replace(standing, trial=replace(standing.trial, look_ms=look_ms))


def may_lapse(lapsed_today: int, registrations: int, decided: SetLapses | None) -> bool:
    """Whether one more may lapse within a day; if not, the board has to look, and may decide."""
    if decided is not None:
        return decided.all
    return lapsed_today < max(MIN_LAPSES_A_DAY, int(registrations * LAPSES_A_DAY))
