"""Who may follow a mirror: whom the board has not removed, by the log that the mirror holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from node.certificates import Shown
from node.doorkeeper import BOARD, Doorkeeper, concerns, removed
from node.gate import Visit


class RelayGate:
    """A `node.gate.Gate`; for the event loop's thread only.

    A name that was removed may be another node's by now, which joined with a new token. The roll,
    which says so, is the primary's alone; here the certificate tells: who was removed is given none
    any more, so that one which begins later is of who joined later.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        """`clock` gives milliseconds since 1970."""
        self._door = Doorkeeper(clock)
        self._removals: Mapping[str, int] = {}

    async def enter(self, certificate: bytes, method: str) -> Visit:  # noqa: ARG002
        """As of `node.gate.Gate`; whoever may follow may call all that is offered."""
        shown = self._door.look(certificate)
        if self._is_removed(shown):
            raise removed(shown.name, BOARD)
        return self._door.let_in(shown.name)

    def know(self, removals: Mapping[str, int]) -> None:
        """When nodes were removed, as of `Board.removals`; who was since the last time is cut."""
        before, self._removals = self._removals, removals
        for name in self._door.inside:
            if name in removals and removals[name] != before.get(name):
                self._door.cut(name, removed(name, BOARD), BOARD)

    def _is_removed(self, shown: Shown) -> bool:
        removed_ms = self._removals.get(shown.name)
        return removed_ms is not None and concerns(removed_ms, shown.begins_ms)
