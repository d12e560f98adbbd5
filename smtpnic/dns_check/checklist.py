"""The whole list, and how it is gone through."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from smtpnic.dns_check import absence, basics, edns, limits, streams, zones
from smtpnic.dns_check.asker import Asker, Silence
from smtpnic.dns_check.point import Deviation, NotApplicable, Point, Result, Scope, Target, Verdict

# A point stands behind those that it needs.
CHECKLIST: Final = (
    *basics.POINTS,
    *absence.POINTS,
    *edns.POINTS,
    *streams.POINTS,
    *zones.POINTS,
    # What uses up a limit, or takes long, comes last.
    *limits.POINTS,
)


class UnansweredError(Exception):
    """Nothing answers there, over UDP or TCP: that is no matter of points."""


def points_for(target: Target, points: Iterable[Point] = CHECKLIST) -> list[Point]:
    """The points that may be asked of such a server."""
    return [point for point in points if point.scope is Scope.GENERIC or not target.generic]


def run(
    ask: Asker,
    target: Target,
    points: Iterable[Point],
    on_point: Callable[[Point], None] = lambda _: None,
) -> list[Result]:
    """A result for each point, in order; `on_point` hears of each before it is asked.

    UnansweredError if the server answers neither over UDP nor over TCP.
    """
    verdicts: dict[str, Verdict] = {}
    results = []
    silent: set[str] = set()
    for point in points:
        on_point(point)
        result = _ask_point(ask, target, point, verdicts, silent)
        if {"udp", "tcp"} <= silent:
            raise UnansweredError(f"no answer: {result.why}")
        verdicts[point.name] = result.verdict
        results.append(result)
    return results


def _ask_point(
    ask: Asker, target: Target, point: Point, verdicts: dict[str, Verdict], silent: set[str]
) -> Result:
    for name in point.needs:
        if verdicts.get(name, Verdict.PASS) is not Verdict.PASS:
            return Result(point, Verdict.NOT_APPLICABLE, f"see {name}")
    try:
        return Result(point, Verdict.PASS, point.check(ask, target))
    except NotApplicable as reason:
        return Result(point, Verdict.NOT_APPLICABLE, str(reason))
    except Deviation as deviation:
        if isinstance(deviation, Silence):
            silent.add(point.name)
        return Result(point, Verdict.FAIL, str(deviation))
