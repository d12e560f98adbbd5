"""How many connections there may be at once."""

from __future__ import annotations

from typing import Final

from policyd.metrics import PolicydMetrics

# Postfix has default_process_limit = 100 processes, and each a connection; ten such servers.
MAX_CONNECTIONS: Final = 1000


class Places:
    """Counts the open connections of a process, and says when there are too many."""

    def __init__(self, metrics: PolicydMetrics, most: int = MAX_CONNECTIONS) -> None:
        self._metrics = metrics
        self._most = most
        self._open = 0

    def take(self) -> bool:
        """Counts a connection; False if it is one too many, and has to end."""
        self._count(1)
        return self._open <= self._most

    def leave(self) -> None:
        """A connection ended, whatever `take` had said of it."""
        self._count(-1)

    def _count(self, step: int) -> None:
        self._open += step
        self._metrics.connections.set(self._open)
