"""A copy of an SQLite database, before its schema changes."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from node.errors import StorageError
from node.failpoints import failpoint
from node.files import PRIVATE_MODE, sync_directory
from primary.store.database import Database, refusal


def back_up(database: Database, target: Path) -> None:
    """Writes all that is committed into a new file, durable and whole when it has its name.

    Readers go on meanwhile. StorageError, StoreUnavailableError: the disk or the database
    refuses; then nothing of that name is there.
    """
    assert database.file is not None
    # One name a database, so that crashes leave one stray file and not one each.
    new = target.with_name(f".{database.file.name}.backup.new")
    try:
        new.unlink(missing_ok=True)
        # Beforehand, for it holds contact that is not public.
        new.touch(mode=PRIVATE_MODE)
        _copy(database, new)
        failpoint("backup.before_rename")
        new.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        new.unlink(missing_ok=True)


def _copy(database: Database, target: Path) -> None:
    connection = database.connect_writer()
    try:
        # It fills an empty file, and takes no free pages along (P6).
        connection.cursor().execute("VACUUM INTO ?", (str(target),))
    except (SQLAlchemyError, database.driver_error) as error:
        raise refusal(error) from error
    finally:
        connection.close()
    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
