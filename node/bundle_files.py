"""The log's entries on disk, 256 a file (C2SP entry bundles); some may be missing.

A bundle grows in a file of its own, and takes its name when it is full: whoever has the name has
the whole. Nothing is synced and nothing is trusted: a bundle is compared with the log's hash tiles
each time it is read, and one that is not what they say is removed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from node.errors import StorageError
from registry.merkle import leaf_hash
from registry.tiles import (
    TILE_WIDTH,
    TileId,
    TileReader,
    bundle_path,
    encode_bundle,
    leading_entries,
)

_GROWING: Final = ".growing"
_WRITE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC


class BundleFiles:
    """Bundles below one directory. One thread writes, any number read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # Where the last append ended: a bundle, the entries in it, and its bytes.
        self._end = (-1, 0, 0)

    def is_full(self, index: int) -> bool:
        """Whether the whole bundle is here."""
        return self._path(index).exists()

    def read(self, index: int, width: int, tiles: TileReader) -> bytes | None:
        """The bundle's first `width` entries, as the tiles have them; None if they are not here.

        StorageError: the disk refuses, or the tiles cannot be read.
        """
        full = self._path(index)
        for path in (full, _growing(full)):
            entries = leading_entries(_read(path), width)
            if len(entries) < width:
                continue
            hashes = b"".join(leaf_hash(entry) for entry in entries)
            if hashes == tiles.read(TileId(0, index, width)):
                return encode_bundle(entries)
            path.unlink(missing_ok=True)
        return None

    def append(self, start: int, entries: Sequence[bytes]) -> bool:
        """Takes the entries from `start` on; False if some bundle's beginning is not here.

        Such a bundle stays away until it is `put`. StorageError: the disk refuses.
        """
        is_whole, done = True, 0
        try:
            while done < len(entries):
                index, offset = divmod(start + done, TILE_WIDTH)
                part = entries[done : done + TILE_WIDTH - offset]
                is_whole &= self._append(index, offset, part)
                done += len(part)
        except OSError as error:
            raise StorageError(f"cannot keep entries: {error}") from error
        return is_whole

    def put(self, index: int, bundle: bytes) -> None:
        """Takes a whole bundle that was checked. StorageError: the disk refuses."""
        path = self._path(index)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f"{path.name}.new")
            new.write_bytes(bundle)
            new.replace(path)
            _growing(path).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot keep entries: {error}") from error

    def _append(self, index: int, offset: int, entries: Sequence[bytes]) -> bool:
        path = self._path(index)
        if path.exists():
            return True
        at = self._length(index, offset)
        if at is None:
            return False
        data = encode_bundle(entries)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(_growing(path), _WRITE_FLAGS, 0o644)
        try:
            os.ftruncate(descriptor, at)
            os.pwrite(descriptor, data, at)
        finally:
            os.close(descriptor)
        self._end = (index, offset + len(entries), at + len(data))
        if offset + len(entries) == TILE_WIDTH:
            _growing(path).replace(path)
        return True

    def _length(self, index: int, offset: int) -> int | None:
        """The bytes of a growing bundle's first `offset` entries; None if they are not here."""
        if offset == 0:
            return 0
        if self._end[:2] == (index, offset):
            return self._end[2]
        entries = leading_entries(_read(_growing(self._path(index))), offset)
        return len(encode_bundle(entries)) if len(entries) == offset else None

    def _path(self, index: int) -> Path:
        return self._directory / bundle_path(index)


def _growing(path: Path) -> Path:
    return path.with_name(path.name + _GROWING)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
