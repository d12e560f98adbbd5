"""The end of a batch: its state entry, and all that follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from primary.draft import Draft
from primary.head import Head
from primary.ledger import Ledger
from primary.store.values import BoundaryRow, StoredHead
from registry.batch import LoggedEntry
from registry.checkpoint import Checkpoint, CheckpointSigner, sign_checkpoint
from registry.entry import Entry
from registry.kinds import Kind, Operation
from registry.merkle import leaf_hash
from registry.note import Signer
from registry.state import State, next_serial
from registry.state_tree import StagedState, StateTree


@dataclass(frozen=True, slots=True)
class Sealed:
    """A batch with its state entry, ready to be written: where it begins, and where it leads.

    `start` is the size before; `staged` is good until the state tree changes.
    """

    start: int
    after: StoredHead
    entries: tuple[LoggedEntry, ...]
    leaf_hashes: tuple[bytes, ...]
    staged: StagedState


def seal(
    before: StoredHead, began: StoredHead, draft: Draft, ledger: Ledger, tree: StateTree
) -> Sealed:
    """Closes a draft that starts at `before`, which `tree` has the state of, in the ledger.

    `began` is where the transaction began, which may hold batches before this one; the ledger
    has seen them all. Neither head nor tree is changed.
    """
    staged = tree.stage(draft.staged())
    serial = before.state.zone_serial if before.state else 0
    state = State(staged.live, staged.root, next_serial(serial))
    closing = Entry(
        Kind.STATE, b"", Operation.PUT, critical=True, time_ms=draft.time_ms, payload=state.encode()
    ).encode()
    leaf_hashes = (*draft.leaf_hashes, leaf_hash(closing))
    after = StoredHead(
        before.compact_range.extend(leaf_hashes),
        began.compact_range,
        state,
        began.holders + ledger.holders,
        began.registrations + ledger.registrations,
        draft.time_ms,
    )
    boundary = BoundaryRow(after.size, before.size, after.root, after.committed_ms)
    ledger.close_batch(boundary, (*draft.entries, closing))
    entries = (*draft.logged(), LoggedEntry(closing))
    return Sealed(before.size, after, entries, leaf_hashes, staged)


def sign(stored: StoredHead, signer: Signer | CheckpointSigner) -> Head:
    """The head with its checkpoint. ValueError for an empty log, which has none."""
    if stored.state is None:
        raise ValueError("an empty log has nothing to sign")
    checkpoint = Checkpoint(signer.name, stored.size, stored.root)
    return Head(
        stored.size,
        stored.root,
        sign_checkpoint(checkpoint, signer),
        stored.state,
        stored.compact_range,
        stored.committed_ms,
    )
