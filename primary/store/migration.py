"""Brings a database to this program's schema, or says why it cannot be used."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

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


def check_schema(database: Database) -> None:
    """SchemaError unless the database has exactly the schema of this program."""
    scripts = ScriptDirectory.from_config(_config())
    with database.reading() as connection:
        revision = _revision(connection)
    _require_known(scripts, revision)
    if revision != scripts.get_current_head():
        state = "is empty" if revision is None else f"has the older schema {revision}"
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
