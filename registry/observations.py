"""What several resolvers said, and what of it can be relied on.

One resolver can be deceived, or be behind: what counts is what more than half of them have seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto


class Outcome(Enum):
    """How a lookup ended. ABSENT is an answer (NXDOMAIN, NODATA); FAILED is none."""

    FOUND = auto()
    ABSENT = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """What one resolver said: the values of the record set, or why there are none.

    `authenticated`: the resolver set AD (RFC 4035, 3.2.3), so it validated the answer.
    """

    resolver: str
    outcome: Outcome
    values: frozenset[str] = frozenset()
    authenticated: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the resolvers agree on. `detail` tells, for people, why they do not."""

    outcome: Outcome
    values: frozenset[str] = frozenset()
    authenticated: bool = False
    detail: str = ""


def agree(answers: Sequence[Answer]) -> Agreed:
    """What more than half of the resolvers have seen.

    Values count one by one: a name server that gives out its records in turns is no liar.
    """
    enough = len(answers) // 2 + 1
    counts = Counter(value for answer in answers for value in answer.values)
    seen = frozenset(value for value, count in counts.items() if count >= enough)
    if seen:
        who_saw = [answer for answer in answers if answer.values & seen]
        return Agreed(Outcome.FOUND, seen, all(answer.authenticated for answer in who_saw))
    absent = [answer for answer in answers if answer.outcome is Outcome.ABSENT]
    if len(absent) >= enough:
        validated = all(answer.authenticated for answer in absent)
        return Agreed(Outcome.ABSENT, authenticated=validated, detail=absent[0].detail)
    return Agreed(Outcome.FAILED, detail=_why(answers))


def _why(answers: Sequence[Answer]) -> str:
    if not answers:
        return "no resolver was asked"
    said = [
        f"{answer.resolver}: {', '.join(sorted(answer.values)) or answer.detail or 'nothing'}"
        for answer in answers
    ]
    silent = all(answer.outcome is Outcome.FAILED for answer in answers)
    what = "no resolver could tell" if silent else "the resolvers do not agree"
    return f"{what}: {'; '.join(said)}"
