"""Tile files: what is appended is read back and proves, whatever a crash left."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import StorageError
from node.tile_files import TileFiles
from registry.errors import RootMismatchError
from registry.limits import HASH_BYTES
from registry.merkle import CompactRange, verify_consistency, verify_inclusion
from registry.tiles import (
    TILE_WIDTH,
    TileId,
    compact_range,
    consistency_path,
    inclusion_path,
    tiles_between,
)

# Enough for three levels: 65,536 leaves fill a tile of level 1.
THREE_LEVELS = 65_536 + 300
LEAVES = [sha256(number.to_bytes(4)).digest() for number in range(THREE_LEVELS)]


def expected_root(size: int) -> bytes:
    return CompactRange.empty().extend(LEAVES[:size]).root()


def root(files: TileFiles) -> bytes:
    return compact_range(files.size, files).root()


def grown(directory: Path, size: int) -> TileFiles:
    files = TileFiles(directory)
    files.append(LEAVES[:size], 0)
    return files


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> TileFiles:
    """A log of three levels, which no test changes."""
    return grown(tmp_path_factory.mktemp("large"), THREE_LEVELS)


def test_files_stand_where_they_are_served(tmp_path: Path) -> None:
    """The names are those of C2SP tlog-tiles, for full tiles."""
    grown(tmp_path, 2 * TILE_WIDTH + 5)

    assert ["tile/0/000", "tile/0/001", "tile/0/002", "tile/1/000"] == sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert b"".join(LEAVES[:TILE_WIDTH]) == (tmp_path / "tile/0/000").read_bytes()


@given(sizes=st.lists(st.integers(0, 1500), min_size=1, max_size=6).map(sorted))
@settings(max_examples=40, deadline=None)
def test_root_is_the_same_however_it_grew(sizes: list[int]) -> None:
    """Appended in any steps, reopened at any time, the tiles give the log's root."""
    with TemporaryDirectory() as name:
        size = 0
        for new_size in sizes:
            TileFiles(Path(name)).append(LEAVES[size:new_size], size)
            size = new_size
        files = TileFiles(Path(name))

        assert sizes[-1] == files.size
        assert expected_root(files.size) == root(files)


def test_three_levels(large: TileFiles) -> None:
    """A large log fills tiles of three levels, found again when it is opened."""
    reopened = TileFiles(large._directory)

    assert THREE_LEVELS == reopened.size
    assert expected_root(THREE_LEVELS) == root(reopened)
    assert HASH_BYTES == len(reopened.read(TileId(2, 0, 1)))


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_proofs_come_from_the_files(large: TileFiles, data: st.DataObject) -> None:
    """Inclusion and consistency proofs read from the files verify, at any earlier size too."""
    size = data.draw(st.integers(1, 3000))
    index = data.draw(st.integers(0, size - 1))
    earlier = data.draw(st.integers(1, size))

    path = inclusion_path(index, size, large)
    verify_inclusion(index, size, LEAVES[index], path, expected_root(size))
    path = consistency_path(earlier, size, large)
    verify_consistency(earlier, size, expected_root(earlier), expected_root(size), path)


def test_partial_tile_is_the_start_of_the_wider_one(tmp_path: Path) -> None:
    """A reader that is a little behind still gets the tile of the width that it asks for."""
    files = grown(tmp_path, 100)

    assert b"".join(LEAVES[:40]) == files.read(TileId(0, 0, 40))


@pytest.mark.parametrize(
    "tile", [TileId(0, 0, 101), TileId(0, 0), TileId(0, 1, 1), TileId(1, 0, 1)]
)
def test_tile_that_is_not_all_there_is_an_error(tmp_path: Path, tile: TileId) -> None:
    """Never a shorter tile than asked for."""
    files = grown(tmp_path, 100)

    with pytest.raises(StorageError, match=tile.path().replace(".", r"\.")):
        files.read(tile)


def test_gap_is_refused(tmp_path: Path) -> None:
    """Leaves that do not follow what is held would make wrong tiles."""
    files = grown(tmp_path, 10)

    with pytest.raises(StorageError, match="tiles of 10 leaves do not go on at 11"):
        files.append(LEAVES[11:12], 11)
    assert 10 == files.size


@given(size=st.integers(0, 1500), cut=st.integers(0, 1500), again=st.integers(0, 600))
@settings(max_examples=40, deadline=None)
def test_truncated_files_go_on_from_there(size: int, cut: int, again: int) -> None:
    """What was cut off leaves no trace in what is appended after it."""
    cut = min(cut, size)
    with TemporaryDirectory() as name:
        grown(Path(name), size).truncate_to(cut)
        files = TileFiles(Path(name))
        assert cut == files.size
        others = [sha256(leaf).digest() for leaf in LEAVES[:again]]

        files.append(others, cut)

        assert CompactRange.empty().extend(LEAVES[:cut] + others).root() == root(files)


