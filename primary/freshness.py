"""Every few seconds, a cosignature that says which checkpoint is the newest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from node.stream_events import freshness_event
from primary.public_log import PublicLog
from registry.checkpoint import cosign
from registry.note import Cosigner


class Freshness:
    """Cosigns the head of the log and announces that; for the event loop's thread only."""

    def __init__(
        self,
        log: PublicLog,
        cosigner: Cosigner,
        is_newest: Callable[[], Awaitable[bool]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`is_newest` tells whether the head is still the log's; nothing is cosigned if not.

        `clock` gives seconds since 1970-01-01T00:00:00Z.
        """
        self._log = log
        self._cosigner = cosigner
        self._is_newest = is_newest
        self._clock = clock

    async def renew(self) -> None:
        """Cosigns now, if the head is the newest."""
        if not await self._is_newest():
            return
        head = self._log.head
        note = cosign(head.checkpoint, self._cosigner, int(self._clock()))
        self._log.freshen(note, freshness_event(head.size, note))

    async def run(self, interval_seconds: float) -> None:
        """Cosigns every interval, until cancelled; raises what `is_newest` raises."""
        while True:
            await self.renew()
            await asyncio.sleep(interval_seconds)
