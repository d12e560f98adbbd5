"""Findings: what was looked at, how it stands, what to do; and the run that gathers them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from node.printable import printable

# Checks wait for networks and disks, never for each other.
THREADS: Final = 8


class Verdict(StrEnum):
    """How bad a finding is."""

    GOOD = "good"
    # It works; it can be better, or will not work for long.
    ADVICE = "advice"
    # Somebody gets no service, a wrong one, or soon will.
    BAD = "bad"
    # It could not be looked at, and why.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `advice` says what to do, and is empty where all is well."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""

    def __post_init__(self) -> None:
        if self.verdict in (Verdict.BAD, Verdict.ADVICE) and not self.advice:
            raise ValueError(f"{self.check}: what should be done about {self.found!r}?")


def good(check: str, found: str) -> Finding:
    """All is well with it."""
    return Finding(check, Verdict.GOOD, found)


def bad(check: str, found: str, advice: str) -> Finding:
    """It has to be mended."""
    return Finding(check, Verdict.BAD, found, advice)


def poor(check: str, found: str, advice: str) -> Finding:
    """It should be mended."""
    return Finding(check, Verdict.ADVICE, found, advice)


def skipped(check: str, why: str) -> Finding:
    """It could not be looked at."""
    return Finding(check, Verdict.SKIPPED, why)


Check = Callable[[], Iterable[Finding]]


def examine(checks: Mapping[str, Check]) -> list[Finding]:
    """What all checks find, in their order; each runs in a thread.

    A check that fails is a finding as well: the others are made all the same.
    """
    with ThreadPoolExecutor(THREADS, "check") as pool:
        runs = [pool.submit(_findings, name, check) for name, check in checks.items()]
        return [finding for run in runs for finding in run.result()]


def _findings(name: str, check: Check) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        what = f"{type(error).__name__}: {error}"
        found.append(bad(name, what, "mend that, and run this again"))
    return found


def is_bad(findings: Sequence[Finding]) -> bool:
    """Whether anything has to be mended."""
    return any(finding.verdict is Verdict.BAD for finding in findings)


def to_json(findings: Sequence[Finding]) -> str:
    """The findings for programs."""
    return json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2)


_STYLES: Final = {
    Verdict.GOOD: "green",
    Verdict.ADVICE: "yellow",
    Verdict.BAD: "bold red",
    Verdict.SKIPPED: "dim",
}


def show(findings: Sequence[Finding], console: Console) -> None:
    """The findings for people: a table, and a line that counts them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("check", "verdict", "found", "what to do"):
        table.add_column(title, overflow="fold")
    for one in findings:
        verdict = Text(one.verdict.value, _STYLES[one.verdict])
        table.add_row(one.check, verdict, _text(one.found), _text(one.advice))
    console.print(table)
    console.print(", ".join(_counts(findings)))


def _text(text: str) -> Text:
    """Of what others said there may be anything in it; the ends of lines are ours."""
    return Text("\n".join(map(printable, text.split("\n"))))


def _counts(findings: Sequence[Finding]) -> Iterator[str]:
    for verdict in Verdict:
        count = sum(one.verdict is verdict for one in findings)
        if count:
            yield f"{count} {verdict.value}"
