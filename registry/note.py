"""Signed notes (C2SP signed-note) and the two kinds of keys that sign ours.

A note is a text, an empty line, and signature lines. `Signer` makes plain Ed25519 signatures
(type 0x01); `Cosigner` makes cosignatures that also state a time (C2SP tlog-cosignature, type
0x04). A key's name and 4-byte identifier tell which key a signature line claims.
"""

from __future__ import annotations

import binascii
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import ClassVar, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from registry.errors import MalformedError, SignatureError
from registry.limits import MAX_KEY_NAME_BYTES, MAX_NOTE_BYTES, MAX_NOTE_SIGNATURES

ED25519_TYPE: Final = 0x01
COSIGNATURE_TYPE: Final = 0x04

KEY_ID_BYTES: Final = 4
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
TIME_BYTES: Final = 8
# C2SP tlog-cosignature: a timestamp must not exceed 2^63 - 1.
MAX_TIME_SECONDS: Final = 2**63 - 1

# The prime of the field under Ed25519 (RFC 8032, 5.1).
_FIELD: Final = 2**255 - 19
# y of the points of order 8, up to its sign: d*y^4 + 2*y^2 = 1.
_ORDER_8: Final = 0x5FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8})

_LINE_START: Final = "— "
_PRIVATE_START: Final = "PRIVATE+KEY+"
_NEWLINE: Final = 0x0A
_CONTROLS: Final = bytes(set(range(0x20)) - {_NEWLINE})


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: which key it claims, and the signature's own bytes."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """The line as it stands in a note, its newline included."""
        return f"{_LINE_START}{self.name} {encode_base64(self.key_id + self.value)}\n"


@dataclass(frozen=True, slots=True)
class UnverifiedNote:
    """A note taken apart. Nothing says yet that anyone signed it."""

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, note: bytes) -> UnverifiedNote:
        """The parts of the note; MalformedError where it is not one."""
        if len(note) > MAX_NOTE_BYTES:
            raise MalformedError(f"a note of {len(note)} bytes, more than {MAX_NOTE_BYTES}")
        content = _decode_text(note)
        end = content.rfind("\n\n")
        if end < 0 or not content.endswith("\n"):
            raise MalformedError("not a signed note: no signature lines after an empty line")
        lines = content[end + 2 : -1].split("\n")
        if len(lines) > MAX_NOTE_SIGNATURES:
            raise MalformedError(f"a note with more than {MAX_NOTE_SIGNATURES} signatures")
        return cls(content[: end + 1], tuple(_parse_signature(line) for line in lines))

    def encode(self) -> bytes:
        """The note's bytes."""
        lines = "".join(signature.line() for signature in self.signatures)
        return f"{self.text}\n{lines}".encode()


