"""How many registrations are in memory, as they come and go."""

from __future__ import annotations

from collections import Counter
from typing import Final

from registry.address import IPV4_BYTES
from registry.kinds import Status
from registry.registration import Outline
from registry.statistics import DAY_MS, IPV4, IPV6, Age, DayChange, Totals, ages

# A state key is an address behind its kind.
_IPV4_KEY_BYTES: Final = 1 + IPV4_BYTES


class Counts:
    """Counts by status, IP version, domain, and the day of registering."""

    def __init__(self) -> None:
        self._statuses: Counter[tuple[int, int]] = Counter()
        self._days: Counter[int] = Counter()
        self._domains: Counter[str] = Counter()

    def add(self, key: bytes, outline: Outline, more: int) -> None:
        """Takes a registration, or with -1 forgets it."""
        version = IPV4 if len(key) == _IPV4_KEY_BYTES else IPV6
        self._statuses[version, outline.status] += more
        self._days[outline.registered_ms // DAY_MS] += more
        self._domains[outline.domain] += more
        if not self._domains[outline.domain]:
            del self._domains[outline.domain]

    @property
    def domains(self) -> int:
        """How many domains have a registration."""
        return len(self._domains)

    def totals(self, version: int) -> Totals:
        """Those of one IP version."""
        count = self._statuses
        return Totals(
            count[version, Status.NEW],
            count[version, Status.ACTIVE],
            count[version, Status.LAPSED],
            count[version, Status.SUSPENDED],
        )

    def ages(self, now_s: float) -> list[Age]:
        """How old they are."""
        # A copy in one step: another thread may count meanwhile.
        days = list(self._days.items())
        changes = (DayChange(day, IPV4, left=count) for day, count in days if count)
        return ages(changes, int(now_s * 1000) // DAY_MS)
