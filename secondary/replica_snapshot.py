"""A snapshot file of the replica in etcd, for those who follow this mirror.

It is read at one revision, so it is of one checkpoint; whoever takes it verifies all of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import replace
from operator import itemgetter

from node.errors import StorageError
from node.snapshot_files import SnapshotFile, SnapshotFiles
from registry.batch import Record
from registry.checkpoint import CheckpointKeys
from registry.kinds import Kind
from registry.snapshot import SnapshotHeader
from secondary.cursor import Cursor
from secondary.etcd import EtcdStore
from secondary.layout import Generation, Layout, Place

# A state key, and the value at its key in etcd.
_Item = tuple[bytes, bytes]


def write_snapshot(
    store: EtcdStore, layout: Layout, keys: CheckpointKeys, files: SnapshotFiles
) -> SnapshotFile:
    """Write the snapshot of what is served now.

    StorageError: nothing is, or not as many records as are signed; or the disk refuses.
    EtcdError. VerificationError: the cursor is not what the registry signed.
    """
    current = store.get(layout.current)
    generation, revision = layout.served(current.value), current.revision
    if generation is None:
        raise StorageError("nothing is loaded yet")
    cursor = Cursor.decode(store.get(generation.cursor, revision).value or b"")
    position = cursor.open(keys)
    live_keys = position.state.live_keys
    header = SnapshotHeader(cursor.signed_state, cursor.compact_range, live_keys)
    records = _counted(_records(store, generation, revision), live_keys)
    return files.write(position.checkpoint.size, position.state.state_root, header, records)


def _counted(records: Iterable[Record], expected: int) -> Iterator[Record]:
    count = 0
    for record in records:
        count += 1
        yield record
    if count != expected:
        raise StorageError(f"etcd holds {count} records, where {expected} are signed")


def _records(store: EtcdStore, generation: Generation, revision: int) -> Iterator[Record]:
    """All records in the order of their state keys, each with its openings."""
    for prefixes in _by_kind(store, generation):
        values = _merged(store, generation, revision, prefixes)
        beside = _merged(store, generation, revision, [b"o/" + prefix for prefix in prefixes])
        opening = next(beside, None)
        for state_key, value in values:
            record = Record.decode(value)
            while opening is not None and opening[0] < state_key:
                opening = next(beside, None)
            if opening is not None and opening[0] == state_key:
                record = replace(record, openings=Record.decode(opening[1]).openings)
            yield record


def _by_kind(store: EtcdStore, generation: Generation) -> Iterator[list[bytes]]:
    """Where the records of each kind stand, the lowest kind first."""
    yield [b"h/"]
    yield [b"r/4/", b"r/6/"]
    for kind in sorted(_other_kinds(store, generation)):
        yield [b"k/%d/" % kind]


def _other_kinds(store: EtcdStore, generation: Generation) -> Iterator[int]:
    start, end = generation.prefix + b"k/", generation.prefix + b"k0"
    while (key := store.first_key(start, end)) is not None:
        place = generation.place(key)
        if place is None:
            start = key + b"\0"
            continue
        kind = place.state_key[0]
        if kind not in (Kind.HOLDER, Kind.REGISTRATION):
            yield kind
        start = generation.prefix + b"k/%d0" % kind


def _merged(
    store: EtcdStore, generation: Generation, revision: int, prefixes: list[bytes]
) -> Iterator[_Item]:
    """What stands below some prefixes, each in order itself, in the order of state keys."""
    streams = (_items(store, generation, revision, prefix) for prefix in prefixes)
    return heapq.merge(*streams, key=itemgetter(0))


def _items(
    store: EtcdStore, generation: Generation, revision: int, prefix: bytes
) -> Iterator[_Item]:
    for page in store.range_pages(generation.prefix + prefix, revision):
        for key, value in page:
            place: Place | None = generation.place(key)
            if place is not None:
                yield place.state_key, value
