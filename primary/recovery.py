"""Rebuilds a lost primary's database from what mirrors hold, and from a backup what they do not.

Mirrors hold the newest entry of every live key, and the hashes of all entries. The log goes on
from the largest size that one of them holds; what was superseded before is known by its hash
only. Private contact and management keys never left the primary: they come from the backup, or
are lost.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from node.errors import ConfigurationError
from node.tile_files import TileFiles
from primary.checkpoint_file import CheckpointFile
from primary.log_signer import LogSigner
from primary.store.store import Store
from primary.store.values import (
    AccountRow,
    BoundaryRow,
    CommitRows,
    ContactRow,
    RecordRow,
    StoredHead,
    contact_row,
)
from primary.store.writer import WriteTransaction
from registry.batch import SignedState
from registry.contact import Commitment, Opening, check_opening
from registry.entry import Entry
from registry.errors import ForkError, ProofError, RootMismatchError, StateMismatchError
from registry.holder import Holder
from registry.kinds import Kind
from registry.limits import HASH_BYTES
from registry.merkle import CompactRange, leaf_hash
from registry.registration import Registration
from registry.root_chain import RootChain
from registry.snapshot import SnapshotPosition, SnapshotReader, SnapshotRecord
from registry.state import State
from registry.state_tree import StateTree, slot

SNAPSHOT_NAME: Final = "replica.snapshot"
LEAVES_NAME: Final = "leaves"
CHUNK_BYTES: Final = 1 << 20
# One commit's worth, many times over.
RECORDS_AT_ONCE: Final = 10_000
LEAVES_AT_ONCE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Exported:
    """What one mirror exported, its checkpoint verified: the note, and the log there."""

    directory: Path
    note: bytes
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was rebuilt: the log's size and root, and what was lost of how many holders."""

    size: int
    root: bytes
    records: int
    keys_lost: int
    contacts_lost: int


@dataclass(slots=True)
class _Held:
    """Holders as they are read, and how many registrations each has."""

    holders: list[tuple[bytes, SnapshotRecord]] = field(default_factory=list)
    registrations: Counter[bytes] = field(default_factory=Counter)
    slots: list[bytes] = field(default_factory=list)


def survey(directories: Sequence[Path], chain: RootChain) -> list[Exported]:
    """What mirrors exported, the largest first.

    ForkError: two of them hold logs that are not one. VerificationError: one is not signed.
    ConfigurationError: a directory is not an export.
    """
    found = sorted(
        (_look(directory, chain) for directory in directories),
        key=lambda exported: exported.size,
        reverse=True,
    )
    largest = found[0]
    sizes = {exported.size: exported for exported in found}
    held = CompactRange.empty()
    for leaves in _leaves(largest.directory, sorted(sizes)):
        held = held.extend(leaves)
        exported = sizes.get(held.size)
        if exported is not None and exported.root != held.root():
            if exported is largest:
                raise RootMismatchError(f"the leaves in {largest.directory} are not of its log")
            raise ForkError(exported.note, largest.note)
    if held.size != largest.size:
        raise RootMismatchError(f"the leaves in {largest.directory} are not all of its log")
    return found


def roots_in(directory: Path) -> list[bytes]:
    """The board's roots in an export, unverified; ConfigurationError if it is none."""
    try:
        with (directory / SNAPSHOT_NAME).open("rb") as file:
            records = iter(_reader(file))
            return [
                Entry.decode(record.record().entry).payload
                for record in records
                if record.state_key[0] == Kind.ROOT
            ]
    except OSError as error:
        raise ConfigurationError(f"{directory} is no export of a mirror: {error}") from error


def recover(
    exported: Exported,
    signer: LogSigner,
    store: Store,
    checkpoint_file: CheckpointFile,
    tiles: TileFiles,
    *,
    backup: Store | None,
) -> Recovered:
    """Fills an empty database, the tiles and the checkpoint file with what a mirror exported.

    ConfigurationError: the database holds something; SchemaError: of another version.
    VerificationError: the export is not what the registry signed. Then it is as it was.
    """
    empty = _empty_head(store)
    with (exported.directory / SNAPSHOT_NAME).open("rb") as file:
        reader = _reader(file)
        position = reader.header.open(signer.chain)
        with store.writer.transaction() as transaction:
            held = _load_records(reader, transaction)
            _check_state(position.state, held)
            people, keys_lost, contacts_lost = _people(held, backup)
            transaction.load(people)
            after, closing = _closing(reader.header.signed_state, position, held)
            transaction.append(empty, after, closing)
    size = position.checkpoint.size
    _write_tiles(exported.directory, size, tiles)
    _write_checkpoint(exported.note, checkpoint_file)
    return Recovered(size, exported.root, len(held.slots), keys_lost, contacts_lost)


def _empty_head(store: Store) -> StoredHead:
    """The head of a database that is ready and holds nothing."""
    if store.revision() is None:
        store.migrate()
    store.check_schema()
    head = store.reader.head()
    if head.size:
        raise ConfigurationError("the database is not empty: recover into a new one")
    return head


def _load_records(reader: SnapshotReader, transaction: WriteTransaction) -> _Held:
    """Writes every record; what they hold together."""
    held = _Held()
    records = iter(reader)
    while some := list(islice(records, RECORDS_AT_ONCE)):
        transaction.load(_rows(some, held))
    return held


