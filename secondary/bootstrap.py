"""A snapshot into etcd: under a new generation, checked from what etcd then holds, then served."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from node.errors import StorageError
from node.failpoints import failpoint
from node.logging import get_logger
from registry.snapshot import SnapshotHeader, SnapshotReader, SnapshotRecord
from secondary.cursor import Cursor
from secondary.etcd import EtcdStore
from secondary.etcd_values import Put, Unchanged
from secondary.generations import KEEP_SECONDS, Claim, Generations
from secondary.replica import Replica, read_replica, record_puts
from secondary.roots import Roots

CHUNK_BYTES: Final = 1 << 20
# How often the claim is kept alive, and progress is logged: every so many records.
RECORDS_A_LOOK: Final = 1_000
PROGRESS_SECONDS: Final = 5.0

_log = get_logger("bootstrap")


class Bootstrap:
    """Loads snapshot files; one at a time."""

    def __init__(self, store: EtcdStore, generations: Generations, roots: Roots) -> None:
        self._store = store
        self._generations = generations
        self._roots = roots
        self._kept = 0.0
        self._logged = 0.0

    def load(self, path: Path, check: Callable[[SnapshotHeader], None]) -> Replica:
        """The replica that the snapshot makes, current when this returns.

        `check` is given its verified header before anything is written, and may refuse it.
        VerificationError: the file is not what the registry signed. ReplicaDamagedError: the
        file is, but etcd then holds something else. FenceLost: another follower was first.
        Whatever is raised, the generation that was current before still is.
        """
        served = self._generations.served()
        claim = self._generations.claim()
        try:
            self._fill(claim, path, check)
            replica = self._check(claim)
            failpoint("snapshot.before_flip")
            served = self._generations.flip(claim, served)
        except BaseException:
            self._generations.give_up(claim)
            raise
        failpoint("snapshot.after_flip")
        replica.guard = served.guard
        return replica

    def _fill(self, claim: Claim, path: Path, check: Callable[[SnapshotHeader], None]) -> None:
        """Put all records, then the cursor, behind the claim's guard."""
        try:
            with path.open("rb") as file:
                reader = SnapshotReader(iter(lambda: file.read(CHUNK_BYTES), b""))
                reader.header.open(self._roots)
                check(reader.header)
                puts = self._puts(claim, reader, reader.header.records)
                self._store.put_all(puts, [claim.guard])
        except OSError as error:
            raise StorageError(f"cannot read the snapshot: {error}") from error
        failpoint("snapshot.before_cursor")
        header = reader.header
        cursor = Cursor(header.signed_state, header.compact_range)
        key = claim.generation.cursor
        self._store.txn([claim.guard, Unchanged(key, 0)], [(key, cursor.encode())])

    def _puts(self, claim: Claim, records: Iterable[SnapshotRecord], total: int) -> Iterator[Put]:
        for number, record in enumerate(records):
            if number % RECORDS_A_LOOK == 0:
                failpoint("snapshot.in_load")
                self._look_up(claim, "snapshot.loading", number, total)
            yield from record_puts(
                claim.generation, record.state_key, record.encoded, record.openings
            )

    def _check(self, claim: Claim) -> Replica:
        """Compute the state root from what etcd holds."""
        self._generations.keep(claim)
        generation = claim.generation
        stored, tree, board = read_replica(self._store, generation, self._roots)
        return Replica(
            self._store, generation, claim.guard, self._roots, tree=tree, stored=stored, board=board
        )

    def _look_up(self, claim: Claim, event: str, done: int, total: int) -> None:
        """Keep the claim, and say how far this is, both from time to time."""
        now = time.monotonic()
        if now - self._kept > KEEP_SECONDS:
            self._generations.keep(claim)
            self._kept = now
        if now - self._logged > PROGRESS_SECONDS:
            _log.info(event, generation=claim.generation.number, records=done, total=total)
            self._logged = now
