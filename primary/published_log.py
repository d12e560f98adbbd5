"""The primary's log as `node.log_http` serves it."""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import Final

from node.tile_files import TileFiles
from primary.public_log import PublicLog
from primary.store.reader import Reader
from registry.tiles import TILE_WIDTH, TileId, encode_bundle, leaves_under

# Reads of the database at once: most of its connections stay for those who follow and register.
READS: Final = 2


class PrimaryLog:
    """A `PublishedLog`."""

    def __init__(self, log: PublicLog, tiles: TileFiles, reader: Reader) -> None:
        self._log = log
        self._tiles = tiles
        self._reader = reader
        self._reading = BoundedSemaphore(READS)

    def checkpoint(self) -> bytes:
        """With the mirrors' cosignatures, as in GetCheckpoint; until there are any, the newest."""
        return self._log.cosignatures.published or self._log.head.checkpoint

    def tile(self, tile: TileId) -> bytes | None:
        """None beyond the log."""
        return self._tiles.read(tile) if leaves_under(tile) <= self._tiles.size else None

    def bundle(self, index: int, width: int) -> bytes | None:
        """None beyond the log, and for what was lost with an older primary; StoreError."""
        if index * TILE_WIDTH + width > self._tiles.size:
            return None
        with self._reading:
            entries = self._reader.entries(index * TILE_WIDTH, width)
        return encode_bundle(entries) if len(entries) == width else None