@dataclass(frozen=True, slots=True)
class Opened:
    """A note whose text was signed by known keys: at least one, each signature verified."""

    text: str
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class NoteVerifier(ABC):
    """The public half of a named key; parsed once, so keep it rather than its text."""

    signature_type: ClassVar[int]

    name: str
    public_key: bytes
    key_id: bytes = field(init=False)
    _key: Ed25519PublicKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.public_key) != KEY_BYTES:
            raise MalformedError(f"a public key of {len(self.public_key)} bytes")
        if has_small_order(self.public_key):
            raise MalformedError("a public key for which anyone can sign")
        material = bytes([self.signature_type]) + self.public_key
        object.__setattr__(self, "key_id", _key_id(self.name, material))
        object.__setattr__(self, "_key", Ed25519PublicKey.from_public_bytes(self.public_key))

    @classmethod
    def from_vkey(cls, vkey: str) -> Self:
        """The key in its text form, "name+key ID+base64"; MalformedError if it is not one."""
        verifier = cls(*_decode_key(vkey, cls.signature_type))
        if vkey != verifier.vkey():
            raise MalformedError("the key's identifier does not belong to it")
        return verifier

    def vkey(self) -> str:
        """The text form, which is no secret."""
        return _encode_key(self.name, self.key_id, self.signature_type, self.public_key)

    @abstractmethod
    def verify(self, text: bytes, signature: bytes) -> None:
        """SignatureError unless this key made the signature for the text of a note."""

    def _verify_ed25519(self, message: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise SignatureError(f"a false signature of {self.name}") from None


class Verifier(NoteVerifier):
    """Verifies plain Ed25519 signatures."""

    __slots__ = ()
    signature_type = ED25519_TYPE

    def verify(self, text: bytes, signature: bytes) -> None:
        """SignatureError unless this key signed the text."""
        self._verify_ed25519(text, signature)


class CosignatureVerifier(NoteVerifier):
    """Verifies timestamped cosignatures."""

    __slots__ = ()
    signature_type = COSIGNATURE_TYPE

    def verify(self, text: bytes, signature: bytes) -> None:
        """SignatureError unless this key cosigned the text at the time it states."""
        if len(signature) != TIME_BYTES + SIGNATURE_BYTES:
            raise SignatureError(f"a cosignature of {self.name} of the wrong length")
        time_s = cosignature_time(signature)
        if time_s > MAX_TIME_SECONDS:
            raise SignatureError(f"a cosignature of {self.name} beyond all time")
        self._verify_ed25519(_cosigned(text, time_s), signature[TIME_BYTES:])


@dataclass(frozen=True, slots=True)
class _PrivateKey:
    """The private half of a named key; never shown by repr."""

    signature_type: ClassVar[int]

    name: str
    seed: bytes = field(repr=False)
    key_id: bytes = field(init=False)
    public_key: bytes = field(init=False)
    _key: Ed25519PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.seed) != KEY_BYTES:
            raise MalformedError("a private key of the wrong length")
        key = Ed25519PrivateKey.from_private_bytes(self.seed)
        public_key = key.public_key().public_bytes_raw()
        material = bytes([self.signature_type]) + public_key
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "public_key", public_key)
        object.__setattr__(self, "key_id", _key_id(self.name, material))

    @classmethod
    def generate(cls, name: str) -> Self:
        """A fresh key of that name."""
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The key in its text form, "PRIVATE+KEY+name+key ID+base64"; MalformedError."""
        if not text.startswith(_PRIVATE_START):
            raise MalformedError("not a private key of a signed note")
        signer = cls(*_decode_key(text.removeprefix(_PRIVATE_START), cls.signature_type))
        if text != signer.to_text():
            raise MalformedError("the private key's identifier does not belong to it")
        return signer

    def to_text(self) -> str:
        """The text form: whoever reads it can sign."""
        key = _encode_key(self.name, self.key_id, self.signature_type, self.seed)
        return _PRIVATE_START + key


class Signer(_PrivateKey):
    """Signs notes with Ed25519; the same text always gives the same note."""

    __slots__ = ()
    signature_type = ED25519_TYPE

    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, self.public_key)

    def sign(self, text: str) -> bytes:
        """The note of that text, signed; MalformedError if no note can have the text."""
        encoded = _encode_text(text)
        signature = NoteSignature(self.name, self.key_id, self._key.sign(encoded))
        return b"%b\n%b" % (encoded, signature.line().encode())


class Cosigner(_PrivateKey):
    """Adds timestamped cosignatures to notes that others signed."""

    __slots__ = ()
    signature_type = COSIGNATURE_TYPE

    def verifier(self) -> CosignatureVerifier:
        """The public half."""
        return CosignatureVerifier(self.name, self.public_key)

    def sign(self, text: str, now_s: int) -> NoteSignature:
        """The signature that states the text was current at `now_s`, seconds since 1970.

        MalformedError if no note can have the text, or a cosignature the time.
        """
        if not 0 <= now_s <= MAX_TIME_SECONDS:
            raise MalformedError(f"a cosignature cannot state the time {now_s}")
        signed = self._key.sign(_cosigned(_encode_text(text), now_s))
        return NoteSignature(self.name, self.key_id, now_s.to_bytes(TIME_BYTES) + signed)


def open_note(note: bytes | UnverifiedNote, verifiers: Sequence[NoteVerifier]) -> Opened:
    """The text of a note that at least one of the keys signed.

    Signatures of other keys are passed over, and so is a second one of the same key. Raises
    MalformedError if it is not a note, SignatureError if no key of `verifiers` signed it or if
    a signature that claims one of them is false.
    """
    unverified = note if isinstance(note, UnverifiedNote) else UnverifiedNote.parse(note)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    text = unverified.text.encode()
    verified = []
    for signature in unverified.signatures:
        verifier = known.pop((signature.name, signature.key_id), None)
        if verifier is not None:
            verifier.verify(text, signature.value)
            verified.append(signature)
    if not verified:
        names = ", ".join(verifier.name for verifier in verifiers)
        raise SignatureError(f"the note carries no signature of {names or 'a known key'}")
    return Opened(unverified.text, tuple(verified))


def cosignature_time(signature: bytes) -> int:
    """The time a cosignature states, in seconds since 1970."""
    return int.from_bytes(signature[:TIME_BYTES])


def check_key_name(name: str) -> None:
    """MalformedError unless `name` may stand in a signature line."""
    if not 0 < len(encode_utf8(name)) <= MAX_KEY_NAME_BYTES:
        raise MalformedError(f"a key name has 1 to {MAX_KEY_NAME_BYTES} bytes")
    if any(char == "+" or char < " " or char.isspace() for char in name):
        raise MalformedError("a key name holds no space, plus or control character")


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648, 4)."""
    return binascii.b2a_base64(data, newline=False).decode()


