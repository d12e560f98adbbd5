"""What is current while a transaction decides: what the database held, and all that came since.

One ledger serves all the batches of a commit, so the database is asked once and written once.
"""

from __future__ import annotations

from collections.abc import Iterable

from primary.board_changes import BoardChange, PutNode, PutText
from primary.changes import (
    Admit,
    Change,
    HolderChange,
    RegistrarChange,
    RegistrationChange,
    WithdrawHolder,
)
from primary.rules import (
    Account,
    Contact,
    DeleteHolder,
    DeleteRegistration,
    Logged,
    PutHolder,
    PutRegistration,
)
from primary.store.values import (
    AccountRow,
    BoundaryRow,
    CommitRows,
    ContactRow,
    Current,
    ReceiptRow,
    RecordRow,
    Wanted,
    contact_row,
    opening_of,
)
from registry.address import Address
from registry.board import Board
from registry.entry import Entry, state_key
from registry.holder import Holder
from registry.kinds import Kind, Operation
from registry.registration import Registration
from registry.state_tree import Location
from registry.statistics import Tally

# What the log has an entry for, the board's texts and nodes included.
Entered = Logged | PutText | PutNode


def wanted(changes: Iterable[Change | BoardChange]) -> Wanted:
    """What deciding on these changes may need to see."""
    # Dictionaries for their order: the same changes always ask the same.
    keys: dict[bytes, None] = {}
    holders: dict[bytes, None] = {}
    contacts: dict[bytes, None] = {}
    receipts: dict[bytes, None] = {}
    for change in changes:
        if not isinstance(change, Change):
            keys[change.state_key] = None
            continue
        holders[change.holder_id] = None
        if isinstance(change, Admit) and change.replaces:
            holders[change.replaces] = None
        if isinstance(change, RegistrationChange | RegistrarChange):
            keys[state_key(Kind.REGISTRATION, change.address.packed)] = None
        elif isinstance(change, HolderChange):
            keys[state_key(Kind.HOLDER, change.holder_id)] = None
            if not isinstance(change, WithdrawHolder):
                contacts[change.holder_id] = None
        if change.idempotency_key:
            receipts[change.idempotency_key] = None
    return Wanted(tuple(keys), tuple(holders), tuple(contacts), tuple(receipts))


