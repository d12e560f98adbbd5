"""Whether the database does what it is asked: for the operator's log, not for who asks."""

from __future__ import annotations

from node.logging import get_logger
from primary.store.errors import StoreError

_log = get_logger("database")


class DatabaseContact:
    """Says once that it refuses, again when its reason is another, and once that it is back.

    For one event loop's thread; however many calls fail, the log does not grow with them.
    """

    def __init__(self, use: str) -> None:
        """`use` is what the database is asked for, as the log names it."""
        self._log = _log.bind(use=use)
        self._reason = ""

    def refused(self, error: StoreError) -> None:
        """It did not do it."""
        if str(error) != self._reason:
            self._reason = str(error)
            self._log.error("database.refused", error=type(error).__name__, reason=self._reason)

    def answered(self) -> None:
        """It did it."""
        if self._reason:
            self._reason = ""
            self._log.info("database.back")
