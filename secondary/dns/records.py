"""Records as dnslib has them, made from our values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dnslib import RR, TXT, DNSLabel

from secondary.dns.codes import CLASS_IN, Type

# Every text begins with it, so that a program knows what it reads.
TEXT_VERSION: Final = "v=smtpnic1"
# RFC 1035, 3.3.14: a character-string holds 255 bytes.
_STRING_BYTES: Final = 255


def record(owner: DNSLabel, type_: Type, ttl: int, data: object) -> RR:
    """A record of class IN; `ttl` in seconds."""
    return RR(owner, type_, CLASS_IN, ttl, data)


def text(owner: DNSLabel, ttl: int, said: str) -> RR:
    """A TXT record of ASCII, cut into as many character-strings as it takes."""
    return record(owner, Type.TXT, ttl, TXT(_strings(said)))


def text_data(said: str) -> bytes:
    """The data of such a record."""
    return b"".join(bytes([len(string)]) + string for string in _strings(said))


def wire_name(labels: Iterable[bytes]) -> bytes:
    """A name in bytes, uncompressed (RFC 1035, 3.1)."""
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _strings(said: str) -> list[bytes]:
    data = said.encode("ascii")
    return [data[at : at + _STRING_BYTES] for at in range(0, len(data), _STRING_BYTES)]
