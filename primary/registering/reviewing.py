"""Staying true: an active registration is looked at every day, and lapses only for good reason.

It takes failures on three different days. What could not be told is no failure, one resolver alone
sees none, and where many would lapse at once the fault is likelier to be ours.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto
from random import Random
from typing import Final

from primary.registering.schedule import DAY_MS, REVIEW_MS, jittered
from primary.registering.standing import Standing

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
    """What a look at an active or lapsed registration leads to."""

    NOTHING = auto()
    WARN = auto()
    LAPSE = auto()
    RESTORE = auto()
    END = auto()


def review(
    standing: Standing, now_ms: int, *, held: bool, known: bool, dice: Random
) -> tuple[Action, Standing]:
    """What is to be done, and how the registration then stands.

    `held`: its names lead to each other; `known`: that could be told.
    """
    look_ms = now_ms + jittered(REVIEW_MS, dice)
    later = replace(standing, trial=replace(standing.trial, look_ms=look_ms))
    if held:
        sound = replace(later, failed_days=0, failed_day=0, lapsed_ms=0)
        return (Action.RESTORE if standing.lapsed_ms else Action.NOTHING), sound
    if standing.lapsed_ms:
        is_over = now_ms >= standing.lapsed_ms + GRACE_DAYS * DAY_MS
        return (Action.END if is_over else Action.NOTHING), later
    day = now_ms // DAY_MS
    if not known or day == standing.failed_day:
        return Action.NOTHING, later
    failing = replace(later, failed_days=standing.failed_days + 1, failed_day=day)
    if failing.failed_days < DAYS_TO_LAPSE:
        return Action.WARN, failing
    return Action.LAPSE, replace(failing, lapsed_ms=now_ms)


def may_lapse(lapsed_today: int, registrations: int) -> bool:
    """Whether one more may lapse within a day; if not, the board has to look."""
    return lapsed_today < max(MIN_LAPSES_A_DAY, int(registrations * LAPSES_A_DAY))
