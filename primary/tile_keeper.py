"""Keeps the hash tiles up with the log, behind the commits and never in their way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from node.errors import StorageError
from node.logging import get_logger
from node.tile_files import TileFiles
from node.workers import Workers
from registry.tiles import TileId, compact_range

# Leaf hashes read from the log at a time.
LEAVES_A_READ: Final = 4096
# Leaf hashes that may wait, 2 MiB; beyond that they are read from the log again.
MAX_WAITING: Final = 65_536

# Nobody waits for a tile as they do for a commit: what comes within so long is written at once.
GATHER_SECONDS: Final = 0.05

# Reads up to so many leaf hashes from a place in the log on.
ReadLeaves = Callable[[int, int], list[bytes]]

_log = get_logger("tiles")


class TileKeeper:
    """Writes tiles in the background; `files` is for reading what `files.size` covers.

    All methods are for the event loop's thread, but for `catch_up` and `read`.
    """

    def __init__(self, files: TileFiles, read_leaves: ReadLeaves, pool: Workers) -> None:
        self.files = files
        self._read_leaves = read_leaves
        self._pool = pool
        self._target = files.size
        self._waiting: deque[tuple[int, Sequence[bytes]]] = deque()
        self._waiting_leaves = 0
        self._grown = asyncio.Condition()
        self._wake = asyncio.Event()

    def catch_up(self, size: int, root: bytes, lost: int = 0) -> None:
        """Brings the files to the log's `size` and root before anyone reads them.

        What a power cut may have damaged is written again; files of another log are written
        anew. The database has no leaves before `lost`: a recovery wrote those and synced them.
        StorageError when the log itself does not have that root.
        """
        if self.files.size < lost:
            raise StorageError(f"the tiles of the first {lost} entries are missing: recover again")
        self.files.truncate_to(min(max(self.files.full_size, lost), size))
        self._append_until(size)
        if not lost and compact_range(size, self.files).root() != root:
            _log.warning("tiles.rebuilt", size=size)
            self.files.truncate_to(0)
            self._append_until(size)
        if compact_range(size, self.files).root() != root:
            raise StorageError("the entries in the database do not lead to the log's root")
        self._target = size

    def offer(self, start: int, leaf_hashes: Sequence[bytes]) -> None:
        """Takes the leaves that a commit appended; returns at once."""
        self._target = start + len(leaf_hashes)
        self._waiting.append((start, leaf_hashes))
        self._waiting_leaves += len(leaf_hashes)
        if self._waiting_leaves > MAX_WAITING:
            self._waiting.clear()
            self._waiting_leaves = 0
        self._wake.set()

    async def run(self) -> None:
        """Writes what was offered, until cancelled. StorageError when the disk refuses."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            while self.files.size < self._target:
                size = self.files.size
                leaves = self._take(size) or await self._pool.run(
                    self._read_leaves, size, min(LEAVES_A_READ, self._target - size)
                )
                await self._pool.run(self.files.append, leaves, size)
                async with self._grown:
                    self._grown.notify_all()

    async def wait_for(self, size: int, seconds: float) -> None:
        """Returns when the files cover `size`; TimeoutError after so many seconds."""
        async with asyncio.timeout(seconds), self._grown:
            await self._grown.wait_for(lambda: self.files.size >= size)

    def read(self, tile: TileId) -> bytes:
        """The tile's hashes; any thread may ask. StorageError."""
        return self.files.read(tile)

    async def close(self) -> None:
        """Makes the last tile durable; after `run` has ended."""
        await self._pool.run(self.files.sync)

    def _take(self, size: int) -> list[bytes]:
        """What waits of the leaves from `size` on; nothing if they were dropped."""
        leaves: list[bytes] = []
        while self._waiting and self._waiting[0][0] <= size + len(leaves):
            start, hashes = self._waiting.popleft()
            self._waiting_leaves -= len(hashes)
            leaves += hashes[size + len(leaves) - start :]
        return leaves

    def _append_until(self, size: int) -> None:
        while self.files.size < size:
            at = self.files.size
            self.files.append(self._read_leaves(at, min(LEAVES_A_READ, size - at)), at)
