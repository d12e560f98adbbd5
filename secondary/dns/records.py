"""Records as dnslib has them, made from our values."""

from __future__ import annotations

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
    data = said.encode("ascii")
    strings = [data[at : at + _STRING_BYTES] for at in range(0, len(data), _STRING_BYTES)]
    return record(owner, Type.TXT, ttl, TXT(strings))
