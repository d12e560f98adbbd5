"""The cursor: what a generation in etcd holds, in the registry's own signed words."""

from __future__ import annotations

from dataclasses import dataclass

from registry.batch import SignedState, open_signed_state
from registry.checkpoint import (
    Checkpoint,
    CheckpointKeys,
    CosignatureKeys,
    freshness_time,
    open_checkpoint,
)
from registry.errors import RootMismatchError, VerificationError
from registry.merkle import CompactRange
from registry.messages import parse
from registry.state import State
from registry.wire.v1 import log_pb2


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the log a replica stands, verified; `time_ms` is its state entry's."""

    checkpoint: Checkpoint
    state: State
    time_ms: int
    compact_range: CompactRange


@dataclass(frozen=True, slots=True)
class Cursor:
    """The value of the cursor's key; nothing in it is verified before `open`.

    `compact_range` are the roots of the log's perfect subtrees, largest first. `freshness` is
    the newest checkpoint with a freshness cosignature, maybe of an earlier size; empty before
    the first.
    """

    signed_state: SignedState
    compact_range: tuple[bytes, ...]
    freshness: bytes = b""

    def open(self, verifier: CheckpointKeys) -> Position:
        """Verify all but the freshness; the records must still lead to the state root.

        SignatureError, ProofError, MalformedError, LimitError: as in `open_signed_state`.
        RootMismatchError: not the compact range of that log.
        """
        checkpoint, entry, state = open_signed_state(self.signed_state, verifier)
        compact_range = CompactRange(checkpoint.size, self.compact_range)
        if compact_range.root() != checkpoint.root:
            raise RootMismatchError("the cursor's compact range does not lead to its signed root")
        return Position(checkpoint, state, entry.time_ms, compact_range)

    def fresh_s(self, verifier: CheckpointKeys, freshness_verifier: CosignatureKeys) -> int:
        """When its freshness was cosigned, in seconds since 1970; 0 if nothing here proves it."""
        try:
            return open_freshness(self.freshness, verifier, freshness_verifier).time_s
        except VerificationError:
            return 0

    def encode(self) -> bytes:
        """The cursor's bytes."""
        return log_pb2.Cursor(
            state=self.signed_state.to_message(),
            compact_range=self.compact_range,
            freshness=self.freshness,
        ).SerializeToString()

    @classmethod
    def decode(cls, data: bytes) -> Cursor:
        """The cursor in these bytes; MalformedError if they hold none."""
        message = parse(log_pb2.Cursor, data)
        return cls(
            SignedState.from_message(message.state),
            tuple(message.compact_range),
            message.freshness,
        )


@dataclass(frozen=True, slots=True)
class Freshness:
    """That a checkpoint was the log's newest at `time_s`, in seconds since 1970."""

    checkpoint: Checkpoint
    time_s: int


def open_freshness(
    note: bytes, verifier: CheckpointKeys, freshness_verifier: CosignatureKeys
) -> Freshness:
    """What a note with a freshness cosignature says, once both signatures are verified.

    SignatureError if one is missing or false; MalformedError if it is no such note.
    """
    return Freshness(open_checkpoint(note, verifier), freshness_time(note, freshness_verifier))
