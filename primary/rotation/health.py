"""How a mirror does: what was seen of it in each round, and what that comes to.

Pure: observations and the time come from the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

# The primary as a vantage point among the mirrors.
PRIMARY: Final = "primary"
# So many mirrors have to see a problem that the primary does not see: two may be one operator's.
MIN_DISSENT: Final = 3


@dataclass(frozen=True, slots=True)
class Sight:
    """What one vantage point saw of a mirror in a round; `problem` empty: all as it should be."""

    vantage: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one round; `problem` empty: well."""

    problem: str = ""


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """Of the last `window` rounds, so many bad ones make a mirror ill, so many good ones well."""

    window: int = 5
    bad: int = 3
    good: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.bad <= self.window or not 0 < self.good <= self.window:
            raise ValueError("of the window at most, one at least")


@dataclass(slots=True)
class _History:
    verdicts: deque[Verdict]
    is_well: bool


@dataclass(slots=True)
class Health:
    """What is known of every mirror. A mirror that is in the set is well until seen otherwise."""

    hysteresis: Hysteresis
    _histories: dict[str, _History] = field(default_factory=dict)

    def observe(self, name: str, verdict: Verdict, *, is_in_set: bool) -> None:
        """Take the verdict of a round; `is_in_set` counts for who was not seen before."""
        history = self._histories.get(name)
        if history is None:
            history = _History(deque(maxlen=self.hysteresis.window), is_in_set)
            self._histories[name] = history
        history.verdicts.append(verdict)
        bad = sum(bool(each.problem) for each in history.verdicts)
        if history.is_well:
            history.is_well = bad < self.hysteresis.bad
        else:
            history.is_well = len(history.verdicts) - bad >= self.hysteresis.good

    def begin_again(self, name: str) -> None:
        """Know nothing more of a mirror: what was seen of it was somewhere else."""
        self._histories.pop(name, None)

    def forget(self, kept: Iterable[str]) -> None:
        """Know nothing more of mirrors that are not among these."""
        names = set(kept)
        self._histories = {
            name: history for name, history in self._histories.items() if name in names
        }

    def is_well(self, name: str) -> bool:
        """Whether a mirror may be asked."""
        history = self._histories.get(name)
        return history is not None and history.is_well

    def problem(self, name: str) -> str:
        """Why it is not, or is about to be ill; empty when all is well."""
        history = self._histories.get(name)
        if history is None:
            return "not seen yet"
        seen = [each.problem for each in history.verdicts if each.problem]
        if seen:
            return seen[-1]
        if history.is_well:
            return ""
        return f"well for {len(history.verdicts)} of {self.hysteresis.good} rounds"


def judge(sights: Iterable[Sight], lag: str = "") -> Verdict:
    """The verdict of a round, by what was seen and how far behind the mirror is said to be.

    More than half of the vantage points have to see a problem, and if the primary is not among them
    some more: a line of the primary's own, or mirrors that slander another, take nobody out.
    """
    if lag:
        return Verdict(lag)
    seen: Mapping[str, Sight] = {sight.vantage: sight for sight in sights}
    bad = [sight for sight in seen.values() if sight.problem]
    if not seen:
        return Verdict("nobody looked")
    primary = seen.get(PRIMARY)
    is_seen_here = primary is None or bool(primary.problem)
    if 2 * len(bad) <= len(seen) or (not is_seen_here and len(bad) < MIN_DISSENT):
        return Verdict()
    # The primary's own words, where it has some.
    bad.sort(key=lambda sight: sight.vantage != PRIMARY)
    return Verdict(f"seen from {bad[0].vantage}: {bad[0].problem}")
