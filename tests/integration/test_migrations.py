"""Databases of earlier versions become this one's: with all that they held, a copy beside them, and
whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from lab.cluster import Cluster
from lab.process import LabError, program, run
from primary.settings import PrimarySettings
from primary.store.database import Database
from primary.store.schema import metadata
from primary.store.store import Store
from tests.support.registrant import Registrant, addresses, secure_channel

Rows = dict[str, list[dict[str, Any]]]
# What a migration makes of the log, and of the time it runs at.
COUNTED = {"days", "domains"}
MADE_ANEW = {"membership"}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "primary.store:migrations")
    config.set_main_option("path_separator", "os")
    return config


REVISIONS = sorted(
    script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()
)
OLDER = REVISIONS[:-1]


class Founded:
    """A registry that was founded and used; what its database holds, and where that is put."""

    def __init__(self, root: Path) -> None:
        self.cluster = Cluster(root, 0)
        self.cluster.found()
        self.cluster.start_primary()
        cluster = self.cluster
        with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
            registrant, source = Registrant(channel), addresses()
            registrant.create_holder()
            for _ in range(12):
                registrant.register(next(source))
            registrant.withdraw("198.18.0.3")
        assert cluster.primary.stop() == 0
        self.settings = PrimarySettings.load(self.settings_file)
        self.genuine = rows_of(self.settings.store_url)
        # With a row in every table.
        self.held = self._fill(self.settings.store_url)

    @property
    def settings_file(self) -> Path:
        return self.cluster.primary_dir / "primary.toml"

    def put_back(self, url: str, revision: str, rows: Rows) -> None:
        """A database of this revision that holds of these rows what one of that time would."""
        with closing(Database(url)) as database:
            if database.file is not None:
                for file in database.file.parent.glob(f"{database.file.name}*"):
                    file.unlink()
            with database.writing() as connection:
                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, revision)
                for table in _tables(connection):
                    connection.execute(table.delete())
                    if held := only(rows.get(table.name, []), set(table.columns.keys())):
                        connection.execute(table.insert(), held)

    def command(self, *arguments: str, url: str = "", failpoint: str = "") -> str:
        """What `smtpnic-primary` prints; LabError if it fails."""
        command_line = [program("smtpnic-primary"), *arguments, f"--config={self.settings_file}"]
        return run(command_line, env=self.env(url, failpoint))

    def env(self, url: str = "", failpoint: str = "") -> dict[str, str]:
        env = {"SMTPNIC_PRIMARY_STORE": url} if url else {}
        return env | ({"SMTPNIC_FAILPOINT": failpoint} if failpoint else {})

    def killed(self, failpoint: str, url: str = "") -> None:
        """`migrate` dies at this point."""
        options = ["--backed-up"] if url else []
        done = subprocess.run(
            [program("smtpnic-primary"), "migrate", *options, f"--config={self.settings_file}"],
            env=os.environ | self.env(url, failpoint),
            timeout=60,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL

    def _fill(self, url: str) -> Rows:
        """All rows, after one was put into every table that has none."""
        with closing(Database(url)) as database, database.writing() as connection:
            for table in metadata.sorted_tables:
                if connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0:
                    row = {column.name: _value(column) for column in table.columns}
                    connection.execute(table.insert(), row)
        return rows_of(url)


def _value(column: sa.Column[Any]) -> Any:
    if column.name == "role":
        return "mirror"
    values: dict[type, Any] = {bytes: b"\x01" * 4, str: f"{column.name} of old", bool: True}
    return values.get(column.type.python_type, 7)


def _tables(connection: sa.Connection) -> list[sa.Table]:
    """The tables that the database has, by its own word, in an order that their keys allow."""
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def rows_of(url: str) -> Rows:
    """All that a database holds."""
    with closing(Database(url)) as database, database.reading() as connection:
        return {
            table.name: sorted(
                (dict(row._mapping) for row in connection.execute(sa.select(table))), key=repr
            )
            for table in metadata.sorted_tables
        }


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Founded]:
    founded = Founded(tmp_path_factory.mktemp("f"))
    with founded.cluster:
        yield founded


def columns_of(url: str) -> dict[str, set[str]]:
    """The tables that a database has, and their columns."""
    with closing(Database(url)) as database, database.reading() as connection:
        return {table.name: set(table.columns.keys()) for table in _tables(connection)}


def only(rows: list[dict[str, Any]], columns: set[str]) -> list[dict[str, Any]]:
    """Of these rows these columns."""
    cut = ({name: value for name, value in row.items() if name in columns} for row in rows)
    return sorted(cut, key=repr)


@pytest.mark.parametrize("revision", OLDER)
def test_every_revision_becomes_this_one(
    founded: Founded, revision: str, database_url: str
) -> None:
    """SQLite and PostgreSQL: what was held is held, what came later is empty or was counted, and
    the whole log verifies."""
    founded.put_back(database_url, revision, founded.held)
    had = columns_of(database_url)
    is_server = database_url.startswith("postgresql")
    options = ["--backed-up"] if is_server else []
    said = founded.command("migrate", *options, url=database_url)
    assert f"{revision} to {REVISIONS[-1]}" in said
    found = rows_of(database_url)
    for name, rows in founded.held.items():
        if name in had:
            assert only(rows, had[name]) == only(found[name], had[name]), name
        elif name in COUNTED:
            assert rows == found[name], name
        elif name not in MADE_ANEW:
            assert [] == found[name], name
    assert "entries lead to the signed root" in founded.command("check", url=database_url)


@pytest.mark.parametrize("revision", OLDER)
def test_a_backup_of_every_revision_is_read_as_it_is(
    founded: Founded, revision: str, database_url: str
) -> None:
    """SQLite and PostgreSQL: a recovery finds keys and contact in it, without a migration."""
    founded.put_back(database_url, revision, founded.genuine)
    with closing(Store(database_url)) as store:
        assert len(founded.genuine["accounts"]) == len(store.reader.management_keys())
        found = {(holder, opening.value) for holder, opening in store.reader.all_contacts()}
    assert found
    assert found == {(row["holder_id"], row["value"]) for row in founded.genuine["contacts"]}


def test_what_is_counted_as_one_is_made_up_for(founded: Founded, database_url: str) -> None:
    """SQLite and PostgreSQL: rows from before 0008 are counted like those that come after it,
    those that are as they were to be and those that are not."""
    domains = {
        "example.org": "example.org",
        "a.b.example.org": "example.org",
        "x.y.github.io": "y.github.io",
    }
    emails = {"Ann+1@Example.org": "ann@example.org", "bob@example.org": "bob@example.org"}
    (standing,), (application,) = founded.held["standings"], founded.held["applications"]
    rows = founded.held | {
        "standings": [
            standing | {"address": bytes([number]), "domain": domain}
            for number, domain in enumerate(domains)
        ],
        "applications": [
            application
            | {"application_id": bytes([number]), "address": bytes([number]), "email": email}
            for number, email in enumerate(emails)
        ],
        "contacts": [
            row | ({"value": "Eve+2@example.org"} if row["field"] == 3 else {})
            for row in founded.held["contacts"]
        ],
    }
    founded.put_back(database_url, "0007", rows)
    is_server = database_url.startswith("postgresql")
    founded.command("migrate", *["--backed-up"] * is_server, url=database_url)
    found = rows_of(database_url)

    assert domains == {row["domain"]: row["registrable"] for row in found["standings"]}
    assert emails == {row["email"]: row["mailbox"] for row in found["applications"]}
    for row in found["contacts"]:
        assert row["mailbox"] == ("eve@example.org" if row["field"] == 3 else None)
    assert 3 in {row["field"] for row in found["contacts"]}


def backups(founded: Founded) -> list[Path]:
    """The copies beside the database."""
    file = founded.settings.data_dir / "registry.sqlite3"
    return sorted(file.parent.glob(f"{file.name}.0*"))


@pytest.fixture
def older(founded: Founded) -> Iterator[Founded]:
    """The registry, its own database of the revision before."""
    checkpoint = founded.settings.checkpoint_file.read_bytes()
    for backup in backups(founded):
        backup.unlink()
    founded.put_back(founded.settings.store_url, OLDER[-1], founded.genuine)
    yield founded
    founded.settings.checkpoint_file.write_bytes(checkpoint)


def test_it_is_copied_first_and_the_copy_is_what_it_was(older: Founded) -> None:
    """The copy beside it is named after its schema and said; nobody else may read it; put back, it
    is the database as it was. Without anything to do there is no copy."""
    url = older.settings.store_url
    said = older.command("migrate")
    (backup,) = backups(older)
    assert f"backup  {backup}" in said
    assert backup.name.startswith(f"registry.sqlite3.{OLDER[-1]}-")
    assert 0o600 == backup.stat().st_mode & 0o777
    before = _raw(f"sqlite:///{backup}")
    had = columns_of(f"sqlite:///{backup}")
    assert before == {name: only(older.genuine[name], had[name]) for name in had}
    assert "backup" not in older.command("migrate")
    assert [backup] == backups(older)
    file = older.settings.data_dir / "registry.sqlite3"
    backup.replace(file)
    with pytest.raises(LabError, match=f"older schema {OLDER[-1]}"):
        older.command("run")
    assert OLDER[-1] in older.command("migrate")
    assert older.genuine == rows_of(url)


def _raw(url: str) -> Rows:
    """All that a database of any revision holds."""
    with closing(Database(url)) as database, database.writing() as connection:
        return {
            table.name: sorted(
                (dict(row._mapping) for row in connection.execute(sa.select(table))), key=repr
            )
            for table in _tables(connection)
        }


@pytest.mark.parametrize("point", ["backup.before_rename", "migration.before_commit"])
def test_a_kill_leaves_a_database_that_goes_on(older: Founded, point: str) -> None:
    """kill -9 amid the copy or the migration: it is as it was, by its own word too, and the next
    try does all of it; no half copy has a copy's name."""
    url, before = older.settings.store_url, _raw(older.settings.store_url)
    older.killed(point)
    assert before == _raw(url)
    assert (point == "migration.before_commit") == bool(backups(older))
    with pytest.raises(LabError, match=f"older schema {OLDER[-1]}"):
        older.command("run")
    older.command("migrate")
    assert "entries lead to the signed root" in older.command("check")
    assert not list(older.settings.data_dir.glob(".registry.sqlite3.*"))
    older.cluster.start_primary()
    assert older.cluster.primary.stop() == 0


