"""How often one name server is asked: two queries a second, so that nobody there notices."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

# Other people's servers, whose zones hold many of ours.
QUERIES_A_SECOND: Final = 2.0
# Whoever would wait longer for a turn is looked at later, and keeps no place meanwhile.
MAX_WAIT_SECONDS: Final = 10.0
# Servers that are remembered at once; beyond that the longest known are forgotten.
MAX_SERVERS: Final = 100_000


@dataclass(slots=True)
class Pace:
    """Gives out turns at name servers. Times are in seconds, of a clock that never goes back."""

    queries_a_second: float = QUERIES_A_SECOND
    _free: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def turn(self, server: str, queries: int, now: float) -> float | None:
        """How long to wait before so many queries are sent there; None: too long, come again."""
        free = max(self._free.get(server, now), now)
        if free - now > MAX_WAIT_SECONDS:
            return None
        self.charge(server, queries, now)
        return free - now

    def charge(self, server: str, queries: int, now: float) -> None:
        """So many queries are sent there, whoever sends them: the next turn is as much later."""
        free = max(self._free.get(server, now), now)
        self._free[server] = free + queries / self.queries_a_second
        self._free.move_to_end(server)
        if len(self._free) > MAX_SERVERS:
            self._free.popitem(last=False)
