"""A batch while it is decided: every change sees those before it, and nothing is written yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from primary.board_changes import (
    BoardChange,
    BoardEffect,
    PutNode,
    PutText,
    check_consent,
    decide_board,
)
from primary.changes import Change
from primary.ledger import Entered, Ledger
from primary.rules import (
    Contact,
    DeleteHolder,
    DeleteRegistration,
    Effect,
    Moment,
    PutHolder,
    PutRegistration,
    Unchanged,
    decide,
)
from primary.store.values import ReceiptRow
from registry.batch import LoggedEntry
from registry.contact import MAX_CONTACT_BYTES
from registry.entry import Entry
from registry.errors import Problem
from registry.kinds import Kind, Operation
from registry.limits import (
    KIB,
    MAX_BATCH_BYTES,
    MAX_CHANGES_PER_BATCH,
    MAX_ENTRY_BYTES,
    MAX_OPENINGS_PER_ENTRY,
    SALT_BYTES,
)
from registry.merkle import leaf_hash
from registry.state_tree import Location

# An opening's salt, field and lengths.
_OPENING_FRAMING: Final = SALT_BYTES + 16
# The longest change: its entry, and its openings.
_MAX_CHANGE_BYTES: Final = MAX_ENTRY_BYTES + MAX_OPENINGS_PER_ENTRY * (
    MAX_CONTACT_BYTES + _OPENING_FRAMING
)
# Leaves room for the state entry, the checkpoint and the framing of all the entries.
_MAX_DRAFT_BYTES: Final = MAX_BATCH_BYTES - _MAX_CHANGE_BYTES - 16 * KIB


class Draft:
    """The changes of one batch, decided one after another; the ledger sees each of them."""

    def __init__(self, start: int, moment: Moment, ledger: Ledger) -> None:
        self._start = start
        self._moment = moment
        self._ledger = ledger
        self._bytes = 0
        self._entries: list[bytes] = []
        self._leaf_hashes: list[bytes] = []
        # The openings beside an entry, by the entry's place in the batch.
        self._contacts: dict[int, tuple[Contact, ...]] = {}
        # Which entry is the newest of its key, and whether the key lives.
        self._newest: dict[bytes, tuple[int, bool]] = {}

    @property
    def full(self) -> bool:
        """Whether one more change might pass a limit of the protocol."""
        return len(self._entries) >= MAX_CHANGES_PER_BATCH or self._bytes > _MAX_DRAFT_BYTES

    @property
    def entries(self) -> list[bytes]:
        """The entries."""
        return self._entries

    @property
    def leaf_hashes(self) -> list[bytes]:
        """The leaf hashes of the entries."""
        return self._leaf_hashes

    @property
    def time_ms(self) -> int:
        """The time of the batch, since 1970-01-01T00:00:00Z."""
        return self._moment.time_ms

    def decide_all(self, changes: Iterable[Change | BoardChange]) -> tuple[int | Problem, ...]:
        """What becomes of each of the changes, until the batch has no room for more."""
        outcomes = []
        for change in changes:
            if self.full:
                break
            outcomes.append(self._decide(change))
        return tuple(outcomes)

    def staged(self) -> dict[bytes, Location | None]:
        """The index and leaf hash of each changed key's newest entry; None where that deletes."""
        return {
            key: (self._start + at, self._leaf_hashes[at]) if lives else None
            for key, (at, lives) in self._newest.items()
        }

    def logged(self) -> list[LoggedEntry]:
        """The entries, each with its public openings unless a later one took its place."""
        logged = [LoggedEntry(entry) for entry in self._entries]
        newest = {at for at, _ in self._newest.values()} if self._contacts else set()
        for at, contacts in self._contacts.items():
            if at in newest:
                public = tuple(contact.opening for contact in contacts if contact.public)
                logged[at] = LoggedEntry(self._entries[at], public)
        return logged

    def _decide(self, change: Change | BoardChange) -> int | Problem:
        """The version that the change leads to, or why it is refused."""
        try:
            if not isinstance(change, Change):
                return self._apply(decide_board(change, self._ledger, self._moment.time_ms))
            if change.idempotency_key:
                return self._decide_once(change)
            return self._apply(decide(change, self._ledger, self._moment))
        except Problem as problem:
            return problem

    def _decide_once(self, change: Change) -> int:
        key, digest = change.idempotency_key, change.digest()
        receipt = self._ledger.receipt(key)
        if receipt is None:
            version = self._apply(decide(change, self._ledger, self._moment))
            self._ledger.keep_receipt(ReceiptRow(key, digest, version, self._moment.time_ms))
            return version
        if receipt.change_digest != digest:
            raise Problem(
                "idempotency",
                "this idempotency key was used for another change; make a new one",
                "idempotency_key",
            )
        return receipt.log_index

    def _apply(self, effect: Effect | BoardEffect) -> int:
        if isinstance(effect, Unchanged):
            return effect.version
        if isinstance(effect, PutRegistration):
            check_consent(self._ledger.board, effect)
            if effect.new or effect.former_holder is not None:
                self._check_quota(effect.registration.holder_id)
        at = len(self._entries)
        entry = _entry(effect, self._moment.time_ms)
        data, key = entry.encode(), entry.state_key
        leaf = leaf_hash(data)
        self._entries.append(data)
        self._leaf_hashes.append(leaf)
        self._newest[key] = (at, entry.operation is Operation.PUT)
        self._bytes += len(data)
        if isinstance(effect, PutHolder):
            self._contacts[at] = effect.contact
            self._bytes += _opening_bytes(effect.contact)
        self._ledger.see(key, effect, self._start + at, leaf)
        return self._start + at

    def _check_quota(self, holder_id: bytes) -> None:
        quota = self._ledger.board.policies.registrations_per_holder
        account = self._ledger.account(holder_id)
        if quota and account is not None and account.registrations >= quota:
            raise Problem("quota", f"a holder has {quota} registrations at most", "holder_id")


def _entry(effect: Entered, time_ms: int) -> Entry:
    match effect:
        case PutText() | PutNode():
            return effect.entry
        case PutRegistration():
            kind, key, payload = (
                Kind.REGISTRATION,
                effect.address.packed,
                effect.registration.encode(),
            )
        case PutHolder():
            kind, key, payload = Kind.HOLDER, effect.holder_id, effect.holder.encode()
        case DeleteRegistration():
            kind, key, payload = Kind.REGISTRATION, effect.address.packed, b""
        case DeleteHolder():
            kind, key, payload = Kind.HOLDER, effect.holder_id, b""
    operation = Operation.PUT if payload else Operation.DELETE
    return Entry(kind, key, operation, critical=True, time_ms=time_ms, payload=payload)


def _opening_bytes(contact: Iterable[Contact]) -> int:
    return sum(len(each.opening.value.encode()) + _OPENING_FRAMING for each in contact)
