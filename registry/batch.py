"""What travels between primary and secondaries: batches, records, and the state they lead to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from registry.checkpoint import Checkpoint, CheckpointKeys, open_checkpoint
from registry.contact import Opening
from registry.entry import MAX_KIND, Entry
from registry.errors import LimitError, MalformedError
from registry.kinds import Kind
from registry.limits import (
    MAX_BATCH_BYTES,
    MAX_ENTRIES_PER_BATCH,
    MAX_ENTRY_BYTES,
    MAX_OPENINGS_PER_ENTRY,
)
from registry.merkle import leaf_hash, verify_inclusion
from registry.messages import parse
from registry.state import State
from registry.state_tree import slot
from registry.wire.v1 import log_pb2


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """An entry's bytes, and the public openings beside it. LimitError if either is too much."""

    entry: bytes
    openings: tuple[Opening, ...] = ()

    def __post_init__(self) -> None:
        _check_entry(self.entry, self.openings)

    def to_message(self) -> log_pb2.LoggedEntry:
        """The wire message."""
        if not self.openings:
            return log_pb2.LoggedEntry(entry=self.entry)
        return log_pb2.LoggedEntry(entry=self.entry, openings=_to_messages(self.openings))

    @classmethod
    def from_message(cls, message: log_pb2.LoggedEntry) -> LoggedEntry:
        """The entry in a wire message; MalformedError or LimitError if it is none."""
        return cls(message.entry, _from_messages(message.openings))


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries committed together after the first `start` of the log, and their checkpoint.

    The last entry is the state entry. Nothing in a batch is verified yet: `registry.replay`
    does that. LimitError: more than MAX_ENTRIES_PER_BATCH; MalformedError: no entry at all.
    """

    start: int
    entries: tuple[LoggedEntry, ...]
    checkpoint: bytes

    def __post_init__(self) -> None:
        if not self.entries:
            raise MalformedError("a batch without entries")
        _check_count(len(self.entries))

    @property
    def size(self) -> int:
        """The size of the log after the batch."""
        return self.start + len(self.entries)

    def encode(self) -> bytes:
        """The batch's bytes; LimitError if there are more than MAX_BATCH_BYTES."""
        data = self.to_message().SerializeToString()
        _check_batch_bytes(len(data))
        return data

    def to_message(self) -> log_pb2.Batch:
        """The wire message."""
        return log_pb2.Batch(
            start=self.start,
            entries=[entry.to_message() for entry in self.entries],
            checkpoint=self.checkpoint,
        )

    @classmethod
    def decode(cls, data: bytes) -> Batch:
        """The batch in these bytes; MalformedError or LimitError if it is none."""
        _check_batch_bytes(len(data))
        return cls.from_message(parse(log_pb2.Batch, data))

    @classmethod
    def from_message(cls, message: log_pb2.Batch) -> Batch:
        """The batch in a wire message; MalformedError or LimitError if it is none."""
        _check_batch_bytes(message.ByteSize())
        _check_count(len(message.entries))
        entries = tuple(LoggedEntry.from_message(entry) for entry in message.entries)
        return cls(message.start, entries, message.checkpoint)


@dataclass(frozen=True, slots=True)
class Record:
    """The newest entry of a live key: its index in the log, its bytes, its public openings.

    LimitError if the entry or its openings are too much.
    """

    index: int
    entry: bytes
    openings: tuple[Opening, ...] = ()

    def __post_init__(self) -> None:
        _check_entry(self.entry, self.openings)

    def encode(self) -> bytes:
        """The record's bytes."""
        return self.to_message().SerializeToString()

    def to_message(self) -> log_pb2.Record:
        """The wire message."""
        return log_pb2.Record(
            index=self.index, entry=self.entry, openings=_to_messages(self.openings)
        )

    @classmethod
    def decode(cls, data: bytes) -> Record:
        """The record in these bytes; MalformedError or LimitError if it is none."""
        return cls.from_message(parse(log_pb2.Record, data))

    @classmethod
    def from_message(cls, message: log_pb2.Record) -> Record:
        """The record in a wire message; MalformedError or LimitError if it is none."""
        return cls(message.index, message.entry, _from_messages(message.openings))


