"""The file of the last checkpoint: whole after any crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.errors import StorageError
from primary.checkpoint_file import MAX_CHECKPOINT_BYTES, SLOT_BYTES, CheckpointFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "checkpoint"


def _written(path: Path, *notes: bytes) -> None:
    file = CheckpointFile(path)
    file.read()
    for note in notes:
        file.write(note)
    file.close()


def test_there_is_no_note_before_the_first(path: Path) -> None:
    """A missing file is not an error here; what it means is for the start to judge."""
    assert CheckpointFile(path).read() is None


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.integers(0, 6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_last_note_is_read(path: Path, notes: list[bytes], restart: int) -> None:
    """Also when the writer was started again in between."""
    path.unlink(missing_ok=True)
    _written(path, *notes[:restart])
    _written(path, *notes[restart:])
    assert notes[-1] == CheckpointFile(path).read()


@pytest.mark.parametrize("kept", [0, 1, 40, 200, SLOT_BYTES - 1])
def test_a_torn_write_leaves_the_note_before_it(path: Path, kept: int) -> None:
    """Wherever the write stopped; and the next one is whole again."""
    note = bytes(range(256)) * 4
    _written(path, note + b"1", note + b"2")
    before = path.read_bytes()
    _written(path, note + b"3")
    after = path.read_bytes()
    (at,) = {0, SLOT_BYTES} - {
        slot
        for slot in (0, SLOT_BYTES)
        if before[slot : slot + SLOT_BYTES] == after[slot : slot + SLOT_BYTES]
    }
    torn = after[: at + kept] + before[at + kept :]
    path.write_bytes(torn)
    assert CheckpointFile(path).read() in {note + b"2", note + b"3"}
    _written(path, note + b"4")
    assert note + b"4" == CheckpointFile(path).read()


@pytest.mark.parametrize("data", [b"", bytes(2 * SLOT_BYTES), b"x" * 3 * SLOT_BYTES])
def test_a_file_of_something_else_is_an_error(path: Path, data: bytes) -> None:
    """It is never taken for no file at all."""
    path.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        CheckpointFile(path).read()


def test_a_directory_in_its_place_is_an_error(path: Path) -> None:
    """An error of the disk is not a missing file either."""
    path.mkdir()
    with pytest.raises(StorageError, match="cannot read"):
        CheckpointFile(path).read()


def test_a_note_that_does_not_fit_is_refused(path: Path) -> None:
    """The note before it stands."""
    _written(path, b"first")
    file = CheckpointFile(path)
    file.read()
    with pytest.raises(StorageError):
        file.write(bytes(MAX_CHECKPOINT_BYTES + 1))
    file.write(bytes(MAX_CHECKPOINT_BYTES))
    file.close()
    assert bytes(MAX_CHECKPOINT_BYTES) == CheckpointFile(path).read()


def test_the_file_is_its_owners_only(path: Path) -> None:
    """It is no secret, but nobody else has any business with it."""
    _written(path, b"note")
    assert 0o600 == path.stat().st_mode & 0o777
