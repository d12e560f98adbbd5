"""A secondary's log as `node.log_http` serves it, and as other secondaries are given it."""

from __future__ import annotations

from node.errors import StorageError
from registry.tiles import TILE_WIDTH, TileId, leaves_under
from secondary.cosigner import MirrorCosigner
from secondary.log_entries import LogEntries
from secondary.log_tiles import LogTiles


class MirrorLog:
    """A `PublishedLog`: the newest checkpoint that this mirror vouches for, and all below it."""

    def __init__(self, cosigner: MirrorCosigner, tiles: LogTiles, entries: LogEntries) -> None:
        self._cosigner = cosigner
        self._tiles = tiles
        self._entries = entries

    def checkpoint(self) -> bytes:
        """With the registry's freshness, and this mirror's own word."""
        last = self._cosigner.last
        return last.note if last.checkpoint.size else b""

    def tile(self, tile: TileId) -> bytes | None:
        """None beyond the log; StorageError while tiles are being fetched."""
        self._check_complete()
        return self._tiles.read(tile) if leaves_under(tile) <= self._tiles.size else None

    def bundle(self, index: int, width: int) -> bytes | None:
        """None beyond the log, and for older entries that were not fetched."""
        self._check_complete()
        if index * TILE_WIDTH + width > self._tiles.size:
            return None
        return self._entries.read(index, width)

    def _check_complete(self) -> None:
        if not self._tiles.is_complete:
            raise StorageError("the log's tiles are still being fetched")
