"""The chain of roots: from the one that is pinned, version by version, to the one that holds.

A new version is signed by a threshold of the old board's keys and by one of its own; so it is in
The Update Framework. Older versions than the pinned one are known by their hash.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from registry.board_text import SignedText
from registry.checkpoint import Checkpoint
from registry.errors import (
    BoardError,
    LimitError,
    RetiredKeyError,
    RootMismatchError,
    SignatureError,
)
from registry.limits import MAX_ENTRY_BYTES
from registry.note import CosignatureVerifier, Opened, UnverifiedNote, open_note
from registry.root import MAX_ROOTS, NAMESPACE, Root

# Of 8 KiB each at most; a gRPC message has 4 MiB as a rule.
ROOTS_A_MESSAGE: Final = 256
# An entry's other fields.
_ENTRY_FRAMING: Final = 128


@dataclass(frozen=True, slots=True)
class SignedRoot:
    """A root, and the bytes that it was signed in."""

    root: Root
    note: bytes

    @classmethod
    def decode(cls, note: bytes) -> SignedRoot:
        """The root in a file. Who signed it is for the chain to say. MalformedError, LimitError."""
        if len(note) > MAX_ENTRY_BYTES - _ENTRY_FRAMING:
            raise LimitError(f"a root of {len(note)} bytes does not fit an entry of the log")
        return cls(Root.parse(SignedText.parse(note).text), note)


@dataclass(frozen=True, slots=True)
class RootChain:
    """Verified versions without a gap, the oldest first. It says which checkpoints are signed."""

    roots: tuple[SignedRoot, ...]

    @classmethod
    def pin(cls, note: bytes) -> RootChain:
        """The chain that begins with a root which is trusted because of where it came from.

        ThresholdError: it is not signed by its own board, so it was never meant to be used.
        """
        pinned = SignedRoot.decode(note)
        root = pinned.root
        SignedText.parse(note).check(root.board, root.threshold, NAMESPACE)
        return cls((pinned,))

    @property
    def current(self) -> Root:
        """The root that holds."""
        return self.roots[-1].root

    @property
    def version(self) -> int:
        """Its version."""
        return self.current.version

    @property
    def name(self) -> str:
        """The log's origin."""
        return self.current.origin

    @property
    def notes(self) -> list[bytes]:
        """Every version as it was signed, the oldest first."""
        return [signed.note for signed in self.roots]

    def version_at(self, version: int) -> Root | None:
        """The root of this version; None if the chain has it not."""
        at = version - self.roots[0].root.version
        return self.roots[at].root if 0 <= at < len(self.roots) else None

    def extend(self, note: bytes) -> RootChain:
        """With the next version. One that is in it already changes nothing.

        BoardError: a gap, another log, another root under a version that is known, or not the
        one that follows. ThresholdError: signed by too few of the old keys, or of the new ones.
        SignatureError, MalformedError, LimitError: not a root that anyone signed.
        """
        signed = SignedRoot.decode(note)
        new, old = signed.root, self.current
        if new.origin != old.origin:
            raise BoardError(f"a root of {new.origin}, not of {old.origin}")
        if new.version < self.roots[0].root.version:
            return self._before(signed)
        known = self.version_at(new.version)
        if known is not None:
            if known != new:
                raise BoardError(f"two roots of version {new.version}: somebody signed another")
            return self
        if new.version != old.version + 1:
            raise BoardError(f"a root of version {new.version} after version {old.version}: a gap")
        if new.previous != old.digest():
            raise BoardError(f"root {new.version} follows another root than the one that is known")
        if len(self.roots) >= MAX_ROOTS:
            raise LimitError(f"{MAX_ROOTS} roots are enough: pin a newer one")
        text = SignedText.parse(note)
        text.check(old.board, old.threshold, NAMESPACE)
        text.check(new.board, new.threshold, NAMESPACE)
        return replace(self, roots=(*self.roots, signed))

    def extend_all(self, notes: Iterable[bytes]) -> RootChain:
        """With all of these, in any order; errors as of `extend`."""
        signed = [SignedRoot.decode(note) for note in notes]
        first = self.roots[0].root.version
        older = sorted((s for s in signed if s.root.version < first), key=_version, reverse=True)
        newer = sorted((s for s in signed if s.root.version >= first), key=_version)
        chain = self
        for each in (*older, *newer):
            chain = chain.extend(each.note)
        return chain

    def check(self, checkpoint: Checkpoint, note: UnverifiedNote) -> None:
        """SignatureError unless a key that is good at its size signed the checkpoint.

        RetiredKeyError: a key signed that is good at other sizes only. RootMismatchError: signed,
        but not the log that the board's anchor names.
        """
        keys = self.current.log_keys
        good = [key.verifier for key in keys if key.is_good_at(checkpoint.size)]
        try:
            open_note(note, good)
        except SignatureError:
            self._refuse_retired(checkpoint, note)
            raise
        for anchor in self.current.anchors:
            if anchor.size == checkpoint.size and anchor.root != checkpoint.root:
                raise RootMismatchError(
                    f"signed at {checkpoint.size}, but not the log that the board goes on from"
                )

    def check_freshness(self, note: UnverifiedNote) -> Opened:
        """The note as the freshness keys signed it; SignatureError if none did."""
        return open_note(note, self.freshness_keys)

    @property
    def freshness_keys(self) -> tuple[CosignatureVerifier, ...]:
        """Those that the current root names."""
        return self.current.freshness_keys

    def _refuse_retired(self, checkpoint: Checkpoint, note: UnverifiedNote) -> None:
        """By whichever version named the key: one that was left out since is retired as well."""
        for signed in self.roots:
            for key in signed.root.log_keys:
                try:
                    open_note(note, [key.verifier])
                except SignatureError:
                    continue
                raise RetiredKeyError(
                    f"a checkpoint at {checkpoint.size} by the log key "
                    f"{key.verifier.key_id.hex()}, which root {self.version} has retired"
                )

    def _before(self, signed: SignedRoot) -> RootChain:
        first = self.roots[0].root
        if signed.root.version != first.version - 1 or signed.root.digest() != first.previous:
            raise BoardError(f"root {signed.root.version} is not the one before {first.version}")
        return replace(self, roots=(signed, *self.roots))


def later_roots(chain: RootChain, after: int) -> list[bytes]:
    """The notes of some of the versions after this one, the oldest first: as many as a message."""
    later = [signed.note for signed in chain.roots if signed.root.version > after]
    return later[:ROOTS_A_MESSAGE]


def _version(signed: SignedRoot) -> int:
    return signed.root.version
