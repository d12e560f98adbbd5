"""The log's hash tiles on disk (C2SP tlog-tiles): one file a tile, growing while it is partial.

A partial tile is the beginning of what becomes the full one, so a tile of any width is read
from one file, the full one's, and nothing is written twice.

What is durable: full tiles of level 0, and every hash above them, before `append` returns.
The partial tile of level 0 is not synced: after a power cut it may be short or wrong, so
whoever opens the files compares the root at `size` with a signed one, and where it differs
goes back to `full_size` and appends again; to 0 if that root is wrong as well.

One process writes and any number of threads read what `size` covers; `truncate_to` is for
start-up, before there are readers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from node.errors import StorageError
from node.files import sync_directory
from registry.errors import RootMismatchError
from registry.limits import HASH_BYTES
from registry.tiles import MAX_TILE_LEVEL, TILE_HEIGHT, TILE_WIDTH, TileId, tile_root

# The highest level that the protocol knows begins at 2^56 leaves; no disk holds so many.
LEVELS: Final = MAX_TILE_LEVEL

# The last tile of each level, and some that are read.
_RECENT_PATHS: Final = 32
_WRITE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC


class TileFiles:
    """The tiles below one directory; a `TileReader`.

    Opening makes good what a crash between two levels left. StorageError when the directory
    cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            _make_directory(directory)
            sync_directory(directory)
            self._size = self._held(0)
            for level in range(1, LEVELS):
                self._repair(level)
        except OSError as error:
            raise StorageError(f"cannot open the tiles in {directory}: {error}") from error

    @property
    def size(self) -> int:
        """The number of leaves held."""
        return self._size

    @property
    def full_size(self) -> int:
        """The number of leaves in full tiles: those that a power cut cannot have touched."""
        return self._size - self._size % TILE_WIDTH

    def read(self, tile: TileId) -> bytes:
        """The tile's hashes, 32 bytes each; StorageError when it is not all there."""
        path = self._path(tile.level, tile.index)
        wanted = tile.width * HASH_BYTES
        try:
            with path.open("rb", buffering=0) as file:
                data = file.read(wanted)
        except OSError as error:
            raise StorageError(f"cannot read tile {tile.path()}: {error.strerror}") from error
        if len(data) != wanted:
            raise StorageError(f"{path} holds less than tile {tile.path()}")
        return data

    def append(self, leaf_hashes: Sequence[bytes], old_size: int) -> None:
        """Makes these the leaves from `old_size` on; what was held beyond it is forgotten.

        StorageError when `old_size` is beyond what is held, or when the disk refuses; the
        files can then be opened again.
        """
        if old_size < self._size:
            self.truncate_to(old_size)
        if old_size > self._size:
            raise StorageError(f"tiles of {self._size} leaves do not go on at {old_size}")
        nodes, level, position = leaf_hashes, 0, old_size
        try:
            while nodes:
                self._write(level, position, nodes)
                full = range(position // TILE_WIDTH, (position + len(nodes)) // TILE_WIDTH)
                nodes = [self._subtree(level, index) for index in full]
                level, position = level + 1, position // TILE_WIDTH
        except OSError as error:
            raise StorageError(f"cannot write tiles: {error}") from error
        self._size = old_size + len(leaf_hashes)

    def put(self, tile: TileId, hashes: bytes) -> None:
        """Takes a tile that was read elsewhere.

        Tiles of level 0 come in order and make the files grow. A tile that is covered already,
        as those of higher levels then are, is compared: RootMismatchError when it differs.
        Once the last one is in, the root at `size` still has to be compared with a signed one.
        """
        first = tile.index * TILE_WIDTH
        if (first + tile.width) << (TILE_HEIGHT * tile.level) <= self._size:
            if self.read(tile) != hashes:
                raise RootMismatchError(f"tile {tile.path()} is not what the leaves below make")
        elif tile.level == 0:
            self.append(split_hashes(hashes), first)
        else:
            raise StorageError(f"tile {tile.path()} came before the leaves below it")

    def truncate_to(self, size: int) -> None:
        """Forgets the leaves from `size` on; StorageError when there are not as many."""
        if size > self._size:
            raise StorageError(f"tiles of {self._size} leaves cannot be cut to {size}")
        try:
            # From the top, so that a crash leaves levels that `_repair` can fill again.
            for level in reversed(range(LEVELS)):
                held = self._size >> (TILE_HEIGHT * level)
                self._cut(level, held, size >> (TILE_HEIGHT * level))
        except OSError as error:
            raise StorageError(f"cannot cut tiles: {error}") from error
        self._size = size

    def sync(self) -> None:
        """Makes the partial tile of level 0 durable too, for an orderly end."""
        if self._size % TILE_WIDTH:
            path = self._path(0, self._size // TILE_WIDTH)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            sync_directory(path.parent)

    def _path(self, level: int, index: int) -> Path:
        return _tile_path(self._directory, level, index)

    def _held(self, level: int) -> int:
        """The number of hashes in the files of a level, whose tiles stand without a gap."""
        low, high = 0, 1
        while self._path(level, high - 1).exists():
            low, high = high, high * 2
        while low < high - 1:
            middle = (low + high) // 2
            if self._path(level, middle - 1).exists():
                low = middle
            else:
                high = middle
        if low == 0:
            return 0
        last = self._path(level, low - 1)
        in_last = last.stat().st_size // HASH_BYTES
        if in_last == 0:
            last.unlink()
        return (low - 1) * TILE_WIDTH + in_last

    def _repair(self, level: int) -> None:
        """Fills a level from the one below, as far as it is short of it or its end is wrong."""
        due, held = self._size >> (TILE_HEIGHT * level), self._held(level)
        good = min(due, held)
        while good and self._node(level, good - 1) != self._subtree(level - 1, good - 1):
            good -= 1
        self._cut(level, held, good)
        self._write(level, good, [self._subtree(level - 1, index) for index in range(good, due)])

    def _node(self, level: int, position: int) -> bytes:
        index, offset = divmod(position, TILE_WIDTH)
        return self.read(TileId(level, index, offset + 1))[-HASH_BYTES:]

    def _subtree(self, level: int, index: int) -> bytes:
        """The hash that a full tile adds to the level above."""
        return tile_root(self.read(TileId(level, index)))

    def _write(self, level: int, position: int, nodes: Sequence[bytes]) -> None:
        """Writes consecutive hashes, and syncs all but the partial tile of level 0."""
        synced: set[Path] = set()
        done = 0
        while done < len(nodes):
            index, offset = divmod(position + done, TILE_WIDTH)
            part = nodes[done : done + TILE_WIDTH - offset]
            is_synced = level > 0 or offset + len(part) == TILE_WIDTH
            path = self._path(level, index)
            _write_at(path, offset * HASH_BYTES, b"".join(part), is_synced)
            if is_synced:
                synced.add(path.parent)
            done += len(part)
        for directory in synced:
            sync_directory(directory)

    def _cut(self, level: int, held: int, count: int) -> None:
        """Removes the hashes of a level from `count` on, the last first: never a gap."""
        kept_tiles = -(-count // TILE_WIDTH)
        for index in reversed(range(kept_tiles, -(-held // TILE_WIDTH))):
            self._path(level, index).unlink()
        if count < held and count % TILE_WIDTH:
            os.truncate(self._path(level, kept_tiles - 1), count % TILE_WIDTH * HASH_BYTES)


# A tile grows up to 256 times, and to make its path costs as much as to write to it.
@lru_cache(maxsize=_RECENT_PATHS)
def _tile_path(directory: Path, level: int, index: int) -> Path:
    return directory / TileId(level, index).path()


def split_hashes(data: bytes) -> list[bytes]:
    """The hashes of a tile, one by one."""
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _write_at(path: Path, offset: int, data: bytes, is_synced: bool) -> None:
    if offset == 0:
        _make_directory(path.parent)
    descriptor = os.open(path, _WRITE_FLAGS, 0o644)
    try:
        if os.pwrite(descriptor, data, offset) != len(data):
            raise OSError(f"{path} was written in part: the disk may be full")
        if is_synced:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_directory(directory: Path) -> None:
    """Makes a directory and those above it, each durable."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)
