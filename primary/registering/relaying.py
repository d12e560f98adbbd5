"""How much mail goes through the relay, and what a loop of it looks like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from primary.registering.schedule import DAY_MS, HOUR_MS
from primary.registering.windows import Windows

# RFC 5321, 6.3: a count of Received fields that only a loop reaches.
MAX_RECEIVED: Final = 25


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Messages that one client may send in an hour, and one holder is sent in a day."""

    per_client: int
    per_holder: int


@dataclass(slots=True)
class RelayCounter:
    """Counts messages by client and by holder, in windows that begin with the first of them."""

    limits: RelayLimits
    _windows: Windows = field(default_factory=Windows)

    def admit(self, client: str, holder_id: bytes, now_ms: int) -> bool:
        """Whether one more message may pass; counts it if so."""
        counts = (
            (f"client {client}", self.limits.per_client, HOUR_MS),
            (f"holder {holder_id.hex()}", self.limits.per_holder, DAY_MS),
        )
        if any(self._windows.count(name, now_ms, length) >= most for name, most, length in counts):
            return False
        for name, _, length in counts:
            self._windows.add(name, now_ms, length)
        return True
