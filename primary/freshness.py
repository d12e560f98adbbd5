"""Every few seconds, a cosignature that says which checkpoint is the newest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from primary.public_log import PublicLog
from primary.services.events import freshness_event
from registry.checkpoint import cosign
from registry.note import Cosigner


class Freshness:
    """Cosigns the head of the log and announces that; for the event loop's thread only."""

    def __init__(
        self,
        log: PublicLog,
        cosigner: Cosigner,
        interval_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives seconds since 1970-01-01T00:00:00Z."""
        self._log = log
        self._cosigner = cosigner
        self._interval_seconds = interval_seconds
        self._clock = clock

    def renew(self) -> None:
        """Cosigns now."""
        head = self._log.head
        note = cosign(head.checkpoint, self._cosigner, int(self._clock()))
        self._log.freshen(note, freshness_event(head.size, note))

    async def run(self) -> None:
        """Cosigns every interval, until cancelled."""
        while True:
            self.renew()
            await asyncio.sleep(self._interval_seconds)
