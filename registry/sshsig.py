"""SSH signatures over files (OpenSSH's PROTOCOL.sshsig), as `ssh-keygen -Y sign` makes them."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from hashlib import sha256, sha512
from typing import Final

from registry import ssh_keys
from registry.errors import MalformedError, SignatureError
from registry.ssh_keys import PrivateKey, SshKey, Wire, string

# A token's is some 300 bytes.
MAX_SIGNATURE_BYTES: Final = 2048

_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_VERSION_BYTES: Final = 4
_HASHES: Final = {"sha256": sha256, "sha512": sha512}
_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"
_LINE_LENGTH: Final = 70


@dataclass(frozen=True, slots=True)
class SshSignature:
    """One signature: whose it claims to be, and for what purpose. Not verified before `verify`."""

    key: SshKey
    namespace: str
    hash_algorithm: str
    signature: bytes

    def __post_init__(self) -> None:
        if not self.namespace:
            raise MalformedError("an SSH signature without a namespace")
        if self.hash_algorithm not in _HASHES:
            raise MalformedError(f"an SSH signature with the hash {self.hash_algorithm!r}")

    @classmethod
    def decode(cls, data: bytes) -> SshSignature:
        """The signature in these bytes; MalformedError if it is none, or has another form."""
        if len(data) > MAX_SIGNATURE_BYTES:
            raise MalformedError(f"an SSH signature of {len(data)} bytes")
        wire = Wire(data)
        if wire.take(len(_MAGIC)) != _MAGIC or wire.number() != _VERSION:
            raise MalformedError("not an SSH signature of version 1")
        key, namespace = SshKey(wire.string()), wire.text()
        # Reserved: to be ignored, says PROTOCOL.sshsig; nobody has use for it, so nobody gets any.
        if wire.string():
            raise MalformedError("an SSH signature with something in its reserved field")
        decoded = cls(key, namespace, wire.text(), wire.string())
        wire.end()
        return decoded

    @classmethod
    def from_armor(cls, text: str) -> SshSignature:
        """The signature in the file that `ssh-keygen -Y sign` writes; MalformedError."""
        lines = text.split()
        first, last = _BEGIN.split(), _END.split()
        if lines[: len(first)] != first or lines[-len(last) :] != last:
            raise MalformedError("not an SSH signature file")
        try:
            data = binascii.a2b_base64("".join(lines[len(first) : -len(last)]))
        except ValueError:
            raise MalformedError("an SSH signature file that holds no base64") from None
        return cls.decode(data)

    def encode(self) -> bytes:
        """The signature's bytes."""
        return (
            _MAGIC
            + _VERSION.to_bytes(_VERSION_BYTES, "big")
            + string(self.key.blob)
            + _fields(self.namespace, self.hash_algorithm)
            + string(self.signature)
        )

    def armor(self) -> str:
        """The file that `ssh-keygen -Y verify` reads."""
        encoded = binascii.b2a_base64(self.encode(), newline=False).decode()
        lines = [encoded[at : at + _LINE_LENGTH] for at in range(0, len(encoded), _LINE_LENGTH)]
        return "\n".join([_BEGIN, *lines, _END, ""])

    def verify(self, message: bytes, namespace: str) -> None:
        """SignatureError unless its key signed the message for this purpose."""
        if self.namespace != namespace:
            raise SignatureError(f"a signature for {self.namespace!r}, not for {namespace!r}")
        self.key.verify(signed_data(message, namespace, self.hash_algorithm), self.signature)


def sign(private: PrivateKey, message: bytes, namespace: str) -> SshSignature:
    """The key's signature of the message for this purpose."""
    signature = ssh_keys.sign(private, signed_data(message, namespace, "sha512"))
    return SshSignature(SshKey.of(private), namespace, "sha512", signature)


def signed_data(message: bytes, namespace: str, hash_algorithm: str) -> bytes:
    """What the key signs: not the message itself, so that nothing else is signed by accident."""
    digest = _HASHES[hash_algorithm](message).digest()
    return _MAGIC + _fields(namespace, hash_algorithm) + string(digest)


def _fields(namespace: str, hash_algorithm: str) -> bytes:
    return string(namespace.encode()) + string(b"") + string(hash_algorithm.encode())
