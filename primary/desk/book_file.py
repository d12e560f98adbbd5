"""The book's database: how it is written, and how what was erased leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from sqlalchemy import Connection

from primary.store.database import LOCK_SECONDS, SQLITE, Database
from primary.store.errors import StoreUnavailableError


class BookFile:
    """Connections to the database of the log, which the book shares."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self._scrub_due = False

    def close(self) -> None:
        """Gives the connections back."""
        self.database.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads one state of the book."""
        with self.database.reading() as connection:
            yield connection

    @contextmanager
    def writing(self, *, erases: bool = False) -> Iterator[Connection]:
        """A transaction that writes; one that `erases` leaves nothing of it behind."""
        with self.database.writing() as connection:
            yield connection
        self._scrub_due |= erases and self.database.kind == SQLITE
        if self._scrub_due:
            self._scrub()

    def _scrub(self) -> None:
        """Takes what was erased out of the WAL too, which would keep it until overwritten (P6).

        While somebody reads or writes it has to wait, for the next that is written.
        """
        refused = (StoreUnavailableError, self.database.driver_error)
        with suppress(*refused), closing(self.database.connect_writer()) as connection:
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout = 0")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy, *_ = cursor.fetchone() or (1,)
            cursor.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000}")
            self._scrub_due = bool(busy)
