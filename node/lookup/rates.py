"""How often one client may ask: a steady rate, and a burst after a silence."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from node.connections import client_of

# An office behind one address; who reads the whole register has it from the log.
LOOKUPS_PER_SECOND: Final = 5.0
LOOKUP_BURST: Final = 50
# Clients that are remembered; beyond that the longest silent are forgotten. 20 MB.
MAX_CLIENTS: Final = 100_000


@dataclass(slots=True)
class Rates:
    """Admits `per_second` of one client, `burst` at once; for use by one thread.

    The generic cell rate algorithm (ITU-T I.371): one time is kept of a client. A `per_second` of
    0 admits everything.
    """

    per_second: float
    burst: int
    _due: OrderedDict[bytes, float] = field(default_factory=OrderedDict)

    def wait(self, host: str, now: float) -> float:
        """Seconds that the client at this address has to wait; 0: admitted, and counted.

        `now` is of any clock that does not go back.
        """
        if not self.per_second:
            return 0.0
        client = client_of(host)
        spacing = 1 / self.per_second
        due = max(self._due.pop(client, now), now)
        early = due - now - spacing * (self.burst - 1)
        self._due[client] = due + spacing if early <= 0 else due
        if len(self._due) > MAX_CLIENTS:
            self._due.popitem(last=False)
        return max(0.0, early)