class Ledger:
    """The records as the changes so far have left them, and what that comes to in the tables.

    `primary.rules` sees it as its View, `primary.board_changes` as its BoardView. `board` is what
    the board has decided so far; `holders` and `registrations` say by how many the live ones have
    grown.
    """

    def __init__(self, current: Current, board: Board, time_ms: int) -> None:
        """`time_ms` is the time of all that it will see, since 1970-01-01T00:00:00Z."""
        self._current = current
        self._time_ms = time_ms
        self._tally = Tally()
        self.board = board
        self.holders = 0
        self.registrations = 0
        self._rows = CommitRows()
        # Of each changed key, what its newest entry did, its index and leaf hash.
        self._newest: dict[bytes, tuple[Entered, int, bytes]] = {}
        self._holders: dict[bytes, tuple[int, Holder] | None] = {}
        self._registrations: dict[bytes, tuple[int, Registration] | None] = {}
        self._contacts: dict[bytes, tuple[Contact, ...]] = {}
        self._accounts: dict[bytes, Account | None] = {}
        self._receipts: dict[bytes, ReceiptRow] = {}

    @property
    def changed(self) -> bool:
        """Whether there is anything to write, be it receipts alone."""
        return bool(self._rows.boundaries or self._receipts)

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

    def text_version(self, key: bytes) -> int | None:
        """The index of a root's or decision's entry, by its state key; None if it has none."""
        if key in self._newest:
            return self._newest[key][1]
        found = self._current.records.get(key)
        return found[0] if found else None

    def node(self, key: bytes) -> tuple[int, bytes] | None:
        """The version and payload of a live member or removed key, by its state key."""
        if key in self._newest:
            effect, index, _ = self._newest[key]
            assert isinstance(effect, PutNode)
            return (index, effect.entry.payload) if effect.entry.payload else None
        found = self._current.records.get(key)
        return found and (found[0], _payload(found[1]))

    def receipt(self, idempotency_key: bytes) -> ReceiptRow | None:
        """What was answered under this idempotency key."""
        return self._receipts.get(idempotency_key) or self._current.receipts.get(idempotency_key)

    def keep_receipt(self, receipt: ReceiptRow) -> None:
        """Takes what is answered under an idempotency key."""
        self._receipts[receipt.idempotency_key] = receipt

    def see(self, key: bytes, effect: Entered, index: int, leaf_hash: bytes) -> None:
        """Takes an effect on a state key, and where its entry stands."""
        self._newest[key] = (effect, index, leaf_hash)
        match effect:
            case PutRegistration():
                self._tally_change(effect.address, effect.registration)
                self._registrations[key] = (index, effect.registration)
                if effect.former_holder is not None:
                    self._count(effect.former_holder, -1)
                if effect.new or effect.former_holder is not None:
                    self._count(effect.registration.holder_id, 1)
            case DeleteRegistration():
                self._tally_change(effect.address, None)
                self._registrations[key] = None
                self._count(effect.holder_id, -1)
            case PutHolder():
                account = self.account(effect.holder_id)
                registrations = account.registrations if account else 0
                self.holders += account is None
                self._accounts[effect.holder_id] = Account(
                    effect.management_key_hash, registrations
                )
                self._holders[effect.holder_id] = (index, effect.holder)
                self._contacts[effect.holder_id] = effect.contact
            case PutText():
                self.board = effect.board
            case DeleteHolder():
                self.holders -= 1
                self._accounts[effect.holder_id] = None
                self._holders[effect.holder_id] = None
                self._contacts[effect.holder_id] = ()

    def close_batch(self, boundary: BoundaryRow, entries: Iterable[bytes]) -> None:
        """Takes a finished batch: where it begins and ends, and all its entries."""
        self._rows.boundaries.append(boundary)
        self._rows.entries += enumerate(entries, boundary.start)

    def rows(self) -> CommitRows:
        """What all of it comes to in the tables; asked once, at the end."""
        rows = self._rows
        rows.receipts += self._receipts.values()
        rows.tally, rows.tally_ms = self._tally, self._time_ms
        for key, (effect, index, leaf_hash) in self._newest.items():
            self._add_record(rows, key, (index, leaf_hash), effect)
        for holder_id, account in self._accounts.items():
            self._add_account(rows, holder_id, account)
        return rows

    def _tally_change(self, address: Address, after: Registration | None) -> None:
        before = self.registration(address)
        self._tally.count(address.packed, before and before[1], after, self._time_ms)

    def _count(self, holder_id: bytes, difference: int) -> None:
        account = self.account(holder_id)
        if account is None:
            raise AssertionError("a registration without a holder")
        self.registrations += difference
        self._accounts[holder_id] = Account(
            account.management_key_hash, account.registrations + difference
        )

    def _add_record(
        self, rows: CommitRows, key: bytes, location: Location, effect: Entered
    ) -> None:
        match effect:
            case PutRegistration():
                holder_id = effect.registration.holder_id
                rows.records.append(RecordRow(key, *location, holder_id))
            case PutHolder():
                rows.contacts += _contact_rows(effect, location[0])
                rows.records.append(RecordRow(key, *location, None))
            case PutText():
                rows.records.append(RecordRow(key, *location, None))
            case PutNode(entry) if entry.operation is Operation.PUT:
                rows.records.append(RecordRow(key, *location, None))
            case _:
                if key in self._current.records:
                    rows.ended_records.append(key)

    def _add_account(self, rows: CommitRows, holder_id: bytes, account: Account | None) -> None:
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


def _payload(entry: bytes) -> bytes:
    return Entry.decode(entry).payload


def _contact_rows(effect: PutHolder, index: int) -> list[ContactRow]:
    return [
        contact_row(effect.holder_id, contact.opening, index, public=contact.public)
        for contact in effect.contact
    ]
