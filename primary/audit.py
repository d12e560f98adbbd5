"""Reads the whole log as a stranger would, and holds everything else against it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from primary.checkpoint_file import CheckpointFile
from primary.errors import DoubtfulStateError
from primary.log_signer import LogSigner
from primary.opening import check_log
from primary.settings import PrimarySettings
from primary.signing_keys import SigningKeys
from primary.store.reader import Reader
from primary.store.store import Store
from primary.store.values import StoredBatch, StoredHead
from registry.board import Board
from registry.errors import RootMismatchError, StateMismatchError
from registry.limits import HASH_BYTES
from registry.merkle import CompactRange
from registry.replay import Replay
from registry.state_tree import StateTree
from registry.tiles import TILE_WIDTH, TileId, compact_range, tile_root

BATCHES_A_READ: Final = 64
# A running primary may commit between two looks; it is not always in the middle of it.
ATTEMPTS: Final = 20
ATTEMPT_SECONDS: Final = 0.1

# Told how many entries of how many are read.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found to hold: the log's size and its records, and how much the tiles cover.

    Tiles that are behind are no fault: the next start writes the rest. Entries before `lost` are
    known by their hashes alone, after a recovery.
    """

    size: int
    live_keys: int
    zone_serial: int
    tiles_size: int
    lost: int = 0


def audit(settings: PrimarySettings, keys: SigningKeys, progress: Progress) -> Report:
    """Checks the database, the last checkpoint and the tiles; a primary may run meanwhile.

    DoubtfulStateError: a start would be refused. VerificationError: the log is not what was
    signed. SchemaError, StoreUnavailableError: the database cannot be read.
    """
    store = Store(settings.store_url)
    try:
        _check_log(store, keys.log, CheckpointFile(settings.checkpoint_file))
        head = store.reader.head()
        lost = store.reader.first_size()
        if lost:
            return _check_recovered(settings.tiles_dir, head, lost)
        tiles = _Tiles(settings.tiles_dir)
        live_keys, serial = _replay(store.reader, keys.log, head, tiles, progress)
        return Report(head.size, live_keys, serial, tiles.finish())
    finally:
        store.close()


def _check_recovered(tiles: Path, head: StoredHead, lost: int) -> Report:
    """A log whose beginning was lost: its records were checked, its hashes are in the tiles."""
    if head.state is None or compact_range(head.size, _TileReader(tiles)).root() != head.root:
        raise RootMismatchError("the tiles do not lead to the root of the log")
    return Report(head.size, head.state.live_keys, head.state.zone_serial, head.size, lost)


class _TileReader:
    """Reads tile files, and never writes; a `registry.tiles.TileReader`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, tile: TileId) -> bytes:
        """The tile's hashes."""
        path = self._directory / TileId(tile.level, tile.index).path()
        data = path.read_bytes() if path.exists() else b""
        if len(data) < tile.width * HASH_BYTES:
            raise RootMismatchError(f"{path} is missing, or cut off")
        return data[: tile.width * HASH_BYTES]


def _check_log(store: Store, signer: LogSigner, checkpoint_file: CheckpointFile) -> None:
    for attempt in range(ATTEMPTS):
        try:
            return check_log(store, signer, checkpoint_file)
        except DoubtfulStateError:
            if attempt + 1 == ATTEMPTS:
                raise
            time.sleep(ATTEMPT_SECONDS)
    raise AssertionError("unreachable")


def _replay(
    reader: Reader, signer: LogSigner, head: StoredHead, tiles: _Tiles, progress: Progress
) -> tuple[int, int]:
    """Follows the log up to `head`; its live keys and serial."""
    tree = StateTree()
    replay = Replay(Board.begin(signer.chain), CompactRange.empty(), tree, 0)
    while replay.size < head.size:
        stored = _read_batches(reader, replay.size)
        if not stored:
            raise RootMismatchError(f"the log ends at {replay.size}, not at {head.size}")
        for batch in stored:
            if batch.size > head.size:
                break
            verified = replay.verify(batch.sign(signer))
            tiles.compare(verified.leaf_hashes)
            replay.advance(verified)
        progress(replay.size, head.size)
    if replay.root != head.root:
        raise RootMismatchError(f"the entries do not lead to the root at {head.size}")
    if head.state is None or tree.root != head.state.state_root:
        raise StateMismatchError("the entries do not lead to the state that the database states")
    return tree.live, replay.zone_serial


def _read_batches(reader: Reader, size: int) -> list[StoredBatch]:
    try:
        return reader.batches_from(size, BATCHES_A_READ)
    except IndexError:
        # Fewer rows than the boundaries of the batches span.
        raise RootMismatchError(f"entries are missing behind {size}") from None


class _Tiles:
    """Compares tile files with the leaves that they should be of; never writes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # Hashes of each level that are not a full tile yet, and how many tiles came before.
        self._levels: list[list[bytes]] = [[]]
        self._full: list[int] = [0]
        self._covered = 0

    def compare(self, leaf_hashes: tuple[bytes, ...]) -> None:
        """Takes the next leaves. RootMismatchError: a tile holds something else."""
        for leaf in leaf_hashes:
            self._levels[0].append(leaf)
            if len(self._levels[0]) == TILE_WIDTH:
                self._finish_tile(0)

    def finish(self) -> int:
        """Compares the tiles that are not full; how many leaves the files cover."""
        for level in range(len(self._levels)):
            if self._levels[level]:
                self._read(level)
        return self._covered

    def _finish_tile(self, level: int) -> None:
        self._read(level)
        above = tile_root(b"".join(self._levels[level]))
        self._levels[level] = []
        self._full[level] += 1
        if level + 1 == len(self._levels):
            self._levels.append([])
            self._full.append(0)
        self._levels[level + 1].append(above)
        if len(self._levels[level + 1]) == TILE_WIDTH:
            self._finish_tile(level + 1)

    def _read(self, level: int) -> None:
        tile = TileId(level, self._full[level])
        expected = b"".join(self._levels[level])
        path = self._directory / tile.path()
        found = path.read_bytes()[: len(expected)] if path.exists() else b""
        if not expected.startswith(found):
            raise RootMismatchError(f"{path} is not of this log: remove the tiles and start again")
        if level == 0 and self._covered == tile.index * TILE_WIDTH:
            self._covered += len(found) // HASH_BYTES
