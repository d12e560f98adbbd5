"""Stops enforcing while the list's test entries are not as they must be (RFC 5782, 5)."""

from __future__ import annotations

import asyncio
from typing import Final

from node.logging import get_logger
from policyd.lookups import Lookups
from policyd.metrics import PolicydMetrics

# One lost packet is no reason to stop; two answers in a row are.
FAILURES_TO_STOP: Final = 2

_log = get_logger("guard")


class Guard:
    """Knows whether the registry can be believed at present; says so when that changes."""

    def __init__(
        self, lookups: Lookups, list_zone: str, every_seconds: float, metrics: PolicydMetrics
    ) -> None:
        self._lookups = lookups
        self._list_zone = list_zone
        self._every_seconds = every_seconds
        self._metrics = metrics
        self._failures = 0
        self.reason = ""
        metrics.trusted.set(1)

    @property
    def is_trusted(self) -> bool:
        """Whether decisions may follow what DNS says."""
        return not self.reason

    async def run(self) -> None:
        """Looks at the test entries for ever; returns at once when they are not to be watched."""
        while self._every_seconds:
            self.note(await self._lookups.test_entries(self._list_zone))
            await asyncio.sleep(self._every_seconds)

    def note(self, reason: str) -> None:
        """Takes in the result of one look: why the list cannot be trusted, empty if it can."""
        self._failures = self._failures + 1 if reason else 0
        if self._failures >= FAILURES_TO_STOP:
            if self.is_trusted:
                _log.error("enforcing.stopped", reason=reason)
            self.reason = reason
        elif not reason and not self.is_trusted:
            _log.info("enforcing.resumed")
            self.reason = ""
        self._metrics.trusted.set(self.is_trusted)