def test_a_server_that_is_killed_amid_it_goes_on(founded: Founded, postgres: Any) -> None:
    """The same of PostgreSQL, whose copy is the operator's to make and to confirm."""
    url = postgres.create_database("killed")
    founded.put_back(url, OLDER[-1], founded.held)
    before = _raw(url)
    with pytest.raises(LabError, match=r"copy it first.*--backed-up"):
        founded.command("migrate", url=url)
    founded.killed("migration.before_commit", url)
    assert before == _raw(url)
    founded.command("migrate", "--backed-up", url=url)
    assert "entries lead to the signed root" in founded.command("check", url=url)


def test_nothing_is_migrated_under_a_primary_that_runs(older: Founded) -> None:
    """Whoever holds the log's last checkpoint has the database for itself."""
    older.command("migrate")
    older.cluster.start_primary()
    try:
        other = f"sqlite:///{older.cluster.root}/other.sqlite3"
        older.put_back(other, OLDER[-1], older.genuine)
        with pytest.raises(LabError, match="another primary runs"):
            older.command("migrate", url=other)
    finally:
        assert older.cluster.primary.stop() == 0


@pytest.mark.parametrize("arguments", [("run",), ("migrate",), ("check",)])
def test_a_newer_database_is_refused(founded: Founded, arguments: tuple[str, ...]) -> None:
    """By every command that opens it, with 1 and a word on what to do."""
    url = f"sqlite:///{founded.cluster.root}/newer.sqlite3"
    founded.put_back(url, REVISIONS[-1], founded.genuine)
    with closing(Database(url)) as database, database.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LabError, match=r"ended with 1 [\s\S]*schema 9999, newer than this"):
        founded.command(*arguments, url=url)
