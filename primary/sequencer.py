"""The sequencer: the one place where the log grows.

What has gathered is decided, cut into batches and committed in one database transaction; then
each batch is signed, and the last checkpoint synced to disk; only then does anyone hear of it
(P1). In doubt it stops for good: whoever starts again finds out what was committed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from node.failpoints import failpoint
from primary.board_changes import BoardChange
from primary.changes import Change
from primary.checkpoint_file import CheckpointFile
from primary.draft import Draft
from primary.head import Head
from primary.ledger import Ledger, wanted
from primary.log_signer import LogSigner
from primary.rules import Moment, Policy
from primary.sealing import Sealed, seal, sign
from primary.store.errors import FencedError, StoreUnavailableError
from primary.store.store import Store
from primary.store.values import StoredHead
from primary.store.writer import WriteTransaction
from registry.batch import Batch
from registry.board import Board
from registry.errors import Problem, RegistryError
from registry.limits import MAX_CHANGES_PER_BATCH, SALT_BYTES
from registry.state_tree import Location, StateProof, StateTree

# A whole request of a bulk stream. The syncs of a transaction cost as much as deciding a batch;
# beyond ten, whoever came first would wait longer for the others than for the disk.
MAX_BATCHES_PER_COMMIT: Final = 10
MAX_CHANGES_PER_COMMIT: Final = MAX_BATCHES_PER_COMMIT * MAX_CHANGES_PER_BATCH
# How long the same idempotency key gives the same receipt.
RECEIPT_MS: Final = 24 * 60 * 60 * 1000
# Twice what a commit adds: pruning keeps up, and no commit waits long for it.
PRUNE_STEP: Final = 2 * MAX_CHANGES_PER_COMMIT
# When no more receipts were old enough, how long until it looks again.
PRUNE_PAUSE_MS: Final = 1000


class SequencerStoppedError(RegistryError):
    """The log grows no more in this process: fatal, it has to stop. The cause is chained."""


@dataclass(frozen=True, slots=True)
class SequencerStart:
    """Where a sequencer goes on: the head in the database, the same signed, the state there."""

    stored: StoredHead
    head: Head
    tree: StateTree


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of the next `len(outcomes)` of the changes handed over; all of it on disk.

    An outcome is the record's version, which is the index of its newest entry, or why the
    change was refused. `batch` is None if the log did not grow; `leaf_hashes` are its entries'.
    `head` is where the log stood then, `seconds` what the whole commit took.
    """

    outcomes: tuple[int | Problem, ...]
    batch: Batch | None
    leaf_hashes: tuple[bytes, ...]
    head: Head
    seconds: float


@dataclass(frozen=True, slots=True)
class _Decided:
    """Outcomes of some changes, and the batch they made, if they made one."""

    outcomes: tuple[int | Problem, ...]
    sealed: Sealed | None
    board: Board | None = None


