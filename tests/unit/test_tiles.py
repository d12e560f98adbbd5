"""Tiles: their paths, which ones there are, and proofs computed from nothing else."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import LimitError, MalformedError, ProofError
from registry.limits import MAX_ENTRY_BYTES, MAX_LOG_SIZE
from registry.merkle import CompactRange, leaf_hash, verify_consistency, verify_inclusion
from registry.tiles import (
    MAX_TILE_LEVEL,
    TILE_WIDTH,
    TileId,
    bundle_path,
    compact_range,
    consistency_path,
    decode_bundle,
    encode_bundle,
    inclusion_path,
    parse_bundle_path,
    parse_path,
    tile_at,
    tile_root,
    tiles_between,
)
from tests.support.reference_tree import consistency_proof, inclusion_proof, tree_root

# Past 65,536 leaves there are three levels of tiles.
LEAVES = [leaf_hash(number.to_bytes(4)) for number in range(70_000)]

sizes = st.integers(1, 1200) | st.integers(1, len(LEAVES))


class MemoryTiles:
    """All hashes of a log in memory, level by level; remembers what was read."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.levels = [b"".join(leaves)]
        while len(self.levels[-1]) >= TILE_WIDTH * 32:
            below = self.levels[-1]
            full = len(below) // (TILE_WIDTH * 32)
            self.levels.append(
                b"".join(
                    tile_root(below[index * TILE_WIDTH * 32 : (index + 1) * TILE_WIDTH * 32])
                    for index in range(full)
                )
            )
        self.reads: list[TileId] = []

    def read(self, tile: TileId) -> bytes:
        self.reads.append(tile)
        start = tile.index * TILE_WIDTH * 32
        return self.levels[tile.level][start : start + tile.width * 32]


TILES = MemoryTiles(LEAVES)

positions = st.one_of(
    *(
        st.builds(
            TileId,
            st.just(level),
            st.integers(0, (MAX_LOG_SIZE >> (8 * level)) // TILE_WIDTH - 1)
            if level < MAX_TILE_LEVEL
            else st.just(0),
            st.integers(1, TILE_WIDTH if level < MAX_TILE_LEVEL else 127),
        )
        for level in range(MAX_TILE_LEVEL + 1)
    )
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (TileId(0, 0), "tile/0/000"),
        (TileId(0, 1234, 5), "tile/0/x001/234.p/5"),
        (TileId(1, 1234067), "tile/1/x001/x234/067"),
        (TileId(2, 999, 255), "tile/2/999.p/255"),
    ],
)
def test_paths(tile: TileId, path: str) -> None:
    """Paths are those of C2SP tlog-tiles, the example of its text among them."""
    assert path == tile.path()
    assert tile == parse_path(path)


@given(positions)
def test_every_tile_has_one_path(tile: TileId) -> None:
    """A tile's path is read back as that tile."""
    assert tile == parse_path(tile.path())


@given(st.integers(0, MAX_LOG_SIZE // TILE_WIDTH - 1), st.integers(1, TILE_WIDTH))
def test_every_bundle_has_one_path(index: int, width: int) -> None:
    """An entry bundle's path is read back."""
    assert (index, width) == parse_bundle_path(bundle_path(index, width))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/00/000",
        "tile/8/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001/x234",
        "tile/0/1234",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/05",
        "tile/0/000.p/",
        "tile/0/000\n",
        "tile/0/../../../etc/passwd",
        "tile/0/\u0660\u0660\u0660",
        "/tile/0/000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/" + "x999/" * 5000 + "999",
        "tile/entries/000",
    ],
)
def test_what_is_not_a_path(path: str) -> None:
    """A second spelling of a path, or one that leads elsewhere, is refused."""
    with pytest.raises(MalformedError):
        parse_path(path)


@given(st.text(alphabet="tile/0123456789xp.entries", max_size=30))
def test_any_path_is_answered(path: str) -> None:
    """Whatever is asked for is the path of a tile, of a bundle, or malformed."""
    for text in (path, "tile/" + path, "tile/entries/" + path):
        with suppress(MalformedError):
            assert text == parse_path(text).path()
        with suppress(MalformedError):
            assert text == bundle_path(*parse_bundle_path(text))


@pytest.mark.parametrize(
    ("level", "index", "width"),
    [(-1, 0, 1), (8, 0, 1), (0, -1, 256), (0, 0, 0), (0, 0, 257), (7, 0, 128), (0, 2**55, 1)],
)
def test_tiles_that_cannot_be(level: int, index: int, width: int) -> None:
    """A tile that no log has cannot be named."""
    with pytest.raises(MalformedError):
        TileId(level, index, width)


def test_the_tiles_of_a_log_of_70000() -> None:
    """The example of C2SP tlog-tiles: 273 and 112 hashes, one full and 17, and one."""
    tiles = tiles_between(0, 70_000)
    assert tiles == [
        *(TileId(0, index) for index in range(273)),
        TileId(0, 273, 112),
        TileId(1, 0),
        TileId(1, 1, 17),
        TileId(2, 0, 1),
    ]
    assert tiles_between(0, 256) == [TileId(0, 0), TileId(1, 0, 1)]


