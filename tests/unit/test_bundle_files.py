"""Entry bundles on disk: whole or not there, and never anything but what the tiles say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.bundle_files import BundleFiles
from registry.merkle import leaf_hash
from registry.tiles import TILE_WIDTH, TileId, decode_bundle, encode_bundle, leading_entries

ENTRIES = [b"%d" % number * (number % 7 + 1) for number in range(3 * TILE_WIDTH)]


class Tiles:
    def __init__(self, entries: list[bytes] = ENTRIES) -> None:
        self.entries = entries

    def read(self, tile: TileId) -> bytes:
        first = tile.index * TILE_WIDTH
        return b"".join(leaf_hash(one) for one in self.entries[first : first + tile.width])


def bundle(index: int, width: int = TILE_WIDTH) -> bytes:
    first = index * TILE_WIDTH
    return encode_bundle(ENTRIES[first : first + width])


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=8), restarts=st.booleans())
def test_what_was_appended_is_read(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], restarts: bool
) -> None:
    """In any portions, over restarts: every bundle of every width."""
    directory = tmp_path_factory.mktemp("bundles")
    files, size = BundleFiles(directory), 0
    for count in sizes:
        part = ENTRIES[size : size + count]
        assert files.append(size, part)
        size += len(part)
        files = BundleFiles(directory) if restarts else files
    for index in range(size // TILE_WIDTH):
        assert bundle(index) == files.read(index, TILE_WIDTH, Tiles())
        assert bundle(index, 7) == files.read(index, 7, Tiles())
    index, width = divmod(size, TILE_WIDTH)
    if width:
        assert bundle(index, width) == files.read(index, width, Tiles())
        assert not files.is_full(index)
    if width < TILE_WIDTH - 1:
        assert files.read(index, width + 1, Tiles()) is None


def test_a_bundle_without_its_beginning_is_not_there(tmp_path: Path) -> None:
    """It stays away until the whole of it is put; the next one goes on."""
    files = BundleFiles(tmp_path)
    assert not files.append(100, ENTRIES[100:300])
    assert files.read(0, TILE_WIDTH, Tiles()) is None
    assert bundle(1, 44) == files.read(1, 44, Tiles())
    files.put(0, bundle(0))
    assert bundle(0) == files.read(0, TILE_WIDTH, Tiles())


def test_what_goes_back_is_written_over(tmp_path: Path) -> None:
    """A replica that was put back brings the same entries again."""
    files = BundleFiles(tmp_path)
    files.append(0, ENTRIES[:200])
    files.append(150, ENTRIES[150:180])
    files.append(180, ENTRIES[180:300])
    assert bundle(0) == files.read(0, TILE_WIDTH, Tiles())


@pytest.mark.parametrize("width", [TILE_WIDTH, 100])
def test_what_is_not_the_logs_is_removed(tmp_path: Path, width: int) -> None:
    """Whether the disk or another log is to blame: it is not given, and can be put again."""
    files = BundleFiles(tmp_path)
    files.append(0, ENTRIES[:width])
    other = [b"other", *ENTRIES[1:]]
    assert files.read(0, width, Tiles(other)) is None
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file()]


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(0, 6), st.binary(max_size=5))
def test_leading_entries(entries: list[bytes], count: int, torn: bytes) -> None:
    """As many whole ones as there are, whatever stands behind them."""
    data = encode_bundle(entries)
    assert entries[:count] == leading_entries(data, count)[: len(entries)]
    assert entries == leading_entries(data, 100)
    assert entries == decode_bundle(data)
    cut = data[: len(data) - 1]
    assert entries[:-1] == leading_entries(cut, 100)[: max(0, len(entries) - 1)]
