"""A replica as files, from which a lost primary is rebuilt: a snapshot, and every leaf hash.

    replica.snapshot      as docs/design.md has it: the newest entry of every live key
    leaves                the leaf hashes of the whole log, 32 bytes each

Both are verified while they are written, by the board's roots; whoever reads them does so again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError, StorageError
from registry.batch import Record, outline_slot
from registry.errors import RootMismatchError, StateMismatchError
from registry.limits import HASH_BYTES
from registry.merkle import CompactRange
from registry.snapshot import SnapshotHeader, encode_snapshot
from registry.state_tree import StateTree
from registry.tiles import TILE_WIDTH, TileId
from secondary.cursor import Position
from secondary.etcd import EtcdStore
from secondary.layout import Generation, Section
from secondary.replica import learn_roots, read_cursor
from secondary.roots import Roots
from secondary.settings import SecondarySettings

SNAPSHOT_NAME: Final = "replica.snapshot"
LEAVES_NAME: Final = "leaves"


def export(settings: SecondarySettings, directory: Path) -> Position:
    """Writes what this secondary holds into a new directory; where in the log that is.

    The secondary may run meanwhile. ConfigurationError: the directory exists, or nothing is
    loaded yet. VerificationError: what is held is not what the registry signed.
    """
    roots = Roots.load(settings)
    store = EtcdStore(settings.etcd_endpoints, settings.etcd.tls)
    try:
        generation = settings.layout.served(store.get(settings.layout.current).value)
        if generation is None:
            raise ConfigurationError("this secondary holds no register yet")
        try:
            directory.mkdir(parents=True)
        except OSError as error:
            raise ConfigurationError(f"cannot make {directory}: {error.strerror}") from error
        position = _write_snapshot(store, generation, roots, directory)
    finally:
        store.close()
    _write_leaves(settings.tiles_dir, position, directory)
    return position


def _write_snapshot(
    store: EtcdStore, generation: Generation, roots: Roots, directory: Path
) -> Position:
    learn_roots(store, generation, roots)
    stored, revision = read_cursor(store, generation, roots)
    cursor, position = stored.cursor, stored.position
    header = SnapshotHeader(cursor.signed_state, cursor.compact_range, position.state.live_keys)
    try:
        with (directory / SNAPSHOT_NAME).open("xb") as file:
            for piece in encode_snapshot(header, _records(store, generation, revision)):
                file.write(piece)
    except OSError as error:
        raise StorageError(f"cannot write {directory}: {error.strerror or error}") from error
    tree = StateTree.build(_slots(store, generation, revision))
    if (tree.live, tree.root) != (position.state.live_keys, position.state.state_root):
        raise StateMismatchError("the records in etcd are not those that the registry signed")
    return position


def _records(store: EtcdStore, generation: Generation, revision: int) -> Iterator[Record]:
    """Every record with its openings, in the order of state keys."""
    openings = heapq.merge(*_sections(store, generation, revision, generation.all_openings))
    beside = next(openings, None)
    for state_key, value in heapq.merge(*_sections(store, generation, revision, generation.prefix)):
        while beside is not None and beside[0] < state_key:
            beside = next(openings, None)
        record = Record.decode(value)
        if beside is not None and beside[0] == state_key:
            record = replace(record, openings=Record.decode(beside[1]).openings)
        yield record


def _sections(
    store: EtcdStore, generation: Generation, revision: int, prefix: bytes
) -> list[Iterator[tuple[bytes, bytes]]]:
    """State keys and values, each section in the order of its state keys."""
    others = _section(store, generation, revision, prefix + b"k/")
    return [
        _section(store, generation, revision, prefix + b"h/"),
        _section(store, generation, revision, prefix + b"r/4/"),
        _section(store, generation, revision, prefix + b"r/6/"),
        # Their kinds stand in decimal digits; there are few of them.
        iter(sorted(others)),
    ]


def _section(
    store: EtcdStore, generation: Generation, revision: int, prefix: bytes
) -> Iterator[tuple[bytes, bytes]]:
    for page in store.range_pages(prefix, revision):
        for key, value in page:
            place = generation.place(key)
            if place is not None and place.section in (Section.RECORD, Section.OPENINGS):
                yield place.state_key, value


def _slots(store: EtcdStore, generation: Generation, revision: int) -> Iterator[bytes]:
    for section in _sections(store, generation, revision, generation.prefix):
        for _, value in section:
            yield outline_slot(value)[2]


def _write_leaves(tiles: Path, position: Position, directory: Path) -> None:
    size, held = position.checkpoint.size, CompactRange.empty()
    try:
        with (directory / LEAVES_NAME).open("xb") as file:
            for index in range(-(-size // TILE_WIDTH)):
                width = min(TILE_WIDTH, size - index * TILE_WIDTH)
                path = tiles / TileId(0, index, TILE_WIDTH).path()
                data = path.read_bytes()[: width * HASH_BYTES]
                held = held.extend(
                    [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
                )
                file.write(data)
    except OSError as error:
        raise StorageError(f"cannot copy the log's tiles: {error}") from error
    if (held.size, held.root()) != (size, position.checkpoint.root):
        raise RootMismatchError("the tiles are not those of the log, or not all fetched yet")
