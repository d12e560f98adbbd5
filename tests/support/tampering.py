"""Every way to tamper with a batch, each with the error that a verifier has to give it.

A tampering makes a batch of the builder's pending changes that is wrong in one respect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from registry.batch import Batch, LoggedEntry
from registry.contact import Opening
from registry.entry import Entry
from registry.errors import (
    LimitError,
    MalformedError,
    NewerLogError,
    ProofError,
    RootMismatchError,
    SequenceError,
    SignatureError,
    StateMismatchError,
    VerificationError,
)
from registry.kinds import Kind, Operation
from registry.limits import (
    MAX_BATCH_BYTES,
    MAX_CHANGES_PER_BATCH,
    MAX_ENTRY_BYTES,
    MAX_OPENINGS_PER_ENTRY,
)
from registry.note import Signer
from registry.replay import Replay
from registry.wire.v1 import log_pb2
from tests.support.log_builder import ORIGIN, LogBuilder

UNKNOWN_KIND: Final = 200

Tamper = Callable[[LogBuilder], bytes]


def prepared() -> tuple[LogBuilder, Replay]:
    """A log of two batches, a replay behind them, and a third batch's changes pending."""
    builder = LogBuilder()
    builder.put_holder()
    builder.put_registration("192.0.2.1")
    builder.commit()
    builder.put_registration("192.0.2.2")
    builder.commit()
    replay = builder.replayed()
    builder.put_holder(bytes(16))
    builder.put_registration("192.0.2.3")
    builder.put_registration("192.0.2.1", "new.example.org")
    return builder, replay


def with_entries(batch: Batch, *entries: LoggedEntry) -> bytes:
    """The batch with other entries under the same checkpoint."""
    return replace(batch, entries=entries).encode()


def with_opening(batch: Batch, opening: Opening) -> bytes:
    """The batch with another first opening beside its first entry, a holder."""
    holder, *others = batch.entries
    openings = (opening, *holder.openings[1:])
    return with_entries(batch, LoggedEntry(holder.entry, openings), *others)


def changed_byte(builder: LogBuilder) -> bytes:
    """One bit of an entry's payload is another."""
    first, *others = builder.batch().entries
    entry = bytearray(first.entry)
    entry[-1] ^= 1
    return with_entries(builder.batch(), LoggedEntry(bytes(entry), first.openings), *others)


def swapped_entries(builder: LogBuilder) -> bytes:
    """Two changes in the other order."""
    first, second, *others = builder.batch().entries
    return with_entries(builder.batch(), second, first, *others)


def left_out_entry(builder: LogBuilder) -> bytes:
    """One change less than was signed."""
    return with_entries(builder.batch(), *builder.batch().entries[1:])


def skipped_batch(builder: LogBuilder) -> bytes:
    """The batch after the one that is due."""
    builder.commit()
    builder.put_registration("192.0.2.4")
    return builder.batch().encode()


def replayed_batch(builder: LogBuilder) -> bytes:
    """The batch that was the last one already."""
    return builder.batches[-1].encode()


def moved_batch(builder: LogBuilder) -> bytes:
    """An old batch that says it is due."""
    return replace(builder.batches[-1], start=builder.size).encode()


def older_checkpoint(builder: LogBuilder) -> bytes:
    """The due entries under the signature of the log before them."""
    return replace(builder.batch(), checkpoint=builder.checkpoint).encode()


def forged_signature(builder: LogBuilder) -> bytes:
    """All as it should be, but of another key under the same name."""
    return builder.batch(signer=Signer(ORIGIN, bytes(32))).encode()


def unsigned(builder: LogBuilder) -> bytes:
    """No checkpoint at all."""
    return replace(builder.batch(), checkpoint=b"").encode()


def other_log(builder: LogBuilder) -> bytes:
    """Signed by another log's key, in its own name."""
    return replace(builder.batch(), checkpoint=LogBuilder("example.net").checkpoint).encode()


def wrong_state_root(builder: LogBuilder) -> bytes:
    """Signed, and the state entry lies about the root."""
    return builder.batch(state_root=bytes(32)).encode()


def wrong_live_keys(builder: LogBuilder) -> bytes:
    """Signed, and the state entry lies about the number of live keys."""
    return builder.batch(live_keys=builder.tree.live).encode()


def same_serial(builder: LogBuilder) -> bytes:
    """Signed, and the zone serial stays."""
    return builder.batch(zone_serial=builder.zone_serial).encode()


def falling_serial(builder: LogBuilder) -> bytes:
    """Signed, and the zone serial falls, by RFC 1982's arithmetic."""
    return builder.batch(zone_serial=builder.zone_serial + 2**31 + 1).encode()


