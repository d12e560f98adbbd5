"""Evidence of a fork: two checkpoints that one log's key signed and that no one log can have.

Of one size, two roots are proof enough. Of two sizes it takes a consistency proof that the
larger log had another root at the smaller size. Whoever has the log's key can check it offline;
nobody's word counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Self

from registry.checkpoint import Checkpoint, CheckpointKeys, open_checkpoint
from registry.errors import ForkError, ForkProof, MalformedError, ProofError
from registry.limits import HASH_BYTES, MAX_NOTE_BYTES, MAX_PROOF_HASHES
from registry.merkle import verify_consistency
from registry.note import decode_base64, encode_base64
from registry.tiles import TileReader, compact_range, consistency_path

FORMAT: Final = "smtpnic-fork-1"
# Two notes at their longest, each character escaped, and a proof.
MAX_EVIDENCE_BYTES: Final = 16 * MAX_NOTE_BYTES


@dataclass(frozen=True, slots=True)
class Fork:
    """The two checkpoints of a fork, the smaller log's first."""

    smaller: Checkpoint
    larger: Checkpoint


@dataclass(frozen=True, slots=True)
class ForkEvidence:
    """Two notes, and the proof where they are of two sizes; nothing is verified yet."""

    ours: bytes
    theirs: bytes
    proof: ForkProof | None = None

    @classmethod
    def of(cls, error: ForkError) -> Self:
        """What an error carries."""
        return cls(error.ours, error.theirs, error.proof)

    def encode(self) -> bytes:
        """The file's bytes: JSON, for people too."""
        values: dict[str, Any] = {
            "format": FORMAT,
            "ours": self.ours.decode("utf-8"),
            "theirs": self.theirs.decode("utf-8"),
        }
        if self.proof is not None:
            values["proof"] = {
                "root": encode_base64(self.proof.root),
                "path": [encode_base64(one) for one in self.proof.path],
            }
        return json.dumps(values, indent=1).encode("utf-8") + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The evidence in a file; MalformedError if it holds none."""
        if len(data) > MAX_EVIDENCE_BYTES:
            raise MalformedError(f"evidence of more than {MAX_EVIDENCE_BYTES} bytes")
        try:
            values = json.loads(data)
            if values["format"] != FORMAT:
                raise ValueError(f"not of the format {FORMAT}")
            ours, theirs = str(values["ours"]).encode(), str(values["theirs"]).encode()
            return cls(ours, theirs, _proof(values.get("proof")))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise MalformedError(f"no evidence of a fork: {error}") from None

    def verify(self, keys: CheckpointKeys) -> Fork:
        """The fork that it proves.

        ProofError: the checkpoints may well be of one log. SignatureError: the log's key did not
        sign both. MalformedError: they are no checkpoints.
        """
        notes = [open_checkpoint(note, keys) for note in (self.ours, self.theirs)]
        smaller, larger = sorted(notes, key=lambda checkpoint: checkpoint.size)
        if smaller.size == larger.size:
            root = larger.root
        elif self.proof is None:
            raise ProofError("checkpoints of two sizes, and no proof that they disagree")
        else:
            root = self.proof.root
            verify_consistency(smaller.size, larger.size, root, larger.root, self.proof.path)
        if root == smaller.root:
            raise ProofError("the two checkpoints agree: there is no fork")
        return Fork(smaller, larger)


def check_begins(
    theirs: Checkpoint, note: bytes, ours: bytes, size: int, tiles: TileReader
) -> None:
    """ForkError if `theirs`, which `note` shows signed, is no beginning of our log of `size`.

    It is no larger than ours. `tiles` are our own; `ours` is our checkpoint, signed too.
    """
    root = compact_range(theirs.size, tiles).root()
    if root == theirs.root:
        return
    if theirs.size == size:
        raise ForkError(ours, note)
    raise ForkError(ours, note, ForkProof(root, tuple(consistency_path(theirs.size, size, tiles))))


def _proof(values: Any) -> ForkProof | None:
    if values is None:
        return None
    path = tuple(decode_base64(one) for one in values["path"])
    root = decode_base64(values["root"])
    if len(path) > MAX_PROOF_HASHES or len(root) != HASH_BYTES:
        raise ValueError("a proof of the wrong length")
    return ForkProof(root, path)