def decode_base64(text: str) -> bytes:
    """What `encode_base64` made that text of; MalformedError for any other spelling."""
    try:
        data = binascii.a2b_base64(text)
    except ValueError:
        raise MalformedError("not base64") from None
    if encode_base64(data) != text:
        raise MalformedError("not canonical base64")
    return data


def _cosigned(text: bytes, time_s: int) -> bytes:
    return b"cosignature/v1\ntime %d\n%b" % (time_s, text)


def _parse_signature(line: str) -> NoteSignature:
    if not line.startswith(_LINE_START):
        raise MalformedError("a line among the signatures of a note is not one")
    name, _, encoded = line.removeprefix(_LINE_START).partition(" ")
    check_key_name(name)
    signature = decode_base64(encoded)
    if len(signature) <= KEY_ID_BYTES:
        raise MalformedError("a signature line without a signature")
    return NoteSignature(name, signature[:KEY_ID_BYTES], signature[KEY_ID_BYTES:])


def _decode_text(data: bytes) -> str:
    if len(data.translate(None, _CONTROLS)) != len(data):
        raise MalformedError("a control character in a note")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedError("a note that is not UTF-8") from None


def _encode_text(text: str) -> bytes:
    if not text.endswith("\n"):
        raise MalformedError("a note's text ends in a newline")
    encoded = encode_utf8(text)
    _decode_text(encoded)
    return encoded


def encode_utf8(text: str) -> bytes:
    """Its bytes; MalformedError for what has none, such as a lone surrogate."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise MalformedError("text that has no UTF-8") from None


def has_small_order(public_key: bytes) -> bool:
    """Whether an Ed25519 key is one of the few points that anyone signs for, as that of zeroes.

    Ed25519 verification as RFC 8032 has it does not refuse them.
    """
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    return y % _FIELD in _SMALL_ORDER


def _key_id(name: str, material: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + material).digest()[:KEY_ID_BYTES]


def _encode_key(name: str, key_id: bytes, signature_type: int, key: bytes) -> str:
    return f"{name}+{key_id.hex()}+{encode_base64(bytes([signature_type]) + key)}"


def _decode_key(text: str, signature_type: int) -> tuple[str, bytes]:
    """Name and key; the identifier between them is left to the caller, who can compute it."""
    name, _, rest = text.partition("+")
    _, _, encoded = rest.partition("+")
    material = decode_base64(encoded)
    if material[:1] != bytes([signature_type]):
        raise MalformedError(f"not a key of signature type {signature_type:#04x}")
    return name, material[1:]
