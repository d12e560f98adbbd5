"""Cosignatures of mirrors (C2SP tlog-cosignature): a mirror states what it has durably stored.

A cosigner's word is worth something because it never takes it back: it cosigns no second history,
and no log smaller than one it cosigned before. `check_next` is that rule; whoever signs keeps the
last note that it cosigned, and asks before each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from registry.checkpoint import Checkpoint, CheckpointKeys, open_checkpoint
from registry.errors import ForkError, ForkProof, MalformedError, SequenceError
from registry.merkle import verify_consistency
from registry.note import (
    CosignatureVerifier,
    Cosigner,
    NoteSignature,
    UnverifiedNote,
    cosignature_time,
    open_note,
)
from registry.tiles import TileReader, compact_range, consistency_path


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A checkpoint, and that its cosigner vouched for it at `time_s`, seconds since 1970."""

    note: bytes
    checkpoint: Checkpoint
    signature: NoteSignature

    @property
    def time_s(self) -> int:
        """When it was cosigned."""
        return cosignature_time(self.signature.value)


def cosigner_name(origin: str, node: str) -> str:
    """How the key is named with which a node cosigns this log."""
    return f"{origin}/{node}"


def open_cosigned(
    note: bytes, cosigner: CosignatureVerifier, keys: CheckpointKeys | None = None
) -> Cosigned:
    """What a cosigned note says, once its signatures are verified.

    `keys` are the log's key; without it only the cosigner's own word is checked, as by the
    cosigner itself of what it wrote. SignatureError, MalformedError.
    """
    if keys is not None:
        open_checkpoint(note, keys)
    opened = open_note(note, [cosigner])
    return Cosigned(note, Checkpoint.parse(opened.text), opened.signatures[0])


def check_next(before: Cosigned, note: bytes, checkpoint: Checkpoint, tiles: TileReader) -> None:
    """Check that a cosigner of `before` may cosign `checkpoint`, which `note` shows signed.

    `tiles` are of the log of that checkpoint. SequenceError: it is smaller. ForkError: it is of
    another log, proved. ProofError, MalformedError: the tiles do not lead to it.
    """
    old = before.checkpoint
    if checkpoint.size < old.size:
        raise SequenceError(f"a log of {checkpoint.size} entries, after {old.size} were cosigned")
    if checkpoint.size == old.size:
        if checkpoint.root != old.root:
            raise ForkError(before.note, note)
        return
    if old.size == 0:
        return
    path = tuple(consistency_path(old.size, checkpoint.size, tiles))
    root = compact_range(old.size, tiles).root()
    verify_consistency(old.size, checkpoint.size, root, checkpoint.root, path)
    if root != old.root:
        raise ForkError(before.note, note, ForkProof(root, path))


def sign_for(note: bytes, cosigner: Cosigner, now_s: int) -> Cosigned:
    """The note with the cosigner's signature, in place of an older one of the same key.

    Whether it may be cosigned is for `check_next`; only its form is checked (MalformedError).
    """
    unverified = UnverifiedNote.parse(note)
    checkpoint = Checkpoint.parse(unverified.text)
    signature = cosigner.sign(unverified.text, now_s)
    return Cosigned(with_signatures(note, [signature]), checkpoint, signature)


def with_signatures(note: bytes, signatures: Iterable[NoteSignature]) -> bytes:
    """The note with these signatures too, each in place of an older one of its key.

    MalformedError if it is no note; whether the signatures are good is for the caller to know.
    """
    unverified = UnverifiedNote.parse(note)
    kept = {(one.name, one.key_id): one for one in unverified.signatures}
    for signature in signatures:
        key = (signature.name, signature.key_id)
        kept.pop(key, None)
        kept[key] = signature
    if not kept:
        raise MalformedError("a note without a signature")
    return replace(unverified, signatures=tuple(kept.values())).encode()