def parse_record(data: bytes) -> tuple[log_pb2.Record, log_pb2.Entry]:
    """The messages of an encoded record and of its entry, unchecked; MalformedError if none."""
    record = parse(log_pb2.Record, data)
    return record, parse(log_pb2.Entry, record.entry)


def outline_record(data: bytes) -> tuple[int, bytes, bytes, bytes]:
    """An encoded record's index, state key, entry bytes and payload.

    A third of the cost of decoding record and entry, for whoever indexes a million of them.
    Limits and what depends on the kind are not checked: these must be bytes that were checked
    before they were stored, and that a state root is about to cover. MalformedError if they
    hold no record.
    """
    record, entry = parse_record(data)
    kind = entry.kind
    if not 0 < kind <= MAX_KIND:
        raise MalformedError(f"{kind} is no kind of entry")
    return record.index, bytes((kind,)) + entry.key, record.entry, entry.payload


def outline_slot(data: bytes) -> tuple[bytes, bytes, bytes]:
    """An encoded record's state key, payload, and slot in the state tree; as `outline_record`."""
    index, state_key, leaf, payload = outline_record(data)
    return state_key, payload, slot(state_key, index, leaf_hash(leaf))


@dataclass(frozen=True, slots=True)
class SignedState:
    """A checkpoint's note, its state entry, and the audit path that makes it the last leaf.

    Nothing in it is verified before `open_signed_state`.
    """

    checkpoint: bytes
    state_entry: bytes
    audit_path: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The signed state's bytes."""
        return self.to_message().SerializeToString()

    def to_message(self) -> log_pb2.SignedState:
        """The wire message."""
        return log_pb2.SignedState(
            checkpoint=self.checkpoint,
            state_entry=self.state_entry,
            audit_path=self.audit_path,
        )

    @classmethod
    def decode(cls, data: bytes) -> SignedState:
        """The signed state in these bytes; MalformedError if it is none."""
        return cls.from_message(parse(log_pb2.SignedState, data))

    @classmethod
    def from_message(cls, message: log_pb2.SignedState) -> SignedState:
        """The signed state in a wire message."""
        return cls(message.checkpoint, message.state_entry, tuple(message.audit_path))


def open_signed_state(
    signed: SignedState, verifier: CheckpointKeys
) -> tuple[Checkpoint, Entry, State]:
    """The checkpoint, its state entry, and the state in that, once all three are verified.

    SignatureError: the log's key did not sign the checkpoint; ProofError: the entry is not its
    last leaf; MalformedError or LimitError: the parts are not what they stand for.
    """
    checkpoint = open_checkpoint(signed.checkpoint, verifier)
    verify_inclusion(
        checkpoint.size - 1,
        checkpoint.size,
        leaf_hash(signed.state_entry),
        signed.audit_path,
        checkpoint.root,
    )
    entry = Entry.decode(signed.state_entry)
    return checkpoint, entry, read_state(entry)


def read_state(entry: Entry) -> State:
    """The state that a state entry puts; MalformedError if it is another entry."""
    if entry.kind != Kind.STATE:
        raise MalformedError(f"an entry of kind {entry.kind} where the state entry belongs")
    return State.decode(entry.payload)


def _check_entry(entry: bytes, openings: tuple[Opening, ...]) -> None:
    if len(entry) > MAX_ENTRY_BYTES:
        raise LimitError(f"an entry of {len(entry)} bytes; {MAX_ENTRY_BYTES} are allowed")
    if len(openings) > MAX_OPENINGS_PER_ENTRY:
        raise LimitError(f"{len(openings)} openings; {MAX_OPENINGS_PER_ENTRY} are allowed")


def _check_count(entries: int) -> None:
    if entries > MAX_ENTRIES_PER_BATCH:
        raise LimitError(f"a batch of {entries} entries; {MAX_ENTRIES_PER_BATCH} are allowed")


def _check_batch_bytes(count: int) -> None:
    if count > MAX_BATCH_BYTES:
        raise LimitError(f"a batch of {count} bytes; {MAX_BATCH_BYTES} are allowed")


def _to_messages(openings: tuple[Opening, ...]) -> list[log_pb2.Opening]:
    return [opening.to_message() for opening in openings]


def _from_messages(messages: Iterable[log_pb2.Opening]) -> tuple[Opening, ...]:
    return tuple([Opening.from_message(message) for message in messages])
