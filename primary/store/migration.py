"""Brings a database to this program's schema, or says why it cannot be used."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from node.failpoints import failpoint
from primary.store.database import Database
from primary.store.errors import SchemaError


def migrate(database: Database) -> None:
    """Makes the tables, or brings them to the newest revision; in one transaction.

    SchemaError: the database is newer than this program.
    """
    config = _config()
    with database.writing() as connection:
        _require_known(ScriptDirectory.from_config(config), _revision(connection))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        failpoint("migration.before_commit")


def revision(database: Database) -> str | None:
    """The revision that the database has; None if it is empty. SchemaError: it is unknown here."""
    with database.reading() as connection:
        found = _revision(connection)
    _require_known(ScriptDirectory.from_config(_config()), found)
    return found


def newest_revision() -> str:
    """The revision of this program."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def check_schema(database: Database) -> None:
    """SchemaError unless the database has exactly the schema of this program."""
    found = revision(database)
    if found != newest_revision():
        state = "is empty" if found is None else f"has the older schema {found}"
        raise SchemaError(f"the database {state}; run: smtpnic-primary migrate")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "primary.store:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _require_known(scripts: ScriptDirectory, revision: str | None) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaError(
            f"the database has schema {revision}, newer than this program knows; "
            "install the version that wrote it, or a later one"
        )
