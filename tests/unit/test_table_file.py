"""The table file: what goes in comes out, and any bytes give pages or a typed error."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedError, VerificationError
from secondary.table_file import MAGIC, TableHead, TableReader, TableWriter

HEAD = TableHead(3, 17, b"cursor")
PAGES = [[b"one", b"", b"three"], [b"four"]]


def written(path: Path) -> bytes:
    """The bytes of a file with those pages."""
    with TableWriter(path, HEAD) as writer:
        for page in PAGES:
            writer.add(page)
        writer.add([])
        writer.keep()
    return path.read_bytes()


def test_what_was_added_is_read(tmp_path: Path) -> None:
    """Head, pages and records come back, and nobody else may read the file."""
    path = tmp_path / "t"
    reader = TableReader(io.BytesIO(written(path)))

    assert HEAD == reader.head
    assert PAGES == list(reader)
    assert path.stat().st_mode & 0o077 == 0


def test_what_was_not_kept_leaves_nothing(tmp_path: Path) -> None:
    """A load that failed its checks leaves the file there was, and no other."""
    path = tmp_path / "t"
    before = written(path)
    with TableWriter(path, HEAD) as writer:
        writer.add([b"other"])

    assert [path] == list(tmp_path.iterdir())
    assert before == path.read_bytes()


def test_a_disk_that_refuses_raises_nothing(tmp_path: Path) -> None:
    """The file is a convenience: without a directory for it there is none."""
    with TableWriter(tmp_path / "nowhere" / "t", HEAD) as writer:
        writer.add([b"record"])
        writer.keep()

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", range(0, 90, 7))
def test_a_file_that_was_cut_off_is_malformed(tmp_path: Path, kept: int) -> None:
    """Wherever it ends too early, that is said."""
    data = written(tmp_path / "t")
    assert kept < len(data)

    with pytest.raises(MalformedError):
        list(TableReader(io.BytesIO(data[:kept])))


@given(st.binary(max_size=200))
def test_any_bytes_give_pages_or_a_typed_error(data: bytes) -> None:
    """Nothing else is raised, and no more memory is asked for than a page may have."""
    for start in (b"", MAGIC):
        try:
            list(TableReader(io.BytesIO(start + data)))
        except VerificationError:
            continue
