"""Who comes into the set and who leaves it: by health, at a bounded rate, never below a floor.

Pure: what is observed and the time come from the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pace:
    """Changes that may come at once, and how long it takes until one more may."""

    changes: int = 2
    seconds_per_change: float = 600.0
    # The set is not made smaller than this.
    floor: int = 3

    def __post_init__(self) -> None:
        if self.changes < 1 or self.seconds_per_change <= 0 or self.floor < 1:
            raise ValueError("a change, some time and a mirror at least")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An admitted mirror: whether it is in the set, and why it should not be, if so."""

    is_in_set: bool
    # Empty: it should be in.
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a mirror is in the set from now on, and why it is out, or in all the same."""

    is_in_set: bool
    reason: str = ""


@dataclass(slots=True)
class Decider:
    """Spends changes as they may come.

    It begins with none to spend: who is started again and again changes nothing faster.
    """

    pace: Pace
    _tokens: float = 0.0
    _at: float | None = field(default=None)

    def decide(self, candidates: Mapping[str, Candidate], now: float) -> dict[str, Outcome]:
        """What becomes of each; `now` in seconds, of any clock that does not run back."""
        self._refill(now)
        outcomes = {name: Outcome(one.is_in_set, one.problem) for name, one in candidates.items()}
        # Who is well first: then others can go.
        for name in sorted(candidates):
            if not candidates[name].is_in_set and not candidates[name].problem:
                outcomes[name] = self._let_in(outcomes)
        for name in sorted(candidates):
            one = candidates[name]
            if one.is_in_set and one.problem:
                outcomes[name] = self._let_out(outcomes, one.problem)
        return outcomes

    def _refill(self, now: float) -> None:
        elapsed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        gained = elapsed / self.pace.seconds_per_change
        self._tokens = min(float(self.pace.changes), self._tokens + gained)

    def _let_in(self, outcomes: Mapping[str, Outcome]) -> Outcome:
        # Below the floor help is taken at once.
        if _size(outcomes) < self.pace.floor or self._spend():
            return Outcome(True)
        return Outcome(False, "well, and waits for its turn: few changes at a time")

    def _let_out(self, outcomes: Mapping[str, Outcome], problem: str) -> Outcome:
        if _size(outcomes) <= self.pace.floor:
            return Outcome(True, f"kept, the set is at its floor: {problem}")
        if self._spend():
            return Outcome(False, problem)
        return Outcome(True, f"kept for now, few changes at a time: {problem}")

    def _spend(self) -> bool:
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _size(outcomes: Mapping[str, Outcome]) -> int:
    return sum(one.is_in_set for one in outcomes.values())
