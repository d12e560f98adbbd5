"""Every way in which programs write a text or bytes down, so that a search misses none."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from urllib.parse import quote

# Files that are laid out before they are written hold megabytes of nothing.
_NOTHING = re.compile(rb"\x00{64,}")


def spellings(secret: str | bytes) -> frozenset[bytes]:
    """The secret raw, in hexadecimal, in base64 wherever it begins, and of a text also in UTF-16,
    UTF-32, Latin-1, and as JSON, Python, protobuf's text format, URLs and HTML escape it."""
    raw = secret if isinstance(secret, bytes) else secret.encode()
    found = {raw, raw.hex().encode(), raw.hex().upper().encode(), _octal(raw)}
    found |= {repr(raw)[2:-1].encode()}
    for skipped in range(3):
        found |= _base64(raw, skipped)
    if isinstance(secret, str):
        found |= {secret.encode(code) for code in ("utf-16-le", "utf-16-be", "utf-32-le")}
        found |= {secret.encode("latin-1", "replace"), secret.casefold().encode()}
        found |= {json.dumps(secret)[1:-1].encode(), secret.encode("unicode_escape")}
        found |= {quote(secret).encode(), quote(secret, safe="").encode()}
        found |= {secret.encode("ascii", "xmlcharrefreplace")}
    return frozenset(found)


def places_of(secrets: list[str | bytes], places: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """Where any spelling of a secret stands, and which."""
    told = {place: _NOTHING.sub(b"", data) for place, data in places.items()}
    wanted = sorted({spelling for secret in secrets for spelling in spellings(secret)})
    return [(place, one) for place, data in told.items() for one in wanted if one in data]


def _octal(raw: bytes) -> bytes:
    r"""As protobuf's text format has it: \303\244."""
    return b"".join(bytes([one]) if 32 <= one < 127 else b"\\%03o" % one for one in raw)


def _base64(raw: bytes, skipped: int) -> set[bytes]:
    """What of base64 is the same whatever stands before and behind; both alphabets."""
    bits_before = 8 * skipped
    encoded = base64.b64encode(bytes(skipped) + raw)
    # Whole characters of our own bits alone.
    first = -(-bits_before // 6)
    last = (bits_before + 8 * len(raw)) // 6
    own = encoded[first:last]
    return {own, own.translate(bytes.maketrans(b"+/", b"-_"))}
