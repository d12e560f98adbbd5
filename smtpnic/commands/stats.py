"""smtpnic stats: how many are registered, and since when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from registry.statistics import DAY_MS, Age, Day, Totals
from smtpnic.output import Output, time_text
from smtpnic.session import Session
from smtpnic.views import History

BAR_COLUMNS: Final = 40

Days = Annotated[int, typer.Option(min=1, max=3660, help="The last days on which something was.")]


def stats(context: typer.Context, *, days: Days = 30) -> None:
    """Show how many mail servers are registered, how old that is, and what happened by day.

    Days are those of UTC; a day on which nothing changed is not listed. What is counted is what
    the primary says; the log that it signs holds every change of it.
    """
    session: Session = context.obj
    with session.primary(session.settings()) as primary:
        found = primary.history()
    shown = found.days[-days:]
    if session.output.as_json:
        session.output.values(
            {
                **_values(found),
                "ages": [_age_values(age) for age in found.ages],
                "days": [_day_values(day) for day in shown],
            }
        )
        return
    session.output.values(_values(found))
    _tables(session.output, found, shown)


def _tables(output: Output, found: History, shown: tuple[Day, ...]) -> None:
    oldest = max((age.registrations for age in found.ages), default=0)
    output.table(
        "ages",
        [{**_age_values(age), "plot": _bar(age.registrations, oldest)} for age in found.ages],
    )
    most = max((day.totals.all for day in shown), default=0)
    output.table(
        "days", [{**_day_values(day), "plot": _bar(day.totals.all, most)} for day in shown]
    )


def _values(found: History) -> dict[str, object]:
    both = found.ipv4 + found.ipv6
    return {
        "registrations": found.now.registrations,
        "ipv4": found.ipv4.all,
        "ipv6": found.ipv6.all,
        **_totals_values(both),
        "domains": found.domains,
        "holders": found.now.holders,
        "log_size": found.now.log_size,
        "last_change": time_text(found.now.last_change_ms),
    }


def _totals_values(totals: Totals) -> dict[str, object]:
    return {
        "new": totals.new,
        "active": totals.active,
        "lapsed": totals.lapsed,
        "suspended": totals.suspended,
    }


def _age_values(age: Age) -> dict[str, object]:
    end = "and more" if age.below_days is None else f"to {age.below_days}"
    return {"age_in_days": f"{age.from_days} {end}", "registrations": age.registrations}


def _day_values(day: Day) -> dict[str, object]:
    return {
        "day": f"{datetime.fromtimestamp(day.day * DAY_MS // 1000, UTC):%Y-%m-%d}",
        "registered": day.registered,
        "withdrawn": day.withdrawn,
        "activated": day.activated,
        "became_lapsed": day.lapsed,
        "became_suspended": day.suspended,
        "ipv4": day.ipv4.all,
        "ipv6": day.ipv6.all,
        "domains": day.domains,
        "total": day.totals.all,
    }


def _bar(count: int, most: int) -> str:
    """A bar as long as `count` is beside `most`; whatever is there can be seen."""
    return "█" * max(count > 0, round(BAR_COLUMNS * count / most)) if most else ""
