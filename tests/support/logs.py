"""Logs whose leaves are numbers: checkpoints and tiles of any size, at once."""

from __future__ import annotations

from functools import cache

from registry.checkpoint import Checkpoint, sign_checkpoint
from registry.merkle import CompactRange, leaf_hash
from registry.note import Signer
from registry.tiles import TILE_WIDTH, TileId

NEVER = 1 << 30


class NumberedLog:
    """A `TileReader`; from the leaf `forked` on it is another log under the same key."""

    def __init__(self, origin: str, *, forked: int = NEVER) -> None:
        self.signer = Signer(origin, bytes(32))
        self.forked = forked

    def read(self, tile: TileId) -> bytes:
        under, first = TILE_WIDTH**tile.level, tile.index * TILE_WIDTH
        return b"".join(
            self._range(n * under, (n + 1) * under).root() for n in range(first, first + tile.width)
        )

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(self.signer.name, size, self._range(0, size).root())

    def note(self, size: int) -> bytes:
        return sign_checkpoint(self.checkpoint(size), self.signer)

    def _range(self, start: int, end: int) -> CompactRange:
        return _range(start, end, self.forked)


@cache
def _range(start: int, end: int, forked: int) -> CompactRange:
    leaves = [leaf_hash(b"%d%d" % (n, n >= forked)) for n in range(start, end)]
    return CompactRange.empty().extend(leaves)