def false_opening(builder: LogBuilder) -> bytes:
    """A value beside a holder that was not committed to."""
    holder = builder.batch().entries[0]
    return with_opening(builder.batch(), replace(holder.openings[0], value="Imposter"))


def opening_of_nothing(builder: LogBuilder) -> bytes:
    """An opening of a field that is opened already."""
    holder = builder.batch().entries[0]
    return with_opening(builder.batch(), holder.openings[1])


def opening_beside_registration(builder: LogBuilder) -> bytes:
    """An opening where there is nothing to open."""
    batch = builder.batch()
    registration = LoggedEntry(batch.entries[1].entry, batch.entries[0].openings)
    return with_entries(batch, batch.entries[0], registration, *batch.entries[2:])


def malformed_opening(builder: LogBuilder) -> bytes:
    """An opening without a salt."""
    message = builder.batch().to_message()
    message.entries[0].openings[0].salt = b""
    return message.SerializeToString()


def critical_kind(builder: LogBuilder) -> bytes:
    """Signed, and beyond this software."""
    builder.put(UNKNOWN_KIND, b"k", b"", critical=True)
    return builder.batch().encode()


def no_state_entry(builder: LogBuilder) -> bytes:
    """Signed, and it ends with a change."""
    return builder.seal(list(builder.batch().entries[:-1])).encode()


def two_state_entries(builder: LogBuilder) -> bytes:
    """Signed, and a state entry stands before the last."""
    *changes, closing = builder.batch().entries
    return builder.seal([*changes, closing, closing]).encode()


def state_delete(builder: LogBuilder) -> bytes:
    """Signed, and the state entry deletes."""
    closing = Entry(Kind.STATE, b"", Operation.DELETE, True, 1, b"")
    return builder.seal([LoggedEntry(closing.encode())]).encode()


def not_an_entry(builder: LogBuilder) -> bytes:
    """Signed, and one leaf is no entry."""
    return builder.seal([LoggedEntry(b"\xff"), builder.batch().entries[-1]]).encode()


def not_a_registration(builder: LogBuilder) -> bytes:
    """Signed, and a payload is not what its kind asks for."""
    builder.put(Kind.REGISTRATION, bytes(4), b"\xff")
    return builder.batch().encode()


def too_many_changes(builder: LogBuilder) -> bytes:
    """A change more than the protocol allows."""
    message = builder.batch().to_message()
    message.entries.extend([log_pb2.LoggedEntry()] * MAX_CHANGES_PER_BATCH)
    return message.SerializeToString()


def oversized_entry(builder: LogBuilder) -> bytes:
    """An entry longer than the protocol allows."""
    message = builder.batch().to_message()
    message.entries[0].entry = bytes(MAX_ENTRY_BYTES + 1)
    return message.SerializeToString()


def oversized_batch(builder: LogBuilder) -> bytes:
    """More bytes than the protocol allows, though only in a field that nobody reads."""
    return builder.batch().encode() + b"\xa2\x06\x80\x80\x40" + bytes(MAX_BATCH_BYTES)


def too_many_openings(builder: LogBuilder) -> bytes:
    """More openings than an entry may have."""
    message = builder.batch().to_message()
    message.entries[0].openings.extend([message.entries[0].openings[0]] * MAX_OPENINGS_PER_ENTRY)
    return message.SerializeToString()


def no_batch(_builder: LogBuilder) -> bytes:
    """Bytes of something else."""
    return b"\xff\xff"


TAMPERING: Final[list[tuple[Tamper, type[VerificationError]]]] = [
    (changed_byte, RootMismatchError),
    (swapped_entries, RootMismatchError),
    (left_out_entry, SequenceError),
    (skipped_batch, SequenceError),
    (replayed_batch, SequenceError),
    (moved_batch, SequenceError),
    (older_checkpoint, SequenceError),
    (same_serial, SequenceError),
    (falling_serial, SequenceError),
    (forged_signature, SignatureError),
    (other_log, SignatureError),
    (unsigned, MalformedError),
    (wrong_state_root, StateMismatchError),
    (wrong_live_keys, StateMismatchError),
    (false_opening, ProofError),
    (opening_of_nothing, ProofError),
    (opening_beside_registration, MalformedError),
    (malformed_opening, MalformedError),
    (critical_kind, NewerLogError),
    (no_state_entry, MalformedError),
    (two_state_entries, MalformedError),
    (state_delete, MalformedError),
    (not_an_entry, MalformedError),
    (not_a_registration, MalformedError),
    (too_many_changes, LimitError),
    (oversized_entry, LimitError),
    (oversized_batch, LimitError),
    (too_many_openings, LimitError),
    (no_batch, MalformedError),
]