def _check_state(state: State, held: _Held) -> None:
    """StateMismatchError unless these are the records that the registry signed."""
    tree = StateTree.build(iter(held.slots))
    if (tree.live, tree.root) != (state.live_keys, state.state_root):
        raise StateMismatchError("the records do not lead to the state that was signed")


def _closing(
    signed: SignedState, position: SnapshotPosition, held: _Held
) -> tuple[StoredHead, CommitRows]:
    """Where the log stands, and the entry that ended its last batch."""
    size = position.checkpoint.size
    head = StoredHead(
        position.compact_range,
        CompactRange(size - 1, tuple(reversed(signed.audit_path))),
        position.state,
        len(held.holders),
        held.registrations.total(),
        Entry.decode(signed.state_entry).time_ms,
    )
    rows = CommitRows(
        boundaries=[BoundaryRow(size, size - 1, head.root, head.committed_ms)],
        entries=[(size - 1, signed.state_entry)],
    )
    return head, rows


def _write_tiles(directory: Path, size: int, tiles: TileFiles) -> None:
    at = 0
    for leaves in _leaves(directory, [size]):
        tiles.append(leaves, at)
        at += len(leaves)
    tiles.sync()


def _write_checkpoint(note: bytes, checkpoint_file: CheckpointFile) -> None:
    checkpoint_file.lock()
    try:
        checkpoint_file.read()
        checkpoint_file.write(note)
    finally:
        checkpoint_file.close()


def _reader(file: BinaryIO) -> SnapshotReader:
    return SnapshotReader(iter(lambda: file.read(CHUNK_BYTES), b""))


def _look(directory: Path, chain: RootChain) -> Exported:
    try:
        with (directory / SNAPSHOT_NAME).open("rb") as file:
            header = _reader(file).header
    except OSError as error:
        raise ConfigurationError(f"{directory} is no export of a mirror: {error}") from error
    checkpoint = header.open(chain).checkpoint
    note = header.signed_state.checkpoint
    return Exported(directory, note, checkpoint.size, checkpoint.root)


def _leaves(directory: Path, stops: Sequence[int]) -> Iterator[list[bytes]]:
    """The leaf hashes, in pieces that end at each of these sizes, the last of which is the end."""
    at = 0
    with (directory / LEAVES_NAME).open("rb") as file:
        for stop in stops:
            while at < stop:
                data = file.read(min(LEAVES_AT_ONCE, stop - at) * HASH_BYTES)
                count = len(data) // HASH_BYTES
                if count == 0:
                    return
                at += count
                yield [data[n * HASH_BYTES : (n + 1) * HASH_BYTES] for n in range(count)]


def _rows(records: Sequence[SnapshotRecord], held: _Held) -> CommitRows:
    rows = CommitRows()
    for each in records:
        record = each.record()
        entry, leaf = Entry.decode(record.entry), leaf_hash(record.entry)
        holder_id = None
        if entry.kind == Kind.HOLDER:
            held.holders.append((entry.key, each))
        elif entry.kind == Kind.REGISTRATION:
            registration = Registration.decode(entry.payload)
            holder_id = registration.holder_id
            # What came before is not known: as if it had been so from its first day on.
            rows.tally.count(entry.key, None, registration, registration.registered_ms)
            rows.tally_ms = max(rows.tally_ms, entry.time_ms)
            held.registrations[holder_id] += 1
        held.slots.append(slot(each.state_key, record.index, leaf))
        rows.entries.append((record.index, record.entry))
        rows.records.append(RecordRow(each.state_key, record.index, leaf, holder_id))
    return rows


def _people(held: _Held, backup: Store | None) -> tuple[CommitRows, int, int]:
    """Accounts and contact: what mirrors have is public; the rest is the backup's, or lost."""
    rows, keys_lost, contacts_lost = CommitRows(), 0, 0
    keys = dict(backup.reader.management_keys()) if backup else {}
    kept: dict[bytes, list[Opening]] = {}
    for holder_id, opening in backup.reader.all_contacts() if backup else ():
        kept.setdefault(holder_id, []).append(opening)
    for holder_id, each in held.holders:
        key_hash = keys.get(holder_id)
        if key_hash is None:
            keys_lost += 1
            # Of a key that nobody has.
            key_hash = sha256(os.urandom(HASH_BYTES)).digest()
        rows.accounts.append(AccountRow(holder_id, key_hash, held.registrations[holder_id]))
        record = each.record()
        holder = Holder.decode(Entry.decode(record.entry).payload)
        contact = _contact(
            holder_id, record.index, holder, record.openings, kept.get(holder_id, ())
        )
        contacts_lost += len(contact) < len(holder.commitments)
        rows.contacts += contact
    return rows, keys_lost, contacts_lost


def _contact(
    holder_id: bytes,
    index: int,
    holder: Holder,
    openings: Sequence[Opening],
    kept: Sequence[Opening],
) -> list[ContactRow]:
    found = []
    public = {opening.field: opening for opening in openings}
    for commitment in holder.commitments:
        opening = public.get(commitment.field)
        is_public = opening is not None
        if opening is None:
            opening = _kept_opening(commitment, kept)
        if opening is not None:
            found.append(contact_row(holder_id, opening, index, public=is_public))
    return found


def _kept_opening(commitment: Commitment, kept: Sequence[Opening]) -> Opening | None:
    """What the backup has, if it is still what was committed to."""
    for opening in kept:
        if opening.field == commitment.field:
            try:
                check_opening(commitment, opening)
            except ProofError:
                return None
            return opening
    return None
