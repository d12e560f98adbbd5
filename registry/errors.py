"""What can be wrong, told apart by who is at fault and whether trying again helps.

`Problem`: the input of a person or a client is at fault; retrying it unchanged cannot help.
`VerificationError`: a peer or a store gave something that the registry did not sign, or that
breaks its protocol; asking another source may help, accepting it never does.
"""

from __future__ import annotations

from dataclasses import dataclass


class RegistryError(Exception):
    """Base of every error the registry raises on purpose."""


class Problem(RegistryError):  # noqa: N818 - what RFC 9457 calls it
    """A request that cannot be granted as it is; do not retry it unchanged.

    `code` is stable and for programs, `field` names the part of the input at fault (empty
    when it is the whole), `message` says what is wrong and what to do about it.
    """

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(code, message, field)
        self.code = code
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class VerificationError(RegistryError):
    """What a peer or a store gave is not what the registry signed; never use it."""


class MalformedError(VerificationError):
    """Bytes that do not follow their format."""


class UnknownValueError(MalformedError):
    """A number or a word that this software does not know, where its format has a place for it."""


class SignatureError(VerificationError):
    """A signature of the expected key is missing or false."""


class RetiredKeyError(SignatureError):
    """Signed by a key of the log, at a size for which the board says that it is good no more."""


class ThresholdError(SignatureError):
    """Fewer keys of the board signed than have to."""


class BoardError(VerificationError):
    """A root, a decision, or what hangs on one, that does not follow from those before it."""


class RootMismatchError(VerificationError):
    """Entries that do not add up to the signed root of the log."""


class StateMismatchError(VerificationError):
    """Records that do not add up to the signed state root or number of live keys."""


class SequenceError(VerificationError):
    """A batch, serial or time that was skipped, replayed or came out of order."""


class LimitError(VerificationError):
    """More than a protocol limit of `registry.limits` allows."""


class OutdatedError(VerificationError):
    """Of a newer version: this software has to be updated to go on."""


class NewerLogError(OutdatedError):
    """Signed, but an entry that must be understood and is not."""


class ProofError(VerificationError):
    """A Merkle proof that does not lead to the signed root."""


@dataclass(frozen=True, slots=True)
class ForkProof:
    """Shows a fork of two sizes: the root that the larger log had at the smaller one's size.

    `path` is the consistency proof (RFC 6962, 2.1.2) from there to the larger log.
    """

    root: bytes
    path: tuple[bytes, ...]


class ForkError(VerificationError):
    """Two checkpoints, both signed, that cannot be of one log: evidence, keep both notes.

    `proof` is there where the checkpoints are of two sizes.
    """

    def __init__(self, ours: bytes, theirs: bytes, proof: ForkProof | None = None) -> None:
        super().__init__("two signed checkpoints disagree", ours, theirs, proof)
        self.ours = ours
        self.theirs = theirs
        self.proof = proof

    def __str__(self) -> str:
        return "two signed checkpoints disagree"
