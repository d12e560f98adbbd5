"""When the address is looked at again: "static" is earned over a week, at moments nobody knows.

Pure: the time and the dice come from the caller. Times are milliseconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from random import Random
from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

# Leases of dynamic addresses last hours to days; few outlive a week.
TRIAL_MS: Final = 7 * DAY_MS
# One in each part of the week, the last at its end.
TRIAL_PROOFS: Final = 5
# A machine may be away for a night, and its person asleep.
GRACE_MS: Final = DAY_MS
# Proofs in a row that do not come, until it lapses: as many as bad days later on.
MISSES_TO_LAPSE: Final = 3
# Where something is wrong, it is looked at about so often, whatever the policy.
REVIEW_MS: Final = DAY_MS
# What is not looked at for a year is not known to be there.
MAX_PERIOD_MS: Final = 366 * DAY_MS
# Of an interval: what began together does not stay so.
JITTER: Final = 1 / 4
# Between looks while a proof is due, with jitter.
RETRY_MS: Final = HOUR_MS


class Step(Enum):
    """What a look at the address led to."""

    PROVED = auto()
    WAIT = auto()
    RESTARTED = auto()
    GIVEN_UP = auto()
    PASSED = auto()


@dataclass(frozen=True, slots=True)
class Trial:
    """How far a new registration has come: proofs since `started_ms`, the next at `due_ms`.

    `look_ms` is when the registry looks next: at `due_ms`, and then again until it is proved or
    GRACE_MS is over. `misses` counts the proofs that did not come since the last that did.
    ValueError for a number of proofs or misses that no trial has.
    """

    started_ms: int
    proofs: int
    due_ms: int
    look_ms: int
    misses: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.proofs <= TRIAL_PROOFS:
            raise ValueError(f"a trial has up to {TRIAL_PROOFS} proofs")
        if not 0 <= self.misses <= MISSES_TO_LAPSE:
            raise ValueError(f"a trial has up to {MISSES_TO_LAPSE} misses")

    @classmethod
    def begin(cls, now_ms: int, dice: Random) -> Trial:
        """The address was proved just now; the week begins."""
        due_ms = _due(now_ms, 0, dice)
        return cls(now_ms, 0, due_ms, due_ms)

    @classmethod
    def passed(cls, now_ms: int, dice: Random) -> Trial:
        """Nothing is to be shown any more; reviews begin."""
        return cls(now_ms, TRIAL_PROOFS, now_ms, next_review(now_ms, dice))

    @property
    def is_passed(self) -> bool:
        """Whether the week is over."""
        return self.proofs == TRIAL_PROOFS

    @property
    def is_given_up(self) -> bool:
        """Whether so many proofs did not come that it lapses."""
        return self.misses == MISSES_TO_LAPSE

    def look(self, now_ms: int, *, held: bool, known: bool, dice: Random) -> tuple[Step, Trial]:
        """What a look shows. `known`: it could be told; what could not be is looked at again."""
        if now_ms < self.look_ms:
            return Step.WAIT, self
        if held and self.proofs + 1 == TRIAL_PROOFS:
            return Step.PASSED, replace(self, proofs=TRIAL_PROOFS, misses=0)
        if held:
            due_ms = max(now_ms, _due(self.started_ms, self.proofs + 1, dice))
            return Step.PROVED, Trial(self.started_ms, self.proofs + 1, due_ms, due_ms)
        # Not at the first look: who shows it by connecting needs a primary that runs.
        is_missing = self.look_ms > self.due_ms
        if known and is_missing and now_ms >= self.due_ms + GRACE_MS:
            misses = min(self.misses + 1, MISSES_TO_LAPSE)
            if misses == MISSES_TO_LAPSE:
                return Step.GIVEN_UP, replace(self, misses=misses)
            return Step.RESTARTED, replace(Trial.begin(now_ms, dice), misses=misses)
        return Step.WAIT, replace(self, look_ms=now_ms + jittered(RETRY_MS, dice))


def next_review(now_ms: int, dice: Random, period_ms: int = REVIEW_MS) -> int:
    """When a registration that has passed is looked at again."""
    return now_ms + jittered(period_ms, dice)


def last_review(now_ms: int, period_ms: int) -> int:
    """The latest that `next_review` gives."""
    return now_ms + round(period_ms * (1 + JITTER))


def review_period(policy_seconds: int) -> int:
    """Milliseconds between looks at a registration that holds, by the board's policy."""
    return min(policy_seconds * 1000, MAX_PERIOD_MS)


def jittered(interval_ms: int, dice: Random) -> int:
    """The interval, up to a quarter more or less."""
    return round(interval_ms * dice.uniform(1 - JITTER, 1 + JITTER))


def _due(started_ms: int, proofs: int, dice: Random) -> int:
    """A moment within the next part of the week that nobody knows before; the last at its end."""
    part = TRIAL_MS // TRIAL_PROOFS
    if proofs + 1 == TRIAL_PROOFS:
        return started_ms + TRIAL_MS
    return started_ms + part * proofs + dice.randrange(part // 4, part)