class Sequencer:
    """Commits changes. For one thread at a time; `head` may be read from any thread."""

    def __init__(
        self,
        store: Store,
        signer: LogSigner,
        checkpoint_file: CheckpointFile,
        start: SequencerStart,
        *,
        policy: Policy,
        clock: Callable[[], int],
    ) -> None:
        """Goes on from a start that `primary.opening` has checked.

        `clock` gives milliseconds since 1970-01-01T00:00:00Z.
        """
        self._store = store
        self._signer = signer
        self._checkpoint_file = checkpoint_file
        self._stored = start.stored
        self._head = start.head
        self._tree = start.tree
        self._policy = policy
        self._clock = clock
        self._prune_after_ms = 0
        self._stopped_by: Exception | None = None

    @property
    def head(self) -> Head:
        """Where the log stands; replaced as a whole."""
        return self._head

    @property
    def stopped_by(self) -> Exception | None:
        """The error after which nothing can be committed any more, if there was one."""
        return self._stopped_by

    def commit(self, changes: Sequence[Change | BoardChange]) -> list[Committed]:
        """Decides and commits the changes, in their order; at most MAX_CHANGES_PER_COMMIT.

        One part for each batch, together for all the changes. It has happened, on disk, when
        this returns. StoreUnavailableError: it is not known to have happened, trying again may
        help. After any other error `stopped_by` tells whether it was fatal;
        SequencerStoppedError from then on. ValueError: too many changes.
        """
        if len(changes) > MAX_CHANGES_PER_COMMIT:
            raise ValueError(f"{len(changes)} changes in one commit")
        if self._stopped_by is not None:
            raise SequencerStoppedError("nothing can be committed any more") from self._stopped_by
        started = time.perf_counter()
        failpoint("commit.before_transaction")
        decided = self._write(changes)
        failpoint("commit.after_transaction")
        heads = self._sign(decided)
        failpoint("commit.before_acknowledge")
        seconds = time.perf_counter() - started
        return [_committed(part, head, seconds) for part, head in zip(decided, heads, strict=True)]

    def prove(self, state_key: bytes) -> tuple[Head, StateProof, Location | None]:
        """What the state holds about a key, at the head; for the thread that commits."""
        return self._head, self._tree.prove(state_key), self._tree.get(state_key)

    def close(self) -> None:
        """Lets another sequencer have the checkpoint file."""
        self._checkpoint_file.close()

    def _write(self, changes: Sequence[Change | BoardChange]) -> list[_Decided]:
        """One transaction; if it fails, memory is as it was before."""
        try:
            with self._store.writer.transaction() as transaction:
                decided = self._decide_and_append(transaction, changes)
                failpoint("commit.in_transaction")
                return decided
        except FencedError as error:
            self._stopped_by = error
            raise
        except Exception as error:
            self._return_to_stored(error)
            raise

    def _decide_and_append(
        self, transaction: WriteTransaction, changes: Sequence[Change | BoardChange]
    ) -> list[_Decided]:
        # Time never runs back in the log, whatever the clock does.
        time_ms = max(self._clock(), self._stored.committed_ms)
        self._prune(transaction, time_ms)
        moment = Moment(time_ms, self._policy, _new_salt)
        ledger = Ledger(transaction.current(wanted(changes)), self._signer.board, time_ms)
        decided: list[_Decided] = []
        before, sealed = self._stored, None
        rest = changes
        while rest:
            draft = Draft(before.size, moment, ledger)
            outcomes = draft.decide_all(rest)
            rest = rest[len(outcomes) :]
            if draft.entries:
                if sealed is not None:
                    # Only now: a commit of one batch leaves the tree alone until it is on disk.
                    self._tree.apply(sealed.staged)
                sealed = seal(before, self._stored, draft, ledger, self._tree)
                before = sealed.after
                decided.append(_Decided(outcomes, sealed, ledger.board))
            else:
                decided.append(_Decided(outcomes, None))
        if ledger.changed:
            transaction.append(self._stored, before, ledger.rows())
        return decided

    def _sign(self, decided: Sequence[_Decided]) -> list[Head]:
        """Signs what is committed and goes on from there; any error on the way is fatal."""
        heads: list[Head] = []
        sealed = None
        try:
            for part in decided:
                sealed = part.sealed or sealed
                self._signer.board = part.board or self._signer.board
                last = heads[-1] if heads else self._head
                heads.append(sign(part.sealed.after, self._signer) if part.sealed else last)
            if sealed is not None:
                failpoint("commit.before_sync")
                self._checkpoint_file.write(heads[-1].checkpoint)
                failpoint("commit.after_sync")
                self._tree.apply(sealed.staged)
                self._stored, self._head = sealed.after, heads[-1]
        except Exception as error:
            self._stopped_by = error
            raise
        return heads

    def _return_to_stored(self, cause: Exception) -> None:
        """After a transaction that failed: has it been committed all the same, and if not,
        back to the state in the database.

        When the database cannot be asked, the guard of the next transaction will tell.
        """
        tree_is_ahead = self._tree.root != self._head.state.state_root
        try:
            stored = self._store.reader.head()
            if (stored.size, stored.root) != (self._stored.size, self._stored.root):
                self._stopped_by = SequencerStoppedError(
                    f"the database stands at size {stored.size}, not at {self._stored.size}, "
                    "after a commit that failed; start again"
                )
                raise self._stopped_by from cause
            if tree_is_ahead:
                self._tree = StateTree.build(self._store.reader.slots())
        except StoreUnavailableError as error:
            if tree_is_ahead:
                self._stopped_by = error
                raise

    def _prune(self, transaction: WriteTransaction, time_ms: int) -> None:
        if time_ms < self._prune_after_ms:
            return
        if transaction.prune_receipts(time_ms - RECEIPT_MS, PRUNE_STEP) < PRUNE_STEP:
            self._prune_after_ms = time_ms + PRUNE_PAUSE_MS


def _committed(decided: _Decided, head: Head, seconds: float) -> Committed:
    sealed = decided.sealed
    if sealed is None:
        return Committed(decided.outcomes, None, (), head, seconds)
    batch = Batch(sealed.start, sealed.entries, head.checkpoint)
    return Committed(decided.outcomes, batch, sealed.leaf_hashes, head, seconds)


def _new_salt() -> bytes:
    return os.urandom(SALT_BYTES)
