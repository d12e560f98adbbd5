"""A join token: one word that a new mirror needs to find its registry and to be let in.

It names the log, says where to join, by which authority's certificate the primary is known there,
and holds the secret that stands for the permission. It is copied by hand and by mail: base32
(RFC 4648, section 6), any letter case, white space ignored, with a checksum at its end.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from registry.errors import MalformedError
from registry.limits import HASH_BYTES
from registry.node_name import is_node_name

# The form's name and number; another form has another.
PREFIX: Final = "smtpnicjoin1"
SECRET_BYTES: Final = 16
# One slip in 4 billion goes unseen; it is no protection, and needs none to be.
CHECKSUM_BYTES: Final = 4
# A DNS name has 253 characters; a port and brackets are some more.
MAX_TEXT_BYTES: Final = 255
# Far more than three texts of that length.
MAX_TOKEN_CHARACTERS: Final = 2048

_BASE32_GROUP: Final = 8
_PRINTABLE: Final = re.compile(r"[!-~]*")
_NOT_WHOLE: Final = "the token is not whole: copy all of it, from smtpnicjoin1 to its end"


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What the token of one mirror says.

    `origin` names the log; `address` is host:port, where to join; `authority` the SHA-256 of the
    certificate (DER) of the authority by which the primary is known; `secret` the permission;
    `name` the mirror's name, empty if it may choose. MalformedError for what no token can say.
    """

    origin: str
    address: str
    authority: bytes
    secret: bytes
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.authority) != HASH_BYTES or len(self.secret) != SECRET_BYTES:
            raise MalformedError("a token holds a hash of 32 bytes and a secret of 16")
        for text in (self.origin, self.address):
            if not text or len(text) > MAX_TEXT_BYTES or not _PRINTABLE.fullmatch(text):
                raise MalformedError(f"{text!r} cannot stand in a token")
        if self.name and not is_node_name(self.name):
            raise MalformedError(f"{self.name!r} is no name of a node")

    def encode(self) -> str:
        """The token's one form."""
        texts = (text.encode("ascii") for text in (self.origin, self.address, self.name))
        parts = (bytes([len(text)]) + text for text in texts)
        body = self.authority + self.secret + b"".join(parts)
        coded = base64.b32encode(body + _checksum(body)).decode("ascii")
        return PREFIX + coded.rstrip("=").lower()

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """The token in a text; MalformedError, which says so for people, if it is none."""
        word = "".join(text[:MAX_TOKEN_CHARACTERS].split()).lower()
        if not word.startswith(PREFIX):
            raise MalformedError(f"not a join token: one begins with {PREFIX}")
        data = _decode(word.removeprefix(PREFIX))
        body, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
        if checksum != _checksum(body):
            raise MalformedError(_NOT_WHOLE)
        fixed = HASH_BYTES + SECRET_BYTES
        origin, rest = _take(body[fixed:])
        address, rest = _take(rest)
        name, rest = _take(rest)
        if rest:
            raise MalformedError(_NOT_WHOLE)
        return cls(origin, address, body[:HASH_BYTES], body[HASH_BYTES:fixed], name)


def _decode(word: str) -> bytes:
    padding = "=" * (-len(word) % _BASE32_GROUP)
    try:
        data = base64.b32decode(word.upper() + padding)
    except (binascii.Error, ValueError):
        raise MalformedError(_NOT_WHOLE) from None
    # Bits that the last character has to spare: one text for each token.
    if base64.b32encode(data).decode("ascii").rstrip("=").lower() != word:
        raise MalformedError(_NOT_WHOLE)
    return data


def _take(data: bytes) -> tuple[str, bytes]:
    """A text after its length in one byte, and what follows."""
    if not data or len(data) < 1 + data[0]:
        raise MalformedError(_NOT_WHOLE)
    end = 1 + data[0]
    try:
        return data[1:end].decode("ascii"), data[end:]
    except UnicodeDecodeError:
        raise MalformedError(_NOT_WHOLE) from None


def _checksum(body: bytes) -> bytes:
    return sha256(PREFIX.encode("ascii") + body).digest()[:CHECKSUM_BYTES]
