"""Proves what the replica holds of a key: from memory, the record from etcd, the tiles."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from node.errors import StorageError
from registry.batch import Record
from registry.content import check_content
from registry.entry import Entry
from registry.errors import VerificationError
from registry.kinds import Kind
from registry.merkle import leaf_hash
from registry.proof import Lookup
from registry.state_tree import Location
from registry.tiles import inclusion_path
from secondary.etcd import EtcdStore
from secondary.etcd_values import EtcdCompacted, EtcdError
from secondary.log_tiles import LogTiles
from secondary.replica import Replica

# Another follower's batch is in etcd a moment before memory has it.
ATTEMPTS: Final = 5
PAUSE_SECONDS: Final = 0.02


class CannotProveError(Exception):
    """No proof can be given now, and why; try again later, or at another mirror."""


class Prover:
    """Any thread may ask."""

    def __init__(
        self, store: EtcdStore, tiles: LogTiles, replica: Callable[[], Replica | None]
    ) -> None:
        self._store = store
        self._tiles = tiles
        self._replica = replica

    def prove(self, state_key: bytes) -> Lookup:
        """The key's record or its absence, with all that proves it; CannotProveError."""
        for _ in range(ATTEMPTS):
            lookup = self._attempt(state_key)
            if lookup is not None:
                return lookup
            time.sleep(PAUSE_SECONDS)
        raise CannotProveError("the record in etcd is not the one that the registry signed")

    def _attempt(self, state_key: bytes) -> Lookup | None:
        """A proof; None if etcd and memory do not agree."""
        replica = self._replica()
        proved = replica.prove(state_key) if replica else None
        if replica is None or proved is None:
            raise CannotProveError("the register is still being loaded")
        if proved.location is None:
            return Lookup(proved.signed_state, proved.proof)
        if not self._tiles.is_complete:
            raise CannotProveError(
                f"the log's hash tiles are still being fetched ({self._tiles.size} of "
                f"{proved.size}); absence can be proved, presence not yet"
            )
        record = self._record(replica, state_key, proved.location, proved.revision)
        if record is None:
            return None
        try:
            path = inclusion_path(record.index, proved.size, self._tiles)
        except StorageError as error:
            raise CannotProveError(f"a hash tile cannot be read: {error}") from error
        return Lookup(proved.signed_state, proved.proof, record, tuple(path))

    def _record(
        self, replica: Replica, state_key: bytes, location: Location, revision: int
    ) -> Record | None:
        """The record at `location`, with its public openings; None if etcd has another.

        At the revision of what memory holds: a batch is in etcd a moment before memory has it.
        """
        try:
            stored = self._value(replica.generation.record(state_key), revision)
            beside = None
            if state_key[0] != Kind.REGISTRATION:
                beside = self._value(replica.generation.openings(state_key), revision)
        except EtcdError as error:
            raise CannotProveError(f"etcd does not answer: {error}") from error
        if stored is None:
            return None
        try:
            record = Record.decode(stored)
            openings = Record.decode(beside).openings if beside else ()
            if (record.index, leaf_hash(record.entry)) != location:
                return None
            check_content(Entry.decode(record.entry), openings)
        except VerificationError:
            return None
        return Record(record.index, record.entry, openings)

    def _value(self, key: bytes, revision: int) -> bytes | None:
        """A key's value at a revision, or the newest where that one is no longer kept."""
        try:
            return self._store.get(key, revision).value
        except EtcdCompacted:
            return self._store.get(key).value
