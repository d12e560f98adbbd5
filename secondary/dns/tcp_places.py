"""Who may hold a TCP connection when not all can."""

from __future__ import annotations

from typing import Final, Protocol

from node.connections import ConnectionLimits

# A connection keeps its place for as long as its next query may take to come, a segment of it
# lost twice (RFC 6298); idle ones may go after seconds (RFC 7766, 6.2.3).
SPARED_SECONDS: Final = 3.0


class Occupant(Protocol):
    """A connection of the address `host`."""

    @property
    def host(self) -> str:
        """Whose it is."""

    def abandon(self) -> None:
        """Ends it at once, answers that were not taken included."""


class TcpPlaces:
    """The places of all listeners; for one event loop's thread.

    When all are taken, or all that a client may have, a newcomer has the place of whoever has
    sent no whole query for longest (RFC 9210, 4), unless that is not long.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        # Since when each is quiet, the longest first.
        self._quiet: dict[Occupant, float] = {}

    def take(self, newcomer: Occupant, now: float) -> bool:
        """Whether the newcomer may stay; if so, it is to `leave` at its end."""
        if not self._limits.admit(newcomer.host):
            rival = self._rival(newcomer.host, now)
            if rival is None:
                return False
            self.leave(rival)
            rival.abandon()
            self._limits.admit(newcomer.host)
        self._quiet[newcomer] = now
        return True

    def stir(self, occupant: Occupant, now: float) -> None:
        """A whole query of it was answered."""
        if self._quiet.pop(occupant, None) is not None:
            self._quiet[occupant] = now

    def leave(self, occupant: Occupant) -> None:
        """It has ended; more than once does no harm."""
        if self._quiet.pop(occupant, None) is not None:
            self._limits.release(occupant.host)

    def _rival(self, host: str, now: float) -> Occupant | None:
        """Who has to go for one more of `host`: one of its own, if it has its share already."""
        among_its_own = self._limits.has_its_share(host)
        for occupant, since in self._quiet.items():
            if now - since < SPARED_SECONDS:
                return None
            if not among_its_own or self._limits.is_one_client(host, occupant.host):
                return occupant
        return None
