"""Proof of a lookup: what a mirror gives, enough to check it with the log's key alone."""

from __future__ import annotations

from dataclasses import dataclass

from registry.batch import LoggedEntry, Record, SignedState, open_signed_state
from registry.checkpoint import Checkpoint, CheckpointKeys
from registry.content import read_entry
from registry.entry import Entry
from registry.errors import MalformedError, ProofError
from registry.kinds import Operation
from registry.merkle import leaf_hash, verify_inclusion
from registry.messages import parse
from registry.state import State
from registry.state_tree import StateProof, verify_state
from registry.wire.v1 import log_pb2, mirror_pb2


@dataclass(frozen=True, slots=True)
class Lookup:
    """A mirror's answer about one key, with all that proves it; nothing in it is verified yet.

    `record` is None where the key has none. `audit_path` leads from the record's index to the
    root of the checkpoint.
    """

    signed_state: SignedState
    state_proof: StateProof
    record: Record | None = None
    audit_path: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """The answer's bytes."""
        return self.to_message().SerializeToString()

    def to_message(self) -> mirror_pb2.ProveResponse:
        """The wire message."""
        return mirror_pb2.ProveResponse(
            state=self.signed_state.to_message(),
            state_proof=log_pb2.StateProof(
                bucket=self.state_proof.bucket, siblings=self.state_proof.siblings
            ),
            record=None if self.record is None else self.record.to_message(),
            audit_path=self.audit_path,
        )

    @classmethod
    def decode(cls, data: bytes) -> Lookup:
        """The answer in these bytes; MalformedError or LimitError if they hold none."""
        return cls.from_message(parse(mirror_pb2.ProveResponse, data))

    @classmethod
    def from_message(cls, message: mirror_pb2.ProveResponse) -> Lookup:
        """The answer in a wire message; MalformedError or LimitError if it is none."""
        return cls(
            SignedState.from_message(message.state),
            StateProof(message.state_proof.bucket, tuple(message.state_proof.siblings)),
            Record.from_message(message.record) if message.HasField("record") else None,
            tuple(message.audit_path),
        )


@dataclass(frozen=True, slots=True)
class VerifiedLookup:
    """What the registry had signed about one key at a checkpoint.

    `record` and its `entry` are None where the key had none; `time_ms` is the time of the
    checkpoint's state entry, in milliseconds since 1970-01-01T00:00:00Z.
    """

    record: Record | None
    entry: Entry | None
    checkpoint: Checkpoint
    state: State
    time_ms: int


def verify_lookup(lookup: Lookup, verifier: CheckpointKeys, state_key: bytes) -> VerifiedLookup:
    """Verify that the record was current at the checkpoint, or that the key had none then.

    How old a checkpoint may be is for the caller to judge. SignatureError: not of this log's
    key. ProofError: the proofs do not lead to what was signed, or the record was superseded.
    MalformedError, LimitError: the parts are not what they stand for. NewerLogError: this software
    is too old to say what the record means.
    """
    checkpoint, closing, state = open_signed_state(lookup.signed_state, verifier)
    location = verify_state(lookup.state_proof, state_key, state.state_root)
    record = lookup.record
    if record is None:
        if location is not None:
            raise ProofError("the record is left out, though the state holds one")
        return VerifiedLookup(None, None, checkpoint, state, closing.time_ms)
    if location is None:
        raise ProofError("a record of a key that the state holds none of")
    index, leaf = location
    if record.index != index or leaf_hash(record.entry) != leaf:
        raise ProofError(f"not the current record, which is entry {index}")
    verify_inclusion(index, checkpoint.size, leaf, lookup.audit_path, checkpoint.root)
    entry = read_entry(LoggedEntry(record.entry, record.openings))
    if entry.state_key != state_key or entry.operation != Operation.PUT:
        raise MalformedError("the state holds an entry that puts no record of this key")
    return VerifiedLookup(record, entry, checkpoint, state, closing.time_ms)
