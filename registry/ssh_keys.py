"""SSH keys and their signatures (RFC 4253, 6.6; RFC 5656; OpenSSH's PROTOCOL.u2f), verified here.

The board signs with keys its members have: Ed25519 and ECDSA P-256, in files or in security
tokens. A token signs what its maker's firmware adds, so that its signatures have another form.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.errors import MalformedError, SignatureError
from registry.note import KEY_BYTES, SIGNATURE_BYTES, decode_base64, encode_base64, has_small_order

ED25519: Final = "ssh-ed25519"
ECDSA_P256: Final = "ecdsa-sha2-nistp256"
SK_ED25519: Final = "sk-ssh-ed25519@openssh.com"
SK_ECDSA_P256: Final = "sk-ecdsa-sha2-nistp256@openssh.com"

_IN_TOKENS: Final = frozenset({SK_ED25519, SK_ECDSA_P256})

# What ssh-keygen makes is below 300 bytes; a token's application is a short name.
MAX_KEY_BLOB_BYTES: Final = 1024

_CURVE: Final = "nistp256"
_LENGTH_BYTES: Final = 4
# An uncompressed point of P-256 (SEC 1, 2.3.3): 0x04, x, y.
_POINT_BYTES: Final = 65
_SCALAR_BYTES: Final = 32
_POINT_START: Final = b"\x04"
# PROTOCOL.u2f: the token was touched. Without it, malware alone could have had it sign.
_USER_PRESENT: Final = 0x01

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey


class Wire:
    """Reads the fields of an SSH message, one after another; MalformedError where it ends."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._at + count
        if end > len(self._data):
            raise MalformedError("an SSH message that was cut off")
        taken, self._at = self._data[self._at : end], end
        return taken

    def number(self) -> int:
        """A uint32."""
        return int.from_bytes(self.take(_LENGTH_BYTES), "big")

    def string(self) -> bytes:
        """A string: its length, then its bytes."""
        return self.take(self.number())

    def text(self) -> str:
        """A string that names something; ASCII."""
        try:
            return self.string().decode("ascii")
        except UnicodeDecodeError:
            raise MalformedError("a name in an SSH message that is not ASCII") from None

    def scalar(self) -> int:
        """An mpint (RFC 4251, 5) of a P-256 signature, in its one shortest form."""
        data = self.string()
        number = int.from_bytes(data, "big", signed=True)
        if number <= 0 or len(data) > _SCALAR_BYTES + 1 or data != _mpint(number):
            raise MalformedError("not a number of an ECDSA signature")
        return number

    def end(self) -> None:
        """MalformedError if anything is left."""
        if self._at != len(self._data):
            raise MalformedError("something after the end of an SSH message")


def string(data: bytes) -> bytes:
    """An SSH string that holds `data`."""
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


@dataclass(frozen=True, slots=True)
class SshKey:
    """A public key in SSH's wire form. MalformedError if it is none that a board may use.

    `point` is the key itself, however it is named and wherever it is kept: one key is one `point`.
    """

    blob: bytes
    algorithm: str = field(init=False, compare=False)
    point: bytes = field(init=False, compare=False)
    # Of a key in a token: what it was made for, which the token signs along.
    application: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.blob) > MAX_KEY_BLOB_BYTES:
            raise MalformedError(f"an SSH key of {len(self.blob)} bytes")
        wire = Wire(self.blob)
        algorithm = wire.text()
        if algorithm in (ECDSA_P256, SK_ECDSA_P256):
            if wire.text() != _CURVE:
                raise MalformedError("an ECDSA key of another curve than P-256")
            point = _checked_point(wire.string())
        elif algorithm in (ED25519, SK_ED25519):
            point = _checked_ed25519(wire.string())
        else:
            raise MalformedError(
                f"an SSH key of type {algorithm!r}: use ssh-ed25519, ecdsa-sha2-nistp256, or one "
                "of these in a security token"
            )
        application = wire.string() if algorithm in _IN_TOKENS else b""
        wire.end()
        object.__setattr__(self, "algorithm", algorithm)
        object.__setattr__(self, "point", point)
        object.__setattr__(self, "application", application)

    @classmethod
    def parse(cls, text: str) -> SshKey:
        """The key in a line of a .pub file, a comment behind it or not; MalformedError."""
        words = text.split()
        if len(words) < 2:
            raise MalformedError("not an SSH public key: expected its type and its base64")
        key = cls(decode_base64(words[1]))
        if words[0] != key.algorithm:
            raise MalformedError("an SSH public key of another type than it says")
        return key

    @classmethod
    def of(cls, private: PrivateKey) -> SshKey:
        """The public half."""
        public = private.public_key()
        if isinstance(public, Ed25519PublicKey):
            return cls(string(ED25519.encode()) + string(public.public_bytes_raw()))
        point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return cls(string(ECDSA_P256.encode()) + string(_CURVE.encode()) + string(point))

    def text(self) -> str:
        """Its type and its base64."""
        return f"{self.algorithm} {encode_base64(self.blob)}"

    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        return "SHA256:" + encode_base64(sha256(self.blob).digest()).rstrip("=")

    def verify(self, data: bytes, signature: bytes) -> None:
        """SignatureError unless this key made the SSH signature of `data`; MalformedError."""
        wire = Wire(signature)
        if wire.text() != self.algorithm:
            raise SignatureError("a signature of another algorithm than the key's")
        body = wire.string()
        # By the type of the key: an application may be empty, and a token has to be touched still.
        if self.algorithm in _IN_TOKENS:
            flags, counter = wire.take(1), wire.take(_LENGTH_BYTES)
            if not flags[0] & _USER_PRESENT:
                raise SignatureError("a security token signed without being touched")
            data = sha256(self.application).digest() + flags + counter + sha256(data).digest()
        wire.end()
        try:
            if self.algorithm in (ED25519, SK_ED25519):
                if len(body) != SIGNATURE_BYTES:
                    raise SignatureError("an Ed25519 signature of the wrong length")
                Ed25519PublicKey.from_public_bytes(self.point).verify(body, data)
            else:
                _ecdsa(self.point).verify(_der(body), data, ECDSA(SHA256()))
        except InvalidSignature:
            raise SignatureError(f"a false signature of {self.fingerprint()}") from None


def sign(private: PrivateKey, data: bytes) -> bytes:
    """The SSH signature of `data`."""
    if isinstance(private, Ed25519PrivateKey):
        return string(ED25519.encode()) + string(private.sign(data))
    r, s = decode_dss_signature(private.sign(data, ECDSA(SHA256())))
    return string(ECDSA_P256.encode()) + string(string(_mpint(r)) + string(_mpint(s)))


def _mpint(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def _der(body: bytes) -> bytes:
    wire = Wire(body)
    r, s = wire.scalar(), wire.scalar()
    wire.end()
    return encode_dss_signature(r, s)


def _checked_ed25519(point: bytes) -> bytes:
    if len(point) != KEY_BYTES or has_small_order(point):
        raise MalformedError("not an Ed25519 key, or one for which anyone can sign")
    return point


def _checked_point(point: bytes) -> bytes:
    # One form only: the same key must not come under two names.
    if len(point) != _POINT_BYTES or point[:1] != _POINT_START:
        raise MalformedError("not an uncompressed point of P-256")
    _ecdsa(point)
    return point


def _ecdsa(point: bytes) -> EllipticCurvePublicKey:
    try:
        return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point)
    except ValueError:
        raise MalformedError("a point that is not on P-256") from None
