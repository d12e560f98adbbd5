"""A batch while it is decided: every change sees those before it, and nothing is written yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from primary.changes import Change, HolderChange, RegistrationChange, WithdrawHolder
from primary.rules import (
    Account,
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
from primary.store.values import (
    AccountRow,
    BatchRows,
    ContactRow,
    Current,
    ReceiptRow,
    RecordRow,
    Wanted,
    opening_of,
)
from registry.address import Address
from registry.batch import LoggedEntry
from registry.contact import MAX_CONTACT_BYTES
from registry.entry import Entry, state_key
from registry.errors import Problem
from registry.holder import Holder
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
from registry.registration import Registration

# An opening's salt, field and lengths.
_OPENING_FRAMING: Final = SALT_BYTES + 16
# The longest change: its entry, and its openings.
_MAX_CHANGE_BYTES: Final = MAX_ENTRY_BYTES + MAX_OPENINGS_PER_ENTRY * (
    MAX_CONTACT_BYTES + _OPENING_FRAMING
)
# Leaves room for the state entry, the checkpoint and the framing of all the entries.
_MAX_DRAFT_BYTES: Final = MAX_BATCH_BYTES - _MAX_CHANGE_BYTES - 16 * KIB

# The effects that the log has entries for.
Logged = PutHolder | DeleteHolder | PutRegistration | DeleteRegistration


def wanted(changes: Iterable[Change]) -> Wanted:
    """What deciding on these changes may need to see."""
    # Dictionaries for their order: the same changes always ask the same.
    keys: dict[bytes, None] = {}
    holders: dict[bytes, None] = {}
    contacts: dict[bytes, None] = {}
    receipts: dict[bytes, None] = {}
    for change in changes:
        holders[change.holder_id] = None
        if isinstance(change, RegistrationChange):
            keys[state_key(Kind.REGISTRATION, change.address.packed)] = None
        elif isinstance(change, HolderChange):
            keys[state_key(Kind.HOLDER, change.holder_id)] = None
            if not isinstance(change, WithdrawHolder):
                contacts[change.holder_id] = None
        if change.idempotency_key:
            receipts[change.idempotency_key] = None
    return Wanted(tuple(keys), tuple(holders), tuple(contacts), tuple(receipts))


class Draft:
    """The changes of one batch, decided one after another from what was current before it."""

    def __init__(self, start: int, moment: Moment, current: Current) -> None:
        self._start = start
        self._moment = moment
        self._current = current
        self._bytes = 0
        self._entries: list[bytes] = []
        self._leaf_hashes: list[bytes] = []
        # What each entry did, and which of them is the newest of its key.
        self._effects: list[Logged] = []
        self._newest: dict[bytes, int] = {}
        self._holders: dict[bytes, tuple[int, Holder] | None] = {}
        self._registrations: dict[bytes, tuple[int, Registration] | None] = {}
        self._contacts: dict[bytes, tuple[Contact, ...]] = {}
        self._accounts: dict[bytes, Account | None] = {}
        self._receipts: dict[bytes, ReceiptRow] = {}

    @property
    def full(self) -> bool:
        """Whether one more change might pass a limit of the protocol."""
        return len(self._entries) >= MAX_CHANGES_PER_BATCH or self._bytes > _MAX_DRAFT_BYTES

    @property
    def leaf_hashes(self) -> list[bytes]:
        """The leaf hashes of the entries."""
        return self._leaf_hashes

    @property
    def has_receipts(self) -> bool:
        """Whether there are receipts to keep, be it without an entry."""
        return bool(self._receipts)

    @property
    def time_ms(self) -> int:
        """The time of the batch, since 1970-01-01T00:00:00Z."""
        return self._moment.time_ms

    def decide_all(self, changes: Iterable[Change]) -> tuple[int | Problem, ...]:
        """What becomes of each of the changes, until the batch has no room for more."""
        outcomes = []
        for change in changes:
            if self.full:
                break
            outcomes.append(self._decide(change))
        return tuple(outcomes)

    def _decide(self, change: Change) -> int | Problem:
        """The version that the change leads to, or why it is refused."""
        try:
            if change.idempotency_key:
                return self._decide_once(change)
            return self._apply(decide(change, self, self._moment))
        except Problem as problem:
            return problem

    def account(self, holder_id: bytes) -> Account | None:
        """The account of a live holder."""
        if holder_id not in self._accounts:
            row = self._current.accounts.get(holder_id)
            self._accounts[holder_id] = row and Account(row.management_key_hash, row.registrations)
        return self._accounts[holder_id]

    def holder(self, holder_id: bytes) -> tuple[int, Holder] | None:
        """The version and record of a live holder."""
        if holder_id not in self._holders:
            found = self._current.records.get(state_key(Kind.HOLDER, holder_id))
            self._holders[holder_id] = found and (found[0], Holder.decode(_payload(found[1])))
        return self._holders[holder_id]

    def contact(self, holder_id: bytes) -> Iterable[Contact]:
        """The whole contact of a live holder."""
        if holder_id not in self._contacts:
            rows = self._current.contacts.get(holder_id, ())
            self._contacts[holder_id] = tuple(Contact(opening_of(row), row.public) for row in rows)
        return self._contacts[holder_id]

    def registration(self, address: Address) -> tuple[int, Registration] | None:
        """The version and record of a live registration."""
        key = state_key(Kind.REGISTRATION, address.packed)
        if key not in self._registrations:
            found = self._current.records.get(key)
            self._registrations[key] = found and (found[0], Registration.decode(_payload(found[1])))
        return self._registrations[key]

    def staged(self) -> dict[bytes, tuple[int, bytes] | None]:
        """The index and leaf hash of each changed key's newest entry; None where that deletes."""
        return {
            key: (self._start + at, self._leaf_hashes[at])
            if isinstance(self._effects[at], PutHolder | PutRegistration)
            else None
            for key, at in self._newest.items()
        }

    def growth(self, kind: Kind) -> int:
        """By how many the live keys of this kind grow."""
        return sum(
            isinstance(self._effects[at], PutHolder | PutRegistration)
            - (key in self._current.records)
            for key, at in self._newest.items()
            if key[0] == kind
        )

    def logged(self) -> list[LoggedEntry]:
        """The entries, each with its public openings unless a later one took its place."""
        logged = [LoggedEntry(entry) for entry in self._entries]
        for at in self._newest.values():
            effect = self._effects[at]
            if isinstance(effect, PutHolder):
                public = tuple(contact.opening for contact in effect.contact if contact.public)
                logged[at] = LoggedEntry(self._entries[at], public)
        return logged

    def rows(self) -> BatchRows:
        """What the changes come to in the tables."""
        rows = BatchRows(
            entries=list(enumerate(self._entries, self._start)),
            receipts=list(self._receipts.values()),
        )
        for key, at in self._newest.items():
            self._add_record(rows, key, at)
        for holder_id, account in self._accounts.items():
            self._add_account(rows, holder_id, account)
        return rows

    def _decide_once(self, change: Change) -> int:
        key, digest = change.idempotency_key, change.digest()
        receipt = self._receipts.get(key) or self._current.receipts.get(key)
        if receipt is None:
            version = self._apply(decide(change, self, self._moment))
            self._receipts[key] = ReceiptRow(key, digest, version, self._moment.time_ms)
            return version
        if receipt.change_digest != digest:
            raise Problem(
                "idempotency",
                "this idempotency key was used for another change; make a new one",
                "idempotency_key",
            )
        return receipt.log_index

    def _apply(self, effect: Effect) -> int:
        if isinstance(effect, Unchanged):
            return effect.version
        at = len(self._entries)
        entry = _entry(effect, self._moment.time_ms)
        data = entry.encode()
        self._entries.append(data)
        self._leaf_hashes.append(leaf_hash(data))
        self._effects.append(effect)
        self._newest[entry.state_key] = at
        self._bytes += len(data)
        self._see(effect, self._start + at)
        return self._start + at

    def _see(self, effect: Logged, version: int) -> None:
        """Lets the changes after it see an effect."""
        match effect:
            case PutRegistration():
                key = state_key(Kind.REGISTRATION, effect.address.packed)
                self._registrations[key] = (version, effect.registration)
                if effect.new:
                    self._count(effect.registration.holder_id, 1)
            case DeleteRegistration():
                self._registrations[state_key(Kind.REGISTRATION, effect.address.packed)] = None
                self._count(effect.holder_id, -1)
            case PutHolder():
                self._bytes += _opening_bytes(effect.contact)
                account = self.account(effect.holder_id)
                registrations = account.registrations if account else 0
                self._accounts[effect.holder_id] = Account(
                    effect.management_key_hash, registrations
                )
                self._holders[effect.holder_id] = (version, effect.holder)
                self._contacts[effect.holder_id] = effect.contact
            case DeleteHolder():
                self._accounts[effect.holder_id] = None
                self._holders[effect.holder_id] = None
                self._contacts[effect.holder_id] = ()

    def _count(self, holder_id: bytes, difference: int) -> None:
        account = self.account(holder_id)
        if account is None:
            raise AssertionError("a registration without a holder")
        self._accounts[holder_id] = Account(
            account.management_key_hash, account.registrations + difference
        )

    def _add_record(self, rows: BatchRows, key: bytes, at: int) -> None:
        effect, index = self._effects[at], self._start + at
        match effect:
            case PutRegistration():
                holder_id: bytes | None = effect.registration.holder_id
            case PutHolder():
                holder_id = None
                rows.contacts += _contact_rows(effect, index)
            case _:
                if key in self._current.records:
                    rows.ended_records.append(key)
                return
        rows.records.append(RecordRow(key, index, self._leaf_hashes[at], holder_id))

    def _add_account(self, rows: BatchRows, holder_id: bytes, account: Account | None) -> None:
        before = self._current.accounts.get(holder_id)
        if before is not None and state_key(Kind.HOLDER, holder_id) in self._newest:
            rows.erased_contacts.append(holder_id)
        if account is None:
            if before is not None:
                rows.ended_accounts.append(holder_id)
            return
        row = AccountRow(holder_id, account.management_key_hash, account.registrations)
        if row != before:
            rows.accounts.append(row)


def _entry(effect: Logged, time_ms: int) -> Entry:
    match effect:
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


def _payload(entry: bytes) -> bytes:
    return Entry.decode(entry).payload


def _contact_rows(effect: PutHolder, index: int) -> list[ContactRow]:
    return [
        ContactRow(
            effect.holder_id,
            int(contact.opening.field),
            contact.opening.salt,
            contact.opening.value,
            contact.public,
            index,
        )
        for contact in effect.contact
    ]


def _opening_bytes(contact: Iterable[Contact]) -> int:
    return sum(len(each.opening.value.encode()) + _OPENING_FRAMING for each in contact)
