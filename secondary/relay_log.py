"""What a mirror passes on: the newest batches as they came, and what was fresh.

The batches carry the registry's signatures, which only the registry can make; so those behind the
window that is kept here cannot be streamed again, and who lacks them begins with a snapshot.
All of it is for one event loop's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from node.errors import StorageError
from node.feed import Event, Feed, FeedLimits
from node.replication_service import NotNowError
from node.snapshot_files import SnapshotFile
from node.snapshot_maker import SnapshotMaker
from node.stream_events import batch_event, freshness_event
from node.workers import Workers
from registry.batch import Batch
from registry.merkle import EMPTY_ROOT, CompactRange
from registry.tiles import TileId, compact_range
from secondary.log_entries import LogEntries
from secondary.log_tiles import LogTiles

# For one subscriber at a time, as at the primary.
BATCHES_A_READ: Final = 32
# Small batches cost more than their bytes. As many as a busy day of single changes; who is further
# behind begins with a snapshot all the same.
MAX_KEPT_BATCHES: Final = 16_384


class RelayLog:
    """A `node.replication_service.SharedLog`."""

    def __init__(
        self, limits: FeedLimits, kept_bytes: int, path: Callable[[], tuple[str, ...]]
    ) -> None:
        """The newest batches are kept, up to so many bytes; `path` leads here."""
        self._limits = limits
        self._kept_bytes = kept_bytes
        self._path = path
        self.feed = Feed(0, limits)
        self.checkpoint = b""
        self.freshness = b""
        self._begin(0, EMPTY_ROOT)

    @property
    def size(self) -> int:
        """How many entries there are."""
        return self.feed.size

    @property
    def cosigned(self) -> bytes:
        """Mirrors report to the primary; it publishes."""
        return b""

    @property
    def path(self) -> tuple[str, ...]:
        """The nodes that the log came through, this one last."""
        return self._path()

    @property
    def kept_from(self) -> int:
        """The smallest size of the log from which on batches are kept."""
        return self._order[0].start if self._order else self.size

    def root(self, size: int) -> bytes | None:
        """The root at a size at which a batch that is kept begins or ends; else None."""
        return self._roots.get(size)

    def next(self, size: int) -> list[Event]:
        """The kept batches from a size on, some of them; empty where none begins."""
        events: list[Event] = []
        while len(events) < BATCHES_A_READ and (event := self._kept.get(size)) is not None:
            events.append(event)
            size = event.end
        return events

    def replace(self, position: CompactRange, checkpoint: bytes) -> None:
        """Go on from another place; who follows has to subscribe again, unless it is the same."""
        root = position.root()
        if self.size == position.size and self._roots.get(position.size) == root:
            return
        old, self.feed = self.feed, Feed(position.size, self._limits)
        old.close()
        self.checkpoint, self.freshness = checkpoint, b""
        self._begin(position.size, root)

    def grow(self, batch: Batch, root: bytes) -> None:
        """Pass a batch on, after which the log has this root."""
        event = batch_event(batch)
        self._kept[event.start] = event
        self._roots[event.end] = root
        self._order.append(event)
        self._bytes += len(event.data)
        while self._is_full() and len(self._order) > 1:
            oldest = self._order.popleft()
            self._bytes -= len(oldest.data)
            del self._kept[oldest.start], self._roots[oldest.start]
        self.checkpoint = batch.checkpoint
        self.feed.publish(event)

    def freshen(self, note: bytes) -> None:
        """Pass on that this checkpoint is still the newest."""
        self.freshness = note
        self.feed.publish(freshness_event(self.size, note))

    def _is_full(self) -> bool:
        return self._bytes > self._kept_bytes or len(self._order) > MAX_KEPT_BATCHES

    def _begin(self, size: int, root: bytes) -> None:
        self._kept: dict[int, Event] = {}
        self._order: deque[Event] = deque()
        self._roots = {size: root}
        self._bytes = 0


class RelayHistory:
    """A `node.replication_service.History`."""

    def __init__(
        self,
        log: RelayLog,
        tiles: LogTiles,
        entries: LogEntries,
        snapshots: SnapshotMaker,
        pool: Workers,
    ) -> None:
        self._log = log
        self._tiles = tiles
        self._entries = entries
        self._snapshots = snapshots
        self._pool = pool

    async def root_at(self, size: int) -> bytes:
        """From what is kept, or from the tiles."""
        if size > self._log.size:
            return b""
        known = EMPTY_ROOT if size == 0 else self._log.root(size)
        if known is not None:
            return known
        if not self._tiles.is_complete:
            raise NotNowError("the log's tiles are still being fetched here")
        try:
            held = await self._pool.run(compact_range, size, self._tiles)
        except StorageError as error:
            raise NotNowError(str(error)) from error
        return held.root()

    async def reaches(self, size: int) -> bool:
        """Whether all batches from there on are kept."""
        return size == self._log.size or bool(self._log.next(size))

    async def read(self, size: int) -> list[Event]:
        """What is kept from there on."""
        events = self._log.next(size)
        if not events and size != self._log.size:
            raise NotNowError("too slow for what is kept here; subscribe again")
        return events

    async def entries(self, index: int, width: int) -> bytes | None:
        """None for older ones that were not fetched."""
        if not self._tiles.is_complete:
            raise NotNowError("the log's tiles are still being fetched here")
        try:
            return await self._pool.run(self._entries.read, index, width)
        except StorageError as error:
            raise NotNowError(str(error)) from error

    def snapshot(self, size: int) -> SnapshotFile | None:
        """One from which the batches that are kept go on."""
        return self._snapshots.useful(size, self._log.size, self._log.kept_from)


class RelayTiles:
    """A `node.replication_service.TileSource`."""

    def __init__(self, tiles: LogTiles) -> None:
        self._tiles = tiles

    async def wait_for(self, size: int, seconds: float) -> None:  # noqa: ARG002
        """They are there before what they are of; TimeoutError while some are being fetched."""
        if not self._tiles.is_complete or self._tiles.size < size:
            raise TimeoutError("the log's tiles are still being fetched here")

    def read(self, tile: TileId) -> bytes:
        """The tile's hashes."""
        return self._tiles.read(tile)
