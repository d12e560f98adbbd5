"""The log's tree and entries as files that never change (C2SP tlog-tiles).

A tile holds up to 256 hashes of one level; a hash of level L stands for 256^L leaves, which
are a full tile of the level below. Proofs are computed from tiles alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from registry.errors import LimitError, MalformedError, ProofError
from registry.limits import HASH_BYTES, MAX_ENTRY_BYTES, MAX_LOG_SIZE
from registry.merkle import NODE_PREFIX, CompactRange, fold_right

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
# Enough levels for the largest log; C2SP allows 63.
MAX_TILE_LEVEL: Final = MAX_LOG_SIZE.bit_length() // TILE_HEIGHT

_LENGTH_BYTES: Final = 2
_PATH: Final = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, order=True)
class TileId:
    """Which tile: level, position in the level, and how many hashes it has so far.

    MalformedError if no log has such a tile.
    """

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not 0 <= self.level <= MAX_TILE_LEVEL:
            raise MalformedError(f"no tile has level {self.level}")
        _check_position(self.level, self.index, self.width)

    @property
    def full(self) -> bool:
        """Whether the tile will never change again."""
        return self.width == TILE_WIDTH

    def path(self) -> str:
        """Where the tile is served, like `tile/0/x001/234.p/5`."""
        return f"tile/{self.level}/{_position_path(self.index, self.width)}"


class TileReader(Protocol):
    """Where tiles are kept."""

    def read(self, tile: TileId) -> bytes:
        """The tile's hashes, `width` of them, one after the other.

        A store that holds only a wider tile at this place returns the start of it. What cannot
        be read is an error of the store's own.
        """


def parse_path(path: str) -> TileId:
    """The tile served at a path; MalformedError if none is."""
    kind, index, width = _parse_path(path)
    if kind == "entries":
        raise MalformedError("a path of entries, not of hashes")
    return TileId(int(kind), index, width)


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """Where the bundle of the entries beside level-0 tile `index` is served."""
    _check_position(0, index, width)
    return f"tile/entries/{_position_path(index, width)}"


def parse_bundle_path(path: str) -> tuple[int, int]:
    """Index and width of the entry bundle served at a path; MalformedError if none is."""
    kind, index, width = _parse_path(path)
    if kind != "entries":
        raise MalformedError("a path of hashes, not of entries")
    _check_position(0, index, width)
    return index, width


def tile_at(level: int, index: int, size: int) -> TileId:
    """That tile as it is in a log of `size` leaves; MalformedError if it is empty there."""
    hashes = size >> (level * TILE_HEIGHT)
    return TileId(level, index, min(TILE_WIDTH, hashes - index * TILE_WIDTH))


def leaves_under(tile: TileId) -> int:
    """The size of the smallest log that has the tile."""
    return (tile.index * TILE_WIDTH + tile.width) << (TILE_HEIGHT * tile.level)


def tiles_between(old_size: int, new_size: int) -> list[TileId]:
    """The tiles to write when a log grows, the lowest level first: what is new or grew."""
    tiles = []
    for level in range(MAX_TILE_LEVEL + 1):
        old, new = (size >> (level * TILE_HEIGHT) for size in (old_size, new_size))
        if old == new:
            break
        last = (new - 1) // TILE_WIDTH
        tiles += [tile_at(level, index, new_size) for index in range(old // TILE_WIDTH, last + 1)]
    return tiles


def tile_root(hashes: bytes) -> bytes:
    """The root of a perfect subtree, from the hashes of one of its levels, joined.

    Of a full tile it is the hash that the tile has in the level above.
    """
    count = len(hashes) // HASH_BYTES
    if len(hashes) % HASH_BYTES or count.bit_count() != 1:
        raise MalformedError(f"{len(hashes)} bytes are no level of a perfect subtree")
    while len(hashes) > HASH_BYTES:
        hashes = b"".join(
            [
                sha256(NODE_PREFIX + hashes[at : at + 2 * HASH_BYTES]).digest()
                for at in range(0, len(hashes), 2 * HASH_BYTES)
            ]
        )
    return hashes


def compact_range(size: int, reader: TileReader) -> CompactRange:
    """The compact range of the log at `size`."""
    tree = _TiledTree(size, reader)
    return CompactRange(size, tuple(tree.nodes(0, size)))


def inclusion_path(index: int, size: int, reader: TileReader) -> list[bytes]:
    """The audit path of a leaf in the log of `size` (RFC 6962, 2.1.1).

    ProofError if there is no such leaf.
    """
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a log of {size}")
    tree = _TiledTree(size, reader)
    return [tree.root(*branch) for branch in _branches(index, index + 1, size)]


def consistency_path(size1: int, size2: int, reader: TileReader) -> list[bytes]:
    """The proof that the log of `size1` is a prefix of the log of `size2` (RFC 6962, 2.1.2).

    ProofError if `size1` is the greater.
    """
    if not 0 <= size1 <= size2:
        raise ProofError(f"a log of {size1} is no prefix of a log of {size2}")
    if size1 in (0, size2):
        return []
    tree = _TiledTree(size2, reader)
    # The last perfect subtree of the older log is where the proof starts; when that is the
    # whole older log, its root is known and left out.
    start = size1 & (size1 - 1)
    path = [tree.root(*branch) for branch in _branches(start, size1, size2)]
    return [tree.root(start, size1), *path] if start else path


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Consecutive entries as a bundle, each after its length in 16 bits, big-endian."""
    parts = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise LimitError(f"an entry of {len(entry)} bytes, more than {MAX_ENTRY_BYTES}")
        parts += [len(entry).to_bytes(_LENGTH_BYTES), entry]
    return b"".join(parts)


