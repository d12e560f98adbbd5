"""Tokens that people copy: 100 random bits in base32, without anything to mistake."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Final

# Letters and digits, 5 bits each: as short as may be read out, and nobody guesses it.
TOKEN_CHARACTERS: Final = 20
_RANDOM_BYTES: Final = 13
# So that in a greeting everybody sees what it is.
ADDRESS_PREFIX: Final = "smtpnic-"
_TOKEN: Final = re.compile(rf"(?:{ADDRESS_PREFIX})?[a-z2-7]{{{TOKEN_CHARACTERS}}}")


def new_address_token(random_bytes: Callable[[int], bytes]) -> str:
    """What shows that an address is the holder's."""
    return ADDRESS_PREFIX + _characters(random_bytes)


def new_email_token(random_bytes: Callable[[int], bytes]) -> str:
    """What a letter carries to the mailbox."""
    return _characters(random_bytes)


def token_hash(token: str) -> bytes:
    """What is kept of a token that is told only once."""
    return sha256(token.encode()).digest()


def is_token(text: str) -> bool:
    """Whether it can be a token at all."""
    return _TOKEN.fullmatch(text) is not None


def _characters(random_bytes: Callable[[int], bytes]) -> str:
    encoded = base64.b32encode(random_bytes(_RANDOM_BYTES)).decode().lower()
    return encoded[:TOKEN_CHARACTERS]
