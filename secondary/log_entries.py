"""The log's entries at a secondary: what was streamed is kept, what a snapshot left out is fetched.

All of it happens in a thread of its own, behind the follower and never in its way.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from node.bundle_files import BundleFiles
from node.errors import StorageError
from node.logging import get_logger
from registry.batch import Batch
from registry.errors import RootMismatchError, VerificationError
from registry.merkle import leaf_hash
from registry.replay import VerifiedBatch
from registry.tiles import TILE_WIDTH, TileId, decode_bundle
from secondary.audience import Audience
from secondary.log_tiles import LogTiles
from secondary.replica import Replica
from secondary.upstream import Upstream, UpstreamError, UpstreamLacks

# Entries that may wait for the disk: some 10 MB. What is dropped is fetched later.
MAX_WAITING: Final = 65_536
# Between two bundles that are fetched: at most 12,800 entries a second.
PAUSE_SECONDS: Final = 0.02
# After a fetch that failed, and until what was missing is looked for again.
RETRY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0

_log = get_logger("entries")


class _Appended(NamedTuple):
    start: int
    entries: Sequence[bytes]


class LogEntries(Audience):
    """Keeps and fetches entry bundles; `read` is for any thread."""

    def __init__(
        self, files: BundleFiles, tiles: LogTiles, upstream: Upstream, old_entries: int
    ) -> None:
        """What is missing of the newest `old_entries` is fetched; 0 for nothing."""
        self._files = files
        self._tiles = tiles
        self._upstream = upstream
        self._old_entries = old_entries
        self._waiting: deque[_Appended] = deque()
        self._waiting_entries = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        # Bundles to fetch, the next one last; None: to be looked for.
        self._missing: list[int] | None = None
        self._next_fetch = 0.0
        self._reason = ""
        self._thread = threading.Thread(target=self._run, name="entries", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the bundle at hand."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def read(self, index: int, width: int) -> bytes | None:
        """A bundle, checked against the tiles; None if it is not here. StorageError."""
        return self._files.read(index, width, self._tiles)

    def opened(self, replica: Replica) -> None:  # noqa: ARG002
        """Look for what is missing of it."""
        self._missing = None

    def stored(self, batch: Batch, verified: VerifiedBatch) -> None:
        """Keep the batch's entries, a little later."""
        entries = [logged.entry for logged in batch.entries]
        with self._lock:
            self._waiting.append(_Appended(verified.start, entries))
            self._waiting_entries += len(entries)
            if self._waiting_entries > MAX_WAITING:
                self._waiting.clear()
                self._waiting_entries = 0
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(PAUSE_SECONDS if self._missing else RETRY_SECONDS)
            self._wake.clear()
            try:
                self._append_waiting()
                if time.monotonic() >= self._next_fetch:
                    self._fetch_one()
            except StorageError as error:
                self._missing = None
                self._postpone(error)

    def _append_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
            self._waiting_entries = 0
        for one in waiting:
            self._files.append(one.start, one.entries)

    def _fetch_one(self) -> None:
        """Fetch the newest bundle that is missing, if the tiles to check it with are here."""
        if not self._tiles.is_complete:
            return
        if not self._missing:
            self._missing = self._find_missing()
        if not self._missing:
            self._next_fetch = time.monotonic() + RETRY_SECONDS
            return
        index = self._missing.pop()
        try:
            self._files.put(index, self._fetch(index))
        except UpstreamLacks as error:
            # Nor will it have what is older, as a rule.
            self._missing = []
            self._postpone(error)
        except (UpstreamError, VerificationError) as error:
            self._missing.append(index)
            self._postpone(error)

    def _find_missing(self) -> list[int]:
        full = self._tiles.size // TILE_WIDTH
        oldest = max(0, self._tiles.size - self._old_entries) // TILE_WIDTH
        return [index for index in range(oldest, full) if not self._files.is_full(index)]

    def _fetch(self, index: int) -> bytes:
        bundle = self._upstream.entry_bundle(index, TILE_WIDTH)
        hashes = b"".join(leaf_hash(entry) for entry in decode_bundle(bundle))
        if hashes != self._tiles.read(TileId(0, index)):
            raise RootMismatchError(f"entry bundle {index} is not what the log's hashes say")
        return bundle

    def _postpone(self, error: Exception) -> None:
        """Wait a while; said once, until the reason is another."""
        self._next_fetch = time.monotonic() + RETRY_SECONDS
        if str(error) == self._reason:
            return
        self._reason = str(error)
        _log.warning("entries.fetch_failed", error=type(error).__name__, reason=str(error))
