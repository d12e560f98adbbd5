"""How much one client may ask in a minute. Pure: the time comes from the caller."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from primary.registering.quotas import ranges_of
from registry.address import Address
from registry.errors import Problem

# Clients that are remembered at once; beyond that the longest unseen are forgotten.
MAX_CLIENTS: Final = 50_000
_MINUTE: Final = 60.0


class Effort(Enum):
    """What a request costs us: a page; lookups in DNS; something written or sent."""

    PAGE = "page"
    LOOK = "look"
    CHANGE = "change"


@dataclass(slots=True)
class Allowance:
    """A bucket of tokens for each client and effort: a minute's worth at once, then the rate."""

    per_minute: dict[Effort, int]
    _buckets: OrderedDict[tuple[str, Effort], tuple[float, float]] = field(
        default_factory=OrderedDict
    )

    def take(self, client: str, effort: Effort, now_s: float) -> float:
        """0 if the client may; else for how many seconds it has to wait."""
        most = self.per_minute[effort]
        key = (client_network(client), effort)
        tokens, seen_s = self._buckets.pop(key, (float(most), now_s))
        tokens = min(most, tokens + (now_s - seen_s) * most / _MINUTE)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) * _MINUTE / most
        self._buckets[key] = (tokens - 1 if not wait_s else tokens, now_s)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return wait_s


def client_network(client: str) -> str:
    """What stands for a client, for its quota at the desk too: its address, or its /64."""
    try:
        address = Address.parse(client)
    except Problem:
        return client
    return str(address) if address.family == 4 else ranges_of(address)[0].text
