"""Who may follow a mirror: whom nobody has removed, by the log that the mirror holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from node.certificates import Shown
from node.doorkeeper import ADMINISTRATOR, BOARD, Doorkeeper, concerns, removed
from node.gate import GateClosedError, Visit


@dataclass(frozen=True, slots=True)
class Removals:
    """Who was removed, by the log: `names` by the board, as of `Board.removals`.

    `has_key` says whether the log has a key, by its digest, as removed by the administrator.
    """

    names: Mapping[str, int]
    has_key: Callable[[bytes], bool]

    def remover(self, shown: Shown) -> str | None:
        """By whom the node that shows this was removed; None if it was not.

        A name that the board removed may be another node's by now, which joined with a new token.
        Its certificate tells: who was removed is given none any more, so that one which begins
        later is of who joined later.
        """
        removed_ms = self.names.get(shown.name)
        if removed_ms is not None and concerns(removed_ms, shown.begins_ms):
            return BOARD
        return ADMINISTRATOR if self.has_key(shown.key) else None


class RelayGate:
    """A `node.gate.Gate`; for the event loop's thread only."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """`clock` gives milliseconds since 1970."""
        self._door = Doorkeeper(clock)
        self._removals: Removals | None = None

    async def enter(self, certificate: bytes, method: str) -> Visit:  # noqa: ARG002
        """As of `node.gate.Gate`; whoever may follow may call all that is offered."""
        shown = self._door.look(certificate)
        if self._removals is None:
            raise GateClosedError("the register is not loaded here yet")
        remover = self._removals.remover(shown)
        if remover is not None:
            raise removed(shown.name, remover)
        return self._door.let_in(shown)

    def know(self, removals: Removals | None) -> None:
        """Who was removed by now; those are cut off. None: it is not known, and nobody comes in."""
        self._removals = removals
        if removals is None:
            return
        for shown in self._door.inside:
            remover = removals.remover(shown)
            if remover is not None:
                self._door.cut(shown, removed(shown.name, remover), remover)
