"""The log's older batches, read from the database for subscribers that lack them."""

from __future__ import annotations

from typing import Final

from primary.feed import Event
from primary.log_signer import LogSigner
from primary.read_pool import ReadPool
from primary.services.events import batch_event
from primary.store.reader import Reader

# Some 2000 entries, half a megabyte as a rule and 32 MiB at the very most, for one subscriber.
BATCHES_A_READ: Final = 32


class Backlog:
    """Batches as events, in the order of the log."""

    def __init__(self, reader: Reader, signer: LogSigner, pool: ReadPool) -> None:
        self._reader = reader
        self._signer = signer
        self._pool = pool

    async def read(self, size: int) -> list[Event]:
        """The next events for a subscriber that holds the log up to `size`; empty at its end."""
        return await self._pool.run(self._read, size)

    def _read(self, size: int) -> list[Event]:
        stored = self._reader.batches_from(size, BATCHES_A_READ)
        return [batch_event(batch.sign(self._signer)) for batch in stored]
