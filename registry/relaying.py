"""Relay addresses: whoever is private is still reached, and nobody learns where.

`relay+<32 hex>@<origin>` is the holder of that identifier.
"""

from __future__ import annotations

import re
from typing import Final

RELAY_NAME: Final = "relay"
_LOCAL_PART: Final = re.compile(r"relay\+([0-9a-f]{32})", re.IGNORECASE)


def relay_address(holder_id: bytes, origin: str) -> str:
    """Where a holder is reached."""
    return f"{RELAY_NAME}+{holder_id.hex()}@{origin}"


def holder_of(address: str, origin: str) -> bytes | None:
    """The holder that a relay address means; None if it is none of this registry's."""
    local, _, domain = address.rpartition("@")
    found = _LOCAL_PART.fullmatch(local)
    if found is None or domain.lower() != origin:
        return None
    return bytes.fromhex(found[1])
