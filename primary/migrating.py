"""Brings a primary's database to this program's schema: never without a copy of what it was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node.errors import ConfigurationError
from primary.checkpoint_file import CheckpointFile
from primary.settings import PrimarySettings
from primary.store.store import Store


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done: from which revision (none: the database was empty) to which.

    `backup` is the copy that was made, if one was.
    """

    before: str | None
    after: str
    backup: Path | None = None


def migrate(settings: PrimarySettings, now: datetime, *, is_backed_up: bool = False) -> Migrated:
    """Migrates, unless there is nothing to do; an SQLite database is copied first.

    ConfigurationError: a primary runs, or it is a database that the operator has to copy and has
    not said so with `is_backed_up`. SchemaError: it is newer than this program. StorageError,
    StoreUnavailableError: the disk or the database refuses; then it is as it was.
    """
    store, lock = Store(settings.store_url), CheckpointFile(settings.checkpoint_file)
    try:
        before = store.revision()
        if before == store.newest_revision:
            return Migrated(before, before)
        lock.lock()
        backup = None if is_backed_up or before is None else _back_up(store, before, now)
        store.migrate()
        return Migrated(before, store.newest_revision, backup)
    finally:
        lock.close()
        store.close()


def _back_up(store: Store, revision: str, now: datetime) -> Path:
    if store.file is None:
        raise ConfigurationError(
            "the database is a server's: copy it first (pg_dump), then say --backed-up"
        )
    time = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = store.file.with_name(f"{store.file.name}.{revision}-{time}")
    store.back_up(target)
    return target
