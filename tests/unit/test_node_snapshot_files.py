"""Snapshot files on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.snapshot_files import KEPT, SnapshotFile, SnapshotFiles, UnknownSnapshotError
from registry.batch import Record, SignedState
from registry.entry import Entry
from registry.kinds import Kind, Operation
from registry.snapshot import SnapshotHeader, SnapshotReader, snapshot_name

ROOT = bytes(32)
HEADER = SnapshotHeader(SignedState(b"note", b"entry", ()), (), 3)


def _records() -> list[Record]:
    keys = [bytes([number]) * 16 for number in range(HEADER.records)]
    entries = [Entry(Kind.POLICY, key, Operation.PUT, False, 0, b"payload") for key in keys]
    return [Record(index, entry.encode()) for index, entry in enumerate(entries)]


def _write(files: SnapshotFiles, size: int) -> SnapshotFile:
    return files.write(size, ROOT, HEADER, _records())


def test_a_snapshot_is_read_back(tmp_path: Path) -> None:
    """What was written is a snapshot file of the size it says."""
    files = SnapshotFiles(tmp_path / "snapshots")
    made = _write(files, 40)
    assert files.newest() == made
    with files.open(made.name) as file:
        content = file.read()
    assert len(content) == made.bytes
    reader = SnapshotReader([content])
    assert HEADER == reader.header
    assert _records() == [change.record() for change in reader]


def test_only_the_last_ones_are_kept(tmp_path: Path) -> None:
    """Disk use stays bounded; whoever reads the one before may go on."""
    files = SnapshotFiles(tmp_path)
    made = [_write(files, size) for size in (9, 40, 1000)]
    assert made[: -KEPT - 1 : -1] == files.list()


def test_an_open_snapshot_outlives_its_name(tmp_path: Path) -> None:
    """A reader that is half through gets the rest."""
    files = SnapshotFiles(tmp_path)
    first = _write(files, 1)
    with files.open(first.name) as file:
        for size in (2, 3):
            _write(files, size)
        assert first not in files.list()
        assert first.bytes == len(file.read())


def test_what_failed_is_not_seen(tmp_path: Path) -> None:
    """A snapshot that ends in an error leaves no file behind."""

    def broken() -> Iterator[Record]:
        yield from _records()[:1]
        raise RuntimeError

    files = SnapshotFiles(tmp_path)
    with pytest.raises(RuntimeError):
        files.write(5, ROOT, HEADER, broken())
    assert [] == list(tmp_path.iterdir())


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    """A half-written file is not taken for a snapshot, and goes when the next one is made."""
    half = tmp_path / (snapshot_name(7, ROOT) + ".new")
    half.write_bytes(b"half")
    files = SnapshotFiles(tmp_path)
    assert files.newest() is None
    _write(files, 8)
    assert not half.exists()


@pytest.mark.parametrize("name", ["", "../primary.toml", snapshot_name(9, ROOT), "9.snapshot"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    """Nothing but snapshots can be read through this."""
    with pytest.raises(UnknownSnapshotError), SnapshotFiles(tmp_path).open(name):
        pass
