"""The log's hash tiles: kept up with the replica, and fetched where a snapshot left them out."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from node.errors import StorageError
from node.logging import get_logger
from node.tile_files import TileFiles, split_hashes
from registry.errors import RootMismatchError, VerificationError
from registry.merkle import CompactRange
from registry.tiles import TILE_WIDTH, TileId, compact_range, tile_at
from secondary.upstream import Upstream, UpstreamError

# A quarter of what upstream takes in one request: 65,536 leaf hashes, 2 MiB.
TILES_A_REQUEST: Final = 256
# What may wait until the tiles before it are fetched: 32 MiB. More is fetched as well.
MAX_WAITING_LEAVES: Final = 1_000_000
# After a fetch that failed.
RETRY_SECONDS: Final = 30.0

_log = get_logger("tiles")


class LogTiles:
    """The tiles of the replica's log; a `TileReader` of what `is_complete` covers.

    The follower's thread calls `begin` and `append`; a thread of its own fetches.
    """

    def __init__(self, directory: Path) -> None:
        """Open the tiles; StorageError if that cannot be."""
        self._files = TileFiles(directory)
        self._lock = threading.Lock()
        self._is_complete = False
        # Leaf hashes by the size of the log before them, in a row, while tiles are missing.
        self._waiting: deque[tuple[int, Sequence[bytes]]] = deque()
        self._waiting_leaves = 0
        self._fetching: threading.Thread | None = None
        self._stopping = threading.Event()
        self._next_fetch = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether every tile up to the replica's size is here."""
        return self._is_complete

    @property
    def size(self) -> int:
        """How many leaves are here."""
        return self._files.size

    def read(self, tile: TileId) -> bytes:
        """The tile's hashes; StorageError if it is not here."""
        return self._files.read(tile)

    def begin(self, position: CompactRange) -> None:
        """Go on from a log of this size and root: what is beyond it or not of it is forgotten."""
        self._stop_fetching()
        with self._lock:
            self._waiting.clear()
            self._waiting_leaves = 0
            self._is_complete = self._leads_to(position)
            if self._is_complete:
                self._files.truncate_to(position.size)
            else:
                held = min(self._files.full_size, position.size)
                self._files.truncate_to(held - held % TILE_WIDTH)

    def append(self, leaf_hashes: Sequence[bytes], start: int) -> None:
        """Take the leaves that follow a log of size `start`; StorageError if the disk refuses."""
        with self._lock:
            if self._is_complete:
                self._files.append(leaf_hashes, start)
                return
            self._waiting.append((start, leaf_hashes))
            self._waiting_leaves += len(leaf_hashes)
            while self._waiting_leaves > MAX_WAITING_LEAVES:
                self._waiting_leaves -= len(self._waiting.popleft()[1])

    def fetch(self, upstream: Upstream, position: Callable[[], CompactRange]) -> None:
        """Begin to fetch what is missing, unless that is under way, or failed just now.

        `position` tells, at any time and to any thread, what the replica holds.
        """
        is_under_way = self._fetching is not None and self._fetching.is_alive()
        if self._is_complete or is_under_way or time.monotonic() < self._next_fetch:
            return
        self._fetching = threading.Thread(
            target=self._fetch, args=(upstream, position), name="tiles", daemon=True
        )
        self._fetching.start()

    def close(self) -> None:
        """Make what is here durable."""
        self._stop_fetching()
        with self._lock:
            self._files.sync()

    def _stop_fetching(self) -> None:
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            self._stopping.set()
            fetching.join()
            self._stopping.clear()

    def _fetch(self, upstream: Upstream, position: Callable[[], CompactRange]) -> None:
        try:
            while not self._is_complete:
                target = position()
                if not self._fetch_to(upstream, target):
                    return
                self._take_waiting()
        except (UpstreamError, VerificationError, StorageError) as error:
            self._next_fetch = time.monotonic() + RETRY_SECONDS
            _log.warning("tiles.fetch_failed", error=type(error).__name__, reason=str(error))
        else:
            _log.info("tiles.complete", size=self._files.size)

    def _fetch_to(self, upstream: Upstream, target: CompactRange) -> bool:
        """Fetch what is missing up to `target`, and compare; False if it was stopped."""
        files = self._files
        files.truncate_to(files.full_size)
        end = -(-target.size // TILE_WIDTH)
        while files.size < target.size:
            first = files.size // TILE_WIDTH
            numbers = range(first, min(end, first + TILES_A_REQUEST))
            hashes: list[bytes] = []
            for data in upstream.read_tiles([tile_at(0, n, target.size) for n in numbers]):
                if self._stopping.is_set():
                    return False
                hashes += split_hashes(data)
            files.append(hashes, files.size)
        if not self._leads_to(target):
            files.truncate_to(0)
            raise RootMismatchError("the upstream's tiles do not lead to the signed root")
        return True

    def _take_waiting(self) -> None:
        """Append what came in meanwhile; complete, unless some of it was given up."""
        with self._lock:
            for start, leaf_hashes in self._waiting:
                if start > self._files.size:
                    return
                if start == self._files.size:
                    self._files.append(leaf_hashes, start)
            self._waiting.clear()
            self._waiting_leaves = 0
            self._is_complete = True

    def _leads_to(self, position: CompactRange) -> bool:
        """Whether the tiles here are those of a log of this size and root."""
        if self._files.size < position.size:
            return False
        try:
            return compact_range(position.size, self._files) == position
        except StorageError:
            return False
