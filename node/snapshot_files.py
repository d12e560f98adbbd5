"""Snapshot files on disk: written whole or not at all, read by offset, the last ones kept.

Writing is for one process at a time; reading is for any number of threads, also while files
come and go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from node.errors import StorageError
from node.failpoints import failpoint
from node.files import sync_directory
from registry.batch import Record
from registry.snapshot import SnapshotHeader, encode_snapshot, snapshot_name

# The newest, and the one before for whoever is in the middle of reading it.
KEPT: Final = 2
WRITE_BUFFER_BYTES: Final = 1024 * 1024

_NAME: Final = re.compile(r"([0-9]{1,19})-[0-9a-f]{64}\.snapshot")
_NEW_SUFFIX: Final = ".new"


class UnknownSnapshotError(StorageError):
    """No such snapshot, or no longer: subscribe again to be told of the newest."""


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A finished snapshot: its name, the log's size that it stands for, its bytes."""

    name: str
    size: int
    bytes: int


class SnapshotFiles:
    """The snapshots in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def list(self) -> list[SnapshotFile]:
        """Those that are finished, the newest first."""
        found = []
        with suppress(FileNotFoundError):
            for path in self._directory.iterdir():
                match = _NAME.fullmatch(path.name)
                # One may be removed while the directory is read.
                with suppress(FileNotFoundError):
                    if match:
                        found.append(SnapshotFile(path.name, int(match[1]), path.stat().st_size))
        return sorted(found, key=lambda snapshot: snapshot.size, reverse=True)

    def newest(self) -> SnapshotFile | None:
        """The newest one, if there is any."""
        return next(iter(self.list()), None)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A snapshot's bytes; they stay readable when the file is removed meanwhile.

        UnknownSnapshotError when there is none of that name.
        """
        if not _NAME.fullmatch(name):
            raise UnknownSnapshotError(f"{name!r} is not a snapshot's name")
        try:
            file = (self._directory / name).open("rb")
        except FileNotFoundError:
            raise UnknownSnapshotError(f"there is no snapshot {name}") from None
        with file:
            yield file

    def write(
        self, size: int, state_root: bytes, header: SnapshotHeader, records: Iterable[Record]
    ) -> SnapshotFile:
        """Makes a snapshot, durable when this returns, and removes those too old to keep.

        StorageError when the disk refuses; nothing is left then.
        """
        name = snapshot_name(size, state_root)
        path = self._directory / name
        new = self._directory / (name + _NEW_SUFFIX)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._write_synced(new, header, records)
            failpoint("snapshot.written")
            new.replace(path)
            sync_directory(self._directory)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
        finally:
            new.unlink(missing_ok=True)
        self.prune()
        return SnapshotFile(name, size, path.stat().st_size)

    def prune(self) -> None:
        """Removes all but the newest, and what a crash left half-written."""
        for old in self.list()[KEPT:]:
            (self._directory / old.name).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            for path in self._directory.glob(f"*{_NEW_SUFFIX}"):
                path.unlink(missing_ok=True)

    def _write_synced(self, path: Path, header: SnapshotHeader, records: Iterable[Record]) -> None:
        with path.open("wb", buffering=WRITE_BUFFER_BYTES) as file:
            for piece in encode_snapshot(header, records):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