def test_appending_over_what_is_held_replaces_it(tmp_path: Path) -> None:
    """A batch that comes again after a crash is written again."""
    files = grown(tmp_path, 700)

    files.append(LEAVES[500:600], 500)

    assert 600 == files.size
    assert expected_root(600) == root(files)


def test_cannot_be_cut_to_more(tmp_path: Path) -> None:
    """Cutting never makes leaves up."""
    with pytest.raises(StorageError, match="cannot be cut to 11"):
        grown(tmp_path, 10).truncate_to(11)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: os.truncate(path, 2 * HASH_BYTES),
        lambda path: os.truncate(path, 2 * HASH_BYTES + 7),
        lambda path: path.write_bytes(path.read_bytes()[: -2 * HASH_BYTES] + bytes(2 * HASH_BYTES)),
        lambda path: path.write_bytes(path.read_bytes() + b"\x55" * HASH_BYTES),
    ],
    ids=["missing", "empty", "short", "torn", "zeroed end", "too long"],
)
def test_level_above_is_made_good(tmp_path: Path, damage: object) -> None:
    """Whatever a crash left of the level above, opening computes it from the leaves."""
    assert callable(damage)
    grown(tmp_path, 5 * TILE_WIDTH + 9)
    damage(tmp_path / "tile/1/000")

    files = TileFiles(tmp_path)

    assert 5 * TILE_WIDTH + 9 == files.size
    assert expected_root(files.size) == root(files)


@pytest.mark.parametrize(
    ("left", "size"), [(0, 512), (1, 512), (32, 513), (33, 513), (32 * 40, 552)]
)
def test_lost_end_is_found_by_its_length(tmp_path: Path, left: int, size: int) -> None:
    """The partial tile may be short after a power cut; the size says what is there."""
    grown(tmp_path, 2 * TILE_WIDTH + 50)
    os.truncate(tmp_path / "tile/0/002", left)

    files = TileFiles(tmp_path)

    assert size == files.size
    assert expected_root(size) == root(files)
    files.append(LEAVES[size:1000], size)
    assert expected_root(1000) == root(files)


def test_wrong_end_is_found_by_the_root_and_rewritten(tmp_path: Path) -> None:
    """Where the partial tile holds rubbish, going back to the full tiles mends it."""
    grown(tmp_path, 2 * TILE_WIDTH + 50)
    (tmp_path / "tile/0/002").write_bytes(bytes(50 * HASH_BYTES))
    files = TileFiles(tmp_path)
    assert expected_root(files.size) != root(files)

    files.append(LEAVES[files.full_size : 562], files.full_size)

    assert expected_root(562) == root(TileFiles(tmp_path))


def test_full_tiles_are_synced_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full tile is durable before the hash above it is written; the partial one waits."""
    files = grown(tmp_path, 10)
    synced: list[str] = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path)))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    files.append(LEAVES[10:20], 10)
    assert [] == synced

    files.append(LEAVES[20:300], 20)
    assert ["tile/0/000", "tile/0", "tile", "tile/1/000", "tile/1"] == synced

    synced.clear()
    files.sync()
    assert ["tile/0/001", "tile/0"] == synced


@pytest.mark.parametrize(("old", "new"), [(0, 700), (0, 256), (300, 700), (300, 310), (700, 700)])
def test_tiles_read_elsewhere_are_put(tmp_path: Path, old: int, new: int) -> None:
    """The tiles that another node serves for a growth make the same files."""
    theirs = grown(tmp_path / "theirs", 1000)
    ours = grown(tmp_path / "ours", old)

    for tile in tiles_between(old, new):
        ours.put(tile, theirs.read(tile))

    assert new == ours.size
    assert expected_root(new) == root(TileFiles(tmp_path / "ours"))


def test_tile_that_contradicts_the_leaves_is_refused(tmp_path: Path) -> None:
    """What cannot be of the same log never enters (P2)."""
    files = grown(tmp_path, 600)

    with pytest.raises(RootMismatchError, match="tile/1/000"):
        files.put(TileId(1, 0, 2), bytes(2 * HASH_BYTES))
    with pytest.raises(RootMismatchError, match="tile/0/000"):
        files.put(TileId(0, 0), bytes(TILE_WIDTH * HASH_BYTES))
    with pytest.raises(StorageError, match="came before the leaves"):
        files.put(TileId(1, 0, 3), bytes(3 * HASH_BYTES))


def test_directory_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """The message names it."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StorageError, match=r"cannot open the tiles in .*file"):
        TileFiles(tmp_path / "file")