@given(st.data())
def test_growing_writes_what_changed(data: st.DataObject) -> None:
    """The tiles written as a log grows are those of the new size that the old one lacked."""
    new_size = data.draw(sizes)
    old_size = data.draw(st.integers(0, new_size))
    before, after = set(tiles_between(0, old_size)), set(tiles_between(0, new_size))
    written = tiles_between(old_size, new_size)
    assert written == sorted(after - before)


@given(st.data())
def test_proofs_from_tiles_are_the_proofs(data: st.DataObject) -> None:
    """Paths and ranges computed from tiles equal RFC 6962's, at any size."""
    size = data.draw(st.integers(1, 600))
    index = data.draw(st.integers(0, size - 1))
    older = data.draw(st.integers(0, size))
    leaves = LEAVES[:size]
    assert inclusion_proof(index, leaves) == inclusion_path(index, size, TILES)
    assert consistency_proof(older, leaves) == consistency_path(older, size, TILES)
    assert CompactRange.empty().extend(leaves) == compact_range(size, TILES)


@given(st.data())
def test_proofs_from_tiles_verify_in_a_large_log(data: st.DataObject) -> None:
    """With three levels of tiles, too, what is computed verifies."""
    size = data.draw(sizes)
    index = data.draw(st.integers(0, size - 1))
    older = data.draw(st.integers(0, size))
    root = compact_range(size, TILES).root()
    path = inclusion_path(index, size, TILES)
    verify_inclusion(index, size, LEAVES[index], path, root)
    old_root = compact_range(older, TILES).root()
    verify_consistency(older, size, old_root, root, consistency_path(older, size, TILES))


def test_a_proof_reads_few_tiles_of_its_own_log() -> None:
    """A proof reads each tile once, and none that the checkpoint's log does not have."""
    tiles = MemoryTiles(LEAVES)
    inclusion_path(33_333, 66_000, tiles)
    assert len(set(tiles.reads)) == len(tiles.reads) <= 5
    assert set(tiles.reads) <= set(tiles_between(0, 66_000))


def test_proofs_of_what_is_not_there() -> None:
    """No proof is made of a leaf beyond the log, nor from a longer log to a shorter."""
    for index, size in [(5, 5), (-1, 5), (0, 0)]:
        with pytest.raises(ProofError):
            inclusion_path(index, size, TILES)
    with pytest.raises(ProofError):
        consistency_path(6, 5, TILES)


def test_the_empty_log_has_no_tiles() -> None:
    """An empty log's range needs no tile."""
    assert CompactRange.empty() == compact_range(0, TILES)
    assert tiles_between(0, 0) == []
    with pytest.raises(MalformedError):
        tile_at(0, 0, 0)


def test_a_short_tile_is_noticed() -> None:
    """A store that returns fewer hashes than asked for is not believed."""
    with pytest.raises(MalformedError):
        compact_range(70_000, MemoryTiles(LEAVES[:69_999]))


@pytest.mark.parametrize("count", [1, 2, 64, 256])
def test_the_root_of_a_tile(count: int) -> None:
    """A tile's root is the tree's over its hashes."""
    assert tree_root(LEAVES[:count]) == tile_root(b"".join(LEAVES[:count]))


@pytest.mark.parametrize("size", [0, 31, 33, 96, 255 * 32])
def test_what_has_no_single_root(size: int) -> None:
    """Hashes that are not a whole level of a perfect subtree have no root."""
    with pytest.raises(MalformedError):
        tile_root(bytes(size))


@given(st.lists(st.binary(max_size=40), max_size=TILE_WIDTH))
def test_a_bundle_is_read_back(entries: list[bytes]) -> None:
    """Entries survive their bundle, and a bundle cut short does not pass."""
    bundle = encode_bundle(entries)
    assert entries == decode_bundle(bundle)
    if entries:
        with pytest.raises(MalformedError):
            decode_bundle(bundle[:-1])


@given(st.binary(max_size=300))
def test_any_bundle_is_answered(data: bytes) -> None:
    """Whatever a peer sends for a bundle is entries that make the same bytes, or refused."""
    try:
        entries = decode_bundle(data)
    except MalformedError:
        return
    assert data == encode_bundle(entries)


def test_limits_of_a_bundle() -> None:
    """Too large an entry, or one more than a tile has hashes, is refused on both sides."""
    large = bytes(MAX_ENTRY_BYTES)
    assert [large] == decode_bundle(encode_bundle([large]))
    with pytest.raises(LimitError):
        encode_bundle([large + b"x"])
    with pytest.raises(LimitError):
        decode_bundle((MAX_ENTRY_BYTES + 1).to_bytes(2) + large + b"x")
    with pytest.raises(LimitError):
        decode_bundle(encode_bundle([b"x"] * TILE_WIDTH) + b"\0\1x")
