"""One database as the rest of the primary holds it."""

from __future__ import annotations

from pathlib import Path

from primary.store import migration
from primary.store.backup import back_up
from primary.store.database import Database
from primary.store.reader import Reader
from primary.store.writer import Writer


class Store:
    """The database at an SQLAlchemy URL, SQLite or PostgreSQL: its one writer and its reader."""

    def __init__(self, url: str) -> None:
        """SchemaError when no database can be meant; nothing is opened yet."""
        self._database = Database(url)
        self.reader = Reader(self._database)
        self.writer = Writer(self._database)

    @property
    def kind(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self._database.kind

    @property
    def file(self) -> Path | None:
        """The file that SQLite keeps it in; None where a server does."""
        return self._database.file

    @property
    def newest_revision(self) -> str:
        """The schema of this program."""
        return migration.newest_revision()

    def revision(self) -> str | None:
        """The schema that the database has; None: it is empty.

        SchemaError: it is newer than this program. StoreUnavailableError: it refuses.
        """
        return migration.revision(self._database)

    def back_up(self, target: Path) -> None:
        """As `primary.store.backup.back_up`; SQLite only."""
        back_up(self._database, target)

    def migrate(self) -> None:
        """Makes the tables, or brings them to this program's schema; before anything else.

        SchemaError: the database is newer than this program. StoreUnavailableError: it refuses.
        """
        migration.migrate(self._database)

    def check_schema(self) -> None:
        """SchemaError unless the database has exactly this program's schema."""
        migration.check_schema(self._database)

    def close(self) -> None:
        """Gives all connections back."""
        self.writer.close()
        self._database.close()
