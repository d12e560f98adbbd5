"""The log before its newest events: read from the database, for subscribers that lack it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from node.feed import Event
from node.replication_service import NoBatchEndsError, NotNowError
from node.snapshot_files import SnapshotFile
from node.snapshot_maker import SnapshotMaker
from node.stream_events import batch_event
from node.workers import Workers
from primary.database_contact import DatabaseContact
from primary.log_signer import LogSigner
from primary.public_log import PublicLog
from primary.services.answers import CANNOT_READ
from primary.store.errors import StoreUnavailableError
from primary.store.reader import Reader
from primary.tile_keeper import TileKeeper
from registry.merkle import EMPTY_ROOT
from registry.tiles import TILE_WIDTH, compact_range, encode_bundle

P = ParamSpec("P")
T = TypeVar("T")

# Some 2000 entries, half a megabyte as a rule and 32 MiB at the very most, for one subscriber.
BATCHES_A_READ: Final = 32
# Tiles follow a commit within milliseconds.
TILES_SECONDS: Final = 5.0


class Backlog:
    """A `node.replication_service.History`. A subscriber may lack `stream_limit` entries."""

    def __init__(
        self,
        log: PublicLog,
        reader: Reader,
        signer: LogSigner,
        pool: Workers,
        *,
        tiles: TileKeeper,
        snapshots: SnapshotMaker,
        stream_limit: int,
    ) -> None:
        self._log = log
        self._reader = reader
        self._signer = signer
        self._tiles = tiles
        self._snapshots = snapshots
        self._pool = pool
        self._stream_limit = stream_limit
        self._database = DatabaseContact("stream")

    async def root_at(self, size: int) -> bytes:
        """As recorded where a batch ends; computed elsewhere, for a log that forked has others."""
        if size > self._log.size:
            return b""
        recorded = await self._recorded_root(size)
        if recorded is not None:
            return recorded
        await self._tiles.wait_for(size, TILES_SECONDS)
        held = await self._pool.run(compact_range, size, self._tiles.files)
        return held.root()

    async def reaches(self, size: int) -> bool:
        """Whether so little is lacking that it is streamed; NoBatchEndsError.

        What came before an older primary was lost is not here: nothing is streamed from there.
        """
        if size < await self._ask(self._reader.first_size):
            return False
        if await self._recorded_root(size) is None:
            raise NoBatchEndsError
        return self._log.size - size <= self._stream_limit

    async def read(self, size: int) -> list[Event]:
        """The next batches, signed again."""
        return await self._ask(self._read, size)

    async def entries(self, index: int, width: int) -> bytes | None:
        """Made from the database; None for what was lost with an older primary."""
        return await self._ask(self._entries, index, width)

    def snapshot(self, size: int) -> SnapshotFile | None:
        """The newest one, if it spares half of what is lacking; a newer one is begun if not."""
        return self._snapshots.useful(size, self._log.size)

    async def _recorded_root(self, size: int) -> bytes | None:
        """The root at `size`; None where no batch ends."""
        return await self._ask(self._reader.root_at, size) if size else EMPTY_ROOT

    async def _ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            found = await self._pool.run(function, *args, **kwargs)
        except StoreUnavailableError as error:
            self._database.refused(error)
            raise NotNowError(CANNOT_READ) from error
        self._database.answered()
        return found

    def _read(self, size: int) -> list[Event]:
        stored = self._reader.batches_from(size, BATCHES_A_READ)
        return [batch_event(batch.sign(self._signer)) for batch in stored]

    def _entries(self, index: int, width: int) -> bytes | None:
        entries = self._reader.entries(index * TILE_WIDTH, width)
        return encode_bundle(entries) if len(entries) == width else None
