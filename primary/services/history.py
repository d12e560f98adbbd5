"""The statistics by day, for the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from registry.statistics import Day, DayChange, Totals, ages, history
from registry.wire.v1 import registration_pb2 as pb

# Ten years, in half a megabyte.
MAX_DAYS: Final = 3660


def add_history(message: pb.Statistics, changes: Sequence[DayChange], today: int) -> None:
    """Puts into `message` what these changes come to on the day `today`."""
    days = history(changes)
    if not days:
        return
    newest = days[-1]
    message.ipv4.CopyFrom(_totals(newest.ipv4))
    message.ipv6.CopyFrom(_totals(newest.ipv6))
    message.domains = newest.domains
    message.ages.extend(
        pb.Age(below_days=age.below_days or 0, registrations=age.registrations)
        for age in ages(changes, today)
    )
    message.days.extend(map(_day, days[-MAX_DAYS:]))


def _totals(totals: Totals) -> pb.Totals:
    return pb.Totals(
        new=totals.new, active=totals.active, lapsed=totals.lapsed, suspended=totals.suspended
    )


def _day(day: Day) -> pb.Day:
    return pb.Day(
        day=day.day,
        registered=day.registered,
        withdrawn=day.withdrawn,
        activated=day.activated,
        lapsed=day.lapsed,
        suspended=day.suspended,
        ipv4=_totals(day.ipv4),
        ipv6=_totals(day.ipv6),
        domains=day.domains,
    )
