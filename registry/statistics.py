"""What is counted of the registrations, by days of UTC: what happened, and how many there were.

A day is a number of days since 1970-01-01. What is counted of each day are differences, so that
they can be added up in any order: by a replay of the log, or a commit at a time in a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

from registry.address import IPV4_BYTES
from registry.entry import Entry
from registry.kinds import Kind, Operation, Status
from registry.registration import Registration

DAY_MS: Final = 86_400_000
IPV4: Final = 4
IPV6: Final = 6

# The upper ends of the ages that are told apart, in days.
AGE_LIMITS: Final = (7, 30, 90, 365, 1095)


class DayChange(NamedTuple):
    """What one day changed of the registrations of one IP version.

    `registered` and `withdrawn`: addresses that came and went. `activated`, `lapsed` and
    `suspended`: registrations that became so. The `more_` are by how many more there were of each
    status at the day's end. `left` is another thing: those registered on this day that are there
    still; it changes when they go, at whatever time. `domains`: by how many more domains had a
    registration; it counts under IPv4, for it is of both.
    """

    day: int
    version: int
    registered: int = 0
    withdrawn: int = 0
    activated: int = 0
    lapsed: int = 0
    suspended: int = 0
    more_new: int = 0
    more_active: int = 0
    more_lapsed: int = 0
    more_suspended: int = 0
    left: int = 0
    domains: int = 0


_FIELDS: Final = len(DayChange._fields) - 2
_AT: Final = {name: at for at, name in enumerate(DayChange._fields[2:])}
_REGISTERED, _WITHDRAWN = _AT["registered"], _AT["withdrawn"]
_LEFT, _DOMAINS = _AT["left"], _AT["domains"]
_BECAME: Final = {
    Status.ACTIVE: _AT["activated"],
    Status.LAPSED: _AT["lapsed"],
    Status.SUSPENDED: _AT["suspended"],
}
_MORE: Final = {
    Status.NEW: _AT["more_new"],
    Status.ACTIVE: _AT["more_active"],
    Status.LAPSED: _AT["more_lapsed"],
    Status.SUSPENDED: _AT["more_suspended"],
}


class Tally:
    """Counts changes of registrations, one after another."""

    def __init__(self) -> None:
        self._days: dict[tuple[int, int], list[int]] = {}
        self._domains: dict[str, int] = {}

    def count(
        self,
        address: bytes,
        before: Registration | None,
        after: Registration | None,
        time_ms: int,
    ) -> None:
        """Takes what became of the packed `address` at `time_ms`; None: no registration."""
        version = IPV4 if len(address) == IPV4_BYTES else IPV6
        today = self._day(time_ms, version)
        if before is None:
            today[_REGISTERED] += 1
        else:
            today[_MORE[before.status]] -= 1
            self._day(before.registered_ms, version)[_LEFT] -= 1
            self._count_domain(before.domain, -1)
        if after is None:
            today[_WITHDRAWN] += 1
            return
        today[_MORE[after.status]] += 1
        self._day(after.registered_ms, version)[_LEFT] += 1
        self._count_domain(after.domain, 1)
        became = _BECAME.get(after.status)
        if became is not None and (before is None or before.status is not after.status):
            today[became] += 1

    def count_domains(self, more: int, time_ms: int) -> None:
        """Takes that so many more domains have a registration now."""
        if more:
            self._day(time_ms, IPV4)[_DOMAINS] += more

    @property
    def domains(self) -> dict[str, int]:
        """By how many the registrations of each domain have grown, where they have."""
        return {domain: more for domain, more in self._domains.items() if more}

    @property
    def changes(self) -> list[DayChange]:
        """What came of it, without what came to nothing."""
        return [
            DayChange(day, version, *counts)
            for (day, version), counts in sorted(self._days.items())
            if any(counts)
        ]

    def _day(self, time_ms: int, version: int) -> list[int]:
        key = (time_ms // DAY_MS, version)
        counts = self._days.get(key)
        if counts is None:
            counts = self._days[key] = [0] * _FIELDS
        return counts

    def _count_domain(self, domain: str, more: int) -> None:
        self._domains[domain] = self._domains.get(domain, 0) + more


def tally_log(entries: Iterable[bytes]) -> Tally:
    """What the entries of a log come to, in their order; MalformedError if one is none.

    Of a log that was recovered some are missing: a registration that is first seen is counted
    on the day that it says it was made. The domains are counted at the end, for all days.
    """
    tally = Tally()
    live: dict[bytes, Registration] = {}
    last_ms = 0
    for data in entries:
        entry = Entry.decode(data)
        last_ms = entry.time_ms
        if entry.kind != Kind.REGISTRATION:
            continue
        before, after, time_ms = live.pop(entry.key, None), None, entry.time_ms
        if entry.operation is Operation.PUT:
            after = live[entry.key] = Registration.decode(entry.payload)
            time_ms = after.registered_ms if before is None else time_ms
        if before is not None or after is not None:
            tally.count(entry.key, before, after, time_ms)
    tally.count_domains(len(tally.domains), last_ms)
    return tally


@dataclass(frozen=True, slots=True)
class Totals:
    """How many registrations there are of each status."""

    new: int = 0
    active: int = 0
    lapsed: int = 0
    suspended: int = 0

    @property
    def all(self) -> int:
        """How many there are."""
        return self.new + self.active + self.lapsed + self.suspended

    def plus(self, change: DayChange) -> Totals:
        """At the end of the day that changed so much."""
        return Totals(
            self.new + change.more_new,
            self.active + change.more_active,
            self.lapsed + change.more_lapsed,
            self.suspended + change.more_suspended,
        )

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.new + other.new,
            self.active + other.active,
            self.lapsed + other.lapsed,
            self.suspended + other.suspended,
        )


@dataclass(frozen=True, slots=True)
class Day:
    """One day: what happened, and how many there were at its end."""

    day: int
    registered: int
    withdrawn: int
    activated: int
    lapsed: int
    suspended: int
    ipv4: Totals
    ipv6: Totals
    domains: int

    @property
    def totals(self) -> Totals:
        """Of both IP versions."""
        return self.ipv4 + self.ipv6


@dataclass(frozen=True, slots=True)
class Age:
    """How many are so old: from `from_days` to less than `below_days`; None: or older."""

    below_days: int | None
    registrations: int

    @property
    def from_days(self) -> int:
        """Where the younger ones end."""
        limits = (0, *AGE_LIMITS)
        return limits[-1] if self.below_days is None else limits[limits.index(self.below_days) - 1]


def history(changes: Iterable[DayChange]) -> list[Day]:
    """The days on which something happened, in their order; `changes` in any, several of a day
    or not."""
    days: list[Day] = []
    ipv4, ipv6, domains = Totals(), Totals(), 0
    ordered = sorted(changes, key=attrgetter("day"))
    for number, group in groupby(ordered, key=attrgetter("day")):
        registered = withdrawn = activated = lapsed = suspended = 0
        for change in group:
            registered += change.registered
            withdrawn += change.withdrawn
            activated += change.activated
            lapsed += change.lapsed
            suspended += change.suspended
            domains += change.domains
            if change.version == IPV4:
                ipv4 = ipv4.plus(change)
            else:
                ipv6 = ipv6.plus(change)
        days.append(
            Day(number, registered, withdrawn, activated, lapsed, suspended, ipv4, ipv6, domains)
        )
    return days


def ages(changes: Iterable[DayChange], today: int) -> list[Age]:
    """How old the registrations are on the day `today`, the youngest first."""
    bands = [0] * (len(AGE_LIMITS) + 1)
    for change in changes:
        age = today - change.day
        bands[sum(age >= limit for limit in AGE_LIMITS)] += change.left
    return [Age(limit, count) for limit, count in zip((*AGE_LIMITS, None), bands, strict=True)]
