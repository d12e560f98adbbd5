"""What every gate for nodes has in common: whose certificate it is, and who is cut off.

The primary holds its callers against its roll, a mirror that others follow against the log that it
holds: the board's decisions, and the keys that the primary's operator removed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from node.certificates import Shown, show
from node.errors import ConfigurationError
from node.gate import NotAdmittedError, Visit, Visits
from node.logging import get_logger
from node.times import time_text

# Who removes nodes: the board, and who runs the primary.
BOARD: Final = "board"
ADMINISTRATOR: Final = "administrator"
# Some hundreds of bytes each; more nodes than anyone has.
CACHED_CERTIFICATES: Final = 1024

_log = get_logger("members")


class Doorkeeper:
    """Looks at certificates, and knows who is inside; for the event loop's thread only."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """`clock` gives milliseconds since 1970."""
        self._clock = clock
        self._visits = Visits()

    @property
    def inside(self) -> list[Shown]:
        """Who has a call in progress."""
        return self._visits.visitors

    def look(self, certificate: bytes) -> Shown:
        """What a certificate (PEM) says; NotAdmittedError: none was shown, or it has ended."""
        try:
            shown = _shown(certificate)
        except ConfigurationError:
            raise NotAdmittedError("no certificate was shown", is_known=False) from None
        if self._clock() >= shown.ends_ms:
            raise NotAdmittedError(
                f"the certificate of {shown.name} ended at {time_text(shown.ends_ms)}: join again "
                "with a new token",
                is_known=False,
            )
        return shown

    def let_in(self, shown: Shown) -> Visit:
        """A call with this certificate."""
        return Visit(self._visits, shown)

    def cut(self, shown: Shown, reason: NotAdmittedError, by: str) -> None:
        """End every call with this certificate."""
        calls = self._visits.end(shown, reason)
        _log.warning("node.cut", node=shown.name, calls=calls, by=by)


def concerns(removed_ms: int, since_ms: int) -> bool:
    """Whether the removal of a name is of the node that has it since then, and not of an earlier.

    Both in milliseconds since 1970: when it was decided, and when the node came.
    """
    return since_ms <= removed_ms


def removed(name: str, by: str) -> NotAdmittedError:
    """Why a node that was removed is not let in."""
    who = "the board" if by == BOARD else "the primary's operator"
    return NotAdmittedError(
        f"{name} was removed by {who}: it may follow again once it has joined with a new token",
        is_known=True,
    )


@lru_cache(maxsize=CACHED_CERTIFICATES)
def _shown(certificate: bytes) -> Shown:
    return show(certificate)
