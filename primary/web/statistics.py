"""The statistics as plots. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from primary.web.plots import Point, bar_plot, line_plot, row_plot
from primary.web.site import day
from registry.statistics import DAY_MS, Age, DayChange, ages, history

_NAMES: Final = {7: "week", 30: "month", 90: "3 months", 365: "year", 1095: "3 years"}
# Mirrors that are drawn; the table has all.
MAX_MIRRORS: Final = 24


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is shown, and the ages in words beside their plot."""

    growth: Markup
    ages: Markup
    bands: tuple[Point, ...]


def drawn_statistics(changes: Sequence[DayChange], today: int) -> Drawn | None:
    """The plots on the day `today`; None while nothing has happened."""
    days = history(changes)
    if not days:
        return None
    counts = [Point(day(each.day * DAY_MS), each.totals.all) for each in days]
    if days[-1].day < today:
        counts.append(Point(day(today * DAY_MS), days[-1].totals.all))
    bands = tuple(Point(_band(each), each.registrations) for each in ages(changes, today))
    return Drawn(
        line_plot("Registered mail servers over time", counts),
        bar_plot("How old the registrations are", bands),
        bands,
    )


def drawn_lags(mirrors: Sequence[Point]) -> Markup | None:
    """How many entries each mirror was behind, the most first; None where there is none."""
    if not mirrors:
        return None
    furthest = sorted(mirrors, key=lambda mirror: (-mirror.value, mirror.label))
    return row_plot("Entries of the log that each mirror is behind", furthest[:MAX_MIRRORS])


def _band(age: Age) -> str:
    return f"< {_NAMES[age.below_days]}" if age.below_days else "older"
