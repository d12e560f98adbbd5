"""Checkpoints (C2SP tlog-checkpoint): the signed size and root of the log, and their freshness."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from registry.errors import MalformedError, SignatureError
from registry.limits import HASH_BYTES, MAX_LOG_SIZE
from registry.note import (
    CosignatureVerifier,
    Cosigner,
    Opened,
    Signer,
    UnverifiedNote,
    Verifier,
    check_key_name,
    cosignature_time,
    decode_base64,
    encode_base64,
    open_note,
)

# Decimal digits of the largest log.
_MAX_SIZE_DIGITS = len(str(MAX_LOG_SIZE))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """That the log named `origin` has `size` leaves and this root hash."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        check_key_name(self.origin)
        if not 0 <= self.size <= MAX_LOG_SIZE:
            raise MalformedError(f"log size {self.size} is not within 0 and {MAX_LOG_SIZE}")
        if len(self.root) != HASH_BYTES:
            raise MalformedError(f"a root hash of {len(self.root)} bytes")

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """The checkpoint in a note's text; MalformedError if it is not one.

        Extension lines are refused: the registry signs none, and without them a checkpoint
        has one text only.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise MalformedError("a checkpoint has three lines: origin, size, root hash")
        return cls(lines[0], _parse_size(lines[1]), decode_base64(lines[2]))

    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"


class LogKeys(Protocol):
    """Which keys sign a log's checkpoints, and at which sizes; `registry.root_chain` has one."""

    @property
    def name(self) -> str:
        """The log's origin."""

    def check(self, checkpoint: Checkpoint, note: UnverifiedNote) -> None:
        """SignatureError unless a key that is good at its size signed the checkpoint."""


class FreshnessKeys(Protocol):
    """Which keys say that a checkpoint is the newest."""

    def check_freshness(self, note: UnverifiedNote) -> Opened:
        """The note with the cosignatures that hold; SignatureError if there is none."""


# A log with one key for ever needs no root.
CheckpointKeys = Verifier | LogKeys
CosignatureKeys = CosignatureVerifier | FreshnessKeys


class CheckpointSigner(Protocol):
    """Which key signs the log, and at which sizes."""

    @property
    def name(self) -> str:
        """The log's origin."""

    def at(self, size: int) -> Signer:
        """The key for a log of this size."""


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer | CheckpointSigner) -> bytes:
    """The checkpoint as a note of the log's key, which is named like the log's origin.

    Signing the same checkpoint again gives the same bytes. MalformedError if the key belongs to
    another log.
    """
    if checkpoint.origin != signer.name:
        raise MalformedError(f"the key of {signer.name} does not sign for {checkpoint.origin}")
    key = signer if isinstance(signer, Signer) else signer.at(checkpoint.size)
    return key.sign(checkpoint.text())


def open_checkpoint(note: bytes, keys: CheckpointKeys) -> Checkpoint:
    """The checkpoint in a note that the log's key signed.

    SignatureError if it did not, or if the checkpoint is of another log; MalformedError if it
    is not a checkpoint; and whatever `keys` raises.
    """
    unverified = UnverifiedNote.parse(note)
    if isinstance(keys, Verifier):
        open_note(unverified, [keys])
    checkpoint = Checkpoint.parse(unverified.text)
    if checkpoint.origin != keys.name:
        raise SignatureError(f"a checkpoint of {checkpoint.origin}, not of {keys.name}")
    if not isinstance(keys, Verifier):
        keys.check(checkpoint, unverified)
    return checkpoint


def cosign(note: bytes, cosigner: Cosigner, now_s: int) -> bytes:
    """The note with a cosignature that states it was the newest at `now_s` (seconds since 1970).

    It takes the place of an older one of the same key. Whether the note is true is for the
    caller to know: only its form is checked here (MalformedError).
    """
    unverified = UnverifiedNote.parse(note)
    Checkpoint.parse(unverified.text)
    signature = cosigner.sign(unverified.text, now_s)
    others = tuple(
        other
        for other in unverified.signatures
        if (other.name, other.key_id) != (signature.name, signature.key_id)
    )
    return replace(unverified, signatures=(*others, signature)).encode()


def freshness_time(note: bytes, keys: CosignatureKeys) -> int:
    """When the cosigner stated that this checkpoint is the newest, in seconds since 1970.

    SignatureError without its cosignature; MalformedError if it is not a note. Whether the log
    signed the checkpoint is for `open_checkpoint` to tell.
    """
    unverified = UnverifiedNote.parse(note)
    if isinstance(keys, CosignatureVerifier):
        opened = open_note(unverified, [keys])
    else:
        opened = keys.check_freshness(unverified)
    return max(cosignature_time(signature.value) for signature in opened.signatures)


def _parse_size(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > _MAX_SIZE_DIGITS:
        raise MalformedError("a checkpoint's size is not a number")
    if len(text) > 1 and text[0] == "0":
        raise MalformedError("a checkpoint's size has leading zeroes")
    return int(text)
