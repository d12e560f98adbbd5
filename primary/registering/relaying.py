"""Relay addresses: whoever is private is still reached, and nobody learns where.

`relay+<32 hex>@<origin>` is the holder of that identifier.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from primary.registering.schedule import DAY_MS, HOUR_MS

RELAY_NAME: Final = "relay"
_LOCAL_PART: Final = re.compile(r"relay\+([0-9a-f]{32})", re.IGNORECASE)
# RFC 5321, 6.3: a count of Received fields that only a loop reaches.
MAX_RECEIVED: Final = 25
# Senders and holders that are remembered at once; beyond that the longest known are forgotten.
MAX_REMEMBERED: Final = 100_000


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


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Messages that one client may send in an hour, and one holder is sent in a day."""

    per_client: int
    per_holder: int


@dataclass(slots=True)
class RelayCounter:
    """Counts messages by client and by holder, in windows that begin with the first of them."""

    limits: RelayLimits
    _windows: OrderedDict[str, tuple[int, int]] = field(default_factory=OrderedDict)

    def admit(self, client: str, holder_id: bytes, now_ms: int) -> bool:
        """Whether one more message may pass; counts it if so."""
        counts = (
            (f"client {client}", self.limits.per_client, HOUR_MS),
            (f"holder {holder_id.hex()}", self.limits.per_holder, DAY_MS),
        )
        if any(self._count(name, now_ms, length) >= most for name, most, length in counts):
            return False
        for name, _, length in counts:
            started_ms, _ = self._windows.get(name, (now_ms, 0))
            count = self._count(name, now_ms, length)
            self._windows[name] = (started_ms if count else now_ms, count + 1)
            self._windows.move_to_end(name)
        while len(self._windows) > MAX_REMEMBERED:
            self._windows.popitem(last=False)
        return True

    def _count(self, name: str, now_ms: int, length_ms: int) -> int:
        started_ms, count = self._windows.get(name, (now_ms, 0))
        return count if now_ms - started_ms < length_ms else 0