def decode_bundle(bundle: bytes) -> list[bytes]:
    """The entries of a bundle; MalformedError, or LimitError for one that is too large."""
    entries: list[bytes] = []
    at = 0
    while at < len(bundle):
        start = at + _LENGTH_BYTES
        length = int.from_bytes(bundle[at:start])
        at = start + length
        if at > len(bundle):
            raise MalformedError("an entry bundle that ends within an entry")
        if length > MAX_ENTRY_BYTES or len(entries) == TILE_WIDTH:
            raise LimitError("an entry bundle with too large or too many entries")
        entries.append(bundle[start:at])
    return entries


def leading_entries(data: bytes, count: int) -> list[bytes]:
    """The first `count` entries of what may be a bundle, fewer where it ends or is none."""
    entries: list[bytes] = []
    at = 0
    while len(entries) < count:
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start])
        if at > len(data) or start > len(data):
            break
        entries.append(data[start:at])
    return entries


class _TiledTree:
    """Hashes of subtrees of the log at `size`; reads each tile once."""

    def __init__(self, size: int, reader: TileReader) -> None:
        self._size = size
        self._reader = reader
        self._tiles: dict[tuple[int, int], bytes] = {}

    def root(self, start: int, end: int) -> bytes:
        """The hash of leaves `start` to `end`, which are a node's of the tree."""
        return fold_right(list(self.nodes(start, end)))

    def nodes(self, start: int, end: int) -> Iterator[bytes]:
        """The roots of the perfect subtrees that make up the leaves, the largest first."""
        while start < end:
            height = (end - start).bit_length() - 1
            yield self._node(height, start >> height)
            start += 1 << height

    def _node(self, height: int, index: int) -> bytes:
        """The root of the perfect subtree over 2^height leaves."""
        level, above = divmod(height, TILE_HEIGHT)
        first = index << above
        hashes = self._tile(level, first // TILE_WIDTH)
        at = first % TILE_WIDTH * HASH_BYTES
        return tile_root(hashes[at : at + (HASH_BYTES << above)])

    def _tile(self, level: int, index: int) -> bytes:
        hashes = self._tiles.get((level, index))
        if hashes is None:
            tile = tile_at(level, index, self._size)
            hashes = self._reader.read(tile)
            if len(hashes) != tile.width * HASH_BYTES:
                raise MalformedError(f"{len(hashes)} bytes instead of {tile.path()}")
            self._tiles[level, index] = hashes
        return hashes


def _branches(start: int, end: int, size: int) -> Sequence[tuple[int, int]]:
    """The leaves beside the way from a node up to the root of a log, the lowest first."""
    branches = []
    low, high = 0, size
    while (low, high) != (start, end):
        middle = low + (1 << ((high - low - 1).bit_length() - 1))
        if end <= middle:
            branches.append((middle, high))
            high = middle
        else:
            branches.append((low, middle))
            low = middle
    return branches[::-1]


def _check_position(level: int, index: int, width: int) -> None:
    if not 1 <= width <= TILE_WIDTH:
        raise MalformedError(f"no tile has {width} hashes")
    if index < 0 or index * TILE_WIDTH + width > MAX_LOG_SIZE >> (level * TILE_HEIGHT):
        raise MalformedError(f"no log has a tile {index} of level {level}")


def _position_path(index: int, width: int) -> str:
    groups = f"{index:,}".split(",")
    path = "/".join(f"x{group:0>3}" for group in groups[:-1])
    last = f"{groups[-1]:0>3}" if width == TILE_WIDTH else f"{groups[-1]:0>3}.p/{width}"
    return f"{path}/{last}" if path else last


def _parse_path(path: str) -> tuple[str, int, int]:
    match = _PATH.fullmatch(path)
    if match is None:
        raise MalformedError("not the path of a tile")
    kind, position, partial = match.groups()
    index = int(position.replace("x", "").replace("/", ""))
    width = int(partial or TILE_WIDTH)
    # Leading zeroes, or a full tile said to be partial, would be a second path of one tile.
    if path != f"tile/{kind}/{_position_path(index, width)}":
        raise MalformedError("not the canonical path of a tile")
    return kind, index, width
