"""What was found of each thing that is asked, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Condition(StrEnum):
    """What is asked of who registers; stable words, for programs."""

    PTR = "ptr"
    FORWARD = "forward"
    ZONE = "zone"
    DOMAIN = "domain"
    ADDRESS = "address"
    EMAIL = "email"


class Verdict(StrEnum):
    """HELD; FAILED: the person has something to do; UNKNOWN: the registry could not tell."""

    HELD = "held"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition: what was found, what was expected, how to mend it.

    `mend` is empty when it is held; `note` is worth knowing either way.
    """

    condition: Condition
    verdict: Verdict
    found: str
    expected: str
    mend: str = ""
    note: str = ""


def all_hold(findings: Iterable[Finding]) -> bool:
    """Whether nothing is left to do."""
    return all(finding.verdict is Verdict.HELD for finding in findings)


def broken(findings: Iterable[Finding]) -> list[Finding]:
    """What is known not to hold; what could not be told is no failure."""
    return [finding for finding in findings if finding.verdict is Verdict.FAILED]


def is_broken(findings: Iterable[Finding]) -> bool:
    """Whether something is known not to hold."""
    return bool(broken(findings))


def broken_text(findings: Iterable[Finding]) -> str:
    """What does not hold and how to mend it, as letters say it.

    Of an address not what was found: its greeting may be by now of somebody else, who would write
    into the registry's letters.
    """
    return "\n".join(f"  {_said(one)}\n  {one.mend}" for one in broken(findings))


def _said(finding: Finding) -> str:
    if finding.condition is Condition.ADDRESS:
        return f"not found: {finding.expected}"
    return finding.found
