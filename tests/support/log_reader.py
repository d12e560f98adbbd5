"""Reads a log over HTTP as somebody's auditing tool does, and checks it with the board's root."""

from __future__ import annotations

import urllib.error
import urllib.request

from registry.checkpoint import Checkpoint, CheckpointKeys, open_checkpoint
from registry.merkle import CompactRange, leaf_hash
from registry.tiles import TILE_WIDTH, TileId, bundle_path, compact_range, decode_bundle


class LogReader:
    """A `TileReader` of a log at a URL."""

    def __init__(self, url: str, keys: CheckpointKeys) -> None:
        self._url = url
        self._keys = keys

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self._url}/{path}", timeout=10) as reply:
            data: bytes = reply.read()
        return data

    def status(self, path: str) -> int:
        """The status of a page; 0 if nothing answers."""
        try:
            self.get(path)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0
        return 200

    def note(self) -> bytes:
        return self.get("checkpoint")

    def checkpoint(self) -> Checkpoint:
        return open_checkpoint(self.note(), self._keys)

    def size(self) -> int:
        """0 while there is no checkpoint."""
        return self.checkpoint().size if self.status("checkpoint") == 200 else 0

    def read(self, tile: TileId) -> bytes:
        return self.get(tile.path())

    def entries(self, size: int) -> list[bytes]:
        """All entries of a log of that size."""
        entries: list[bytes] = []
        for index in range(-(-size // TILE_WIDTH)):
            width = min(TILE_WIDTH, size - index * TILE_WIDTH)
            entries += decode_bundle(self.get(bundle_path(index, width)))
        return entries

    def has_entries(self, size: int) -> bool:
        """Whether every entry of a log of that size is there."""
        try:
            return len(self.entries(size)) == size
        except OSError:
            return False

    def check(self) -> Checkpoint:
        """That tiles and entries lead to the signed root."""
        checkpoint = self.checkpoint()
        leaves = [leaf_hash(entry) for entry in self.entries(checkpoint.size)]
        assert checkpoint.root == CompactRange.empty().extend(leaves).root()
        assert checkpoint.root == compact_range(checkpoint.size, self).root()
        return checkpoint
