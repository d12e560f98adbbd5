"""Snapshot files: the newest entry of every live key, as of one signed checkpoint.

A file is a magic line; a header and as many records as it announces, in the order of their
state keys, each after its length in four bytes, big-endian; and the SHA-256 of all that. The
file never changes, so it can be read from any offset on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, NamedTuple

from registry.batch import LoggedEntry, Record, SignedState, open_signed_state, parse_record
from registry.checkpoint import Checkpoint, CheckpointKeys
from registry.contact import Opening
from registry.content import check_stored, read_entry
from registry.entry import state_key
from registry.errors import (
    LimitError,
    MalformedError,
    RootMismatchError,
    StateMismatchError,
)
from registry.kinds import Kind, Operation
from registry.limits import KIB
from registry.merkle import CompactRange
from registry.messages import parse
from registry.state import State
from registry.wire.v1 import log_pb2

MAGIC: Final = b"smtpnic snapshot 1\n"
# A header's note, state entry and hashes, or a record's entry and openings: both fit in half.
MAX_PART_BYTES: Final = 64 * KIB
LENGTH_BYTES: Final = 4
DIGEST_BYTES: Final = 32

# Plain numbers: looking the enumerations up costs several times as much.
_REGISTRATION: Final = int(Kind.REGISTRATION)
_PUT: Final = int(Operation.PUT)


def snapshot_name(size: int, state_root: bytes) -> str:
    """The name of the snapshot of the log at `size`, whose state tree has this root."""
    return f"{size}-{state_root.hex()}.snapshot"


@dataclass(frozen=True, slots=True)
class SnapshotPosition:
    """Where in the log a snapshot stands, verified."""

    checkpoint: Checkpoint
    state: State
    compact_range: CompactRange


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """What a snapshot claims to hold: `records` records, and the state they add up to.

    `compact_range` are the roots of the log's perfect subtrees at that size, largest first.
    """

    signed_state: SignedState
    compact_range: tuple[bytes, ...]
    records: int

    def open(self, verifier: CheckpointKeys) -> SnapshotPosition:
        """Verify all that the header says; the records must still lead to its state root.

        SignatureError, ProofError, MalformedError, LimitError: as in `open_signed_state`.
        RootMismatchError: not the compact range of that log. StateMismatchError: another number
        of records than there are live keys.
        """
        checkpoint, _, state = open_signed_state(self.signed_state, verifier)
        compact_range = CompactRange(checkpoint.size, self.compact_range)
        if compact_range.root() != checkpoint.root:
            raise RootMismatchError("the compact range does not lead to the signed root")
        if self.records != state.live_keys:
            raise StateMismatchError(
                f"a snapshot of {self.records} records of a state of {state.live_keys} live keys"
            )
        return SnapshotPosition(checkpoint, state, compact_range)

    def encode(self) -> bytes:
        """The header's bytes."""
        return log_pb2.SnapshotHeader(
            state=self.signed_state.to_message(),
            compact_range=self.compact_range,
            records=self.records,
        ).SerializeToString()

    @classmethod
    def decode(cls, data: bytes) -> SnapshotHeader:
        """The header in these bytes; MalformedError if it is none."""
        message = parse(log_pb2.SnapshotHeader, data)
        signed_state = SignedState.from_message(message.state)
        return cls(signed_state, tuple(message.compact_range), message.records)


class SnapshotRecord(NamedTuple):
    """A live key's record as a replica keeps it: its openings apart from the encoded rest."""

    state_key: bytes
    encoded: bytes
    openings: tuple[Opening, ...]

    def record(self) -> Record:
        """The record, its openings included."""
        return replace(Record.decode(self.encoded), openings=self.openings)


def encode_snapshot(header: SnapshotHeader, records: Iterable[Record]) -> Iterator[bytes]:
    """The snapshot file, piece by piece.

    The caller owes what the header announces: that many records, in the order of their state
    keys. Readers refuse anything else.
    """
    digest = sha256()
    start = MAGIC + _part(header.encode())
    digest.update(start)
    yield start
    for record in records:
        part = _part(record.encode())
        digest.update(part)
        yield part
    yield digest.digest()


class SnapshotReader:
    """Reads a snapshot file from chunks of any size: first `header`, then the records, once.

    Whole, well-formed and in order is all that this says of them: the header is to be opened,
    and the state root made from all records is to be compared with the header's. Until both
    hold, an error tells of the source and not of the log.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        """Read as far as the header. MalformedError or LimitError if there is none."""
        self._source = _Source(chunks)
        if self._source.take(len(MAGIC)) != MAGIC:
            raise MalformedError("not a snapshot file")
        self.header: Final = SnapshotHeader.decode(self._source.take_part())

    def __iter__(self) -> Iterator[SnapshotRecord]:
        """The records, in the order of their state keys.

        MalformedError: cut off, damaged, out of order, or no records; LimitError: one is too
        long; ProofError: a false opening; NewerLogError: this software is too old.
        """
        previous = b""
        for _ in range(self.header.records):
            record = _read_record(self._source.take_part())
            if record.state_key <= previous:
                raise MalformedError("records of a snapshot out of order")
            previous = record.state_key
            yield record
        self._source.finish()


def _read_record(data: bytes) -> SnapshotRecord:
    message, entry = parse_record(data)
    kind, key = entry.kind, entry.key
    openings: tuple[Opening, ...] = ()
    if kind != _REGISTRATION or entry.operation != _PUT or not key or message.openings:
        openings = _check_record(Record.from_message(message))
        message.ClearField("openings")
    else:
        # The rest of a registration is covered by the state root alone, and there are millions.
        check_stored(state_key(kind, key), entry.payload, data)
    # What nobody signed is not passed on.
    message.DiscardUnknownFields()
    return SnapshotRecord(state_key(kind, key), message.SerializeToString(), openings)


def _check_record(record: Record) -> tuple[Opening, ...]:
    entry = read_entry(LoggedEntry(record.entry, record.openings))
    if entry.operation != Operation.PUT or entry.kind == Kind.STATE:
        raise MalformedError("a snapshot holds something else than the records of live keys")
    return record.openings


def _part(data: bytes) -> bytes:
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


class _Source:
    """Takes pieces of given lengths from chunks of any, and hashes what it took."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        self._position = 0
        self._digest = sha256()

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._position + count
        if end > len(self._buffer):
            self._fill(count)
            end = count
        data = self._buffer[self._position : end]
        self._position = end
        return data

    def take_part(self) -> bytes:
        """The next part, without its length."""
        length = int.from_bytes(self.take(LENGTH_BYTES), "big")
        if length > MAX_PART_BYTES:
            raise LimitError(f"a part of {length} bytes; {MAX_PART_BYTES} are allowed")
        return self.take(length)

    def finish(self) -> None:
        """Check that the digest of all that was taken is next, and nothing after it."""
        self._digest.update(self._buffer[: self._position])
        self._buffer = self._buffer[self._position :]
        self._position = 0
        expected = self._digest.digest()
        if self.take(DIGEST_BYTES) != expected:
            raise MalformedError("a damaged snapshot file: its digest is another")
        if self._position != len(self._buffer) or any(self._chunks):
            raise MalformedError("a snapshot file with something after its digest")

    def _fill(self, count: int) -> None:
        """Drop what was taken, and make `count` bytes ready at the buffer's start."""
        self._digest.update(self._buffer[: self._position])
        pieces = [self._buffer[self._position :]]
        ready = len(pieces[0])
        while ready < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise MalformedError("a snapshot file that was cut off")
            pieces.append(chunk)
            ready += len(chunk)
        self._buffer = b"".join(pieces)
        self._position = 0
