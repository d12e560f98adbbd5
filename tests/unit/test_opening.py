"""The primary's start: what it goes on from, and the doubtful states in which it refuses to."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from node.errors import ConfigurationError
from primary.checkpoint_file import CheckpointFile
from primary.errors import DoubtfulStateError
from primary.opening import check_log
from primary.store.errors import SchemaError
from primary.store.store import Store
from registry.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from registry.entry import Entry
from registry.kinds import Kind, Operation
from registry.note import Signer
from tests.support.sequencing import Log, Person, addresses

ME = Person("me")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """A log with some batches; stopped."""
    log = Log(tmp_path)
    log.store.migrate()
    log.open()
    log.versions(ME.create())
    log.versions(*(ME.register(address) for address in addresses(70)))
    log.close()
    yield log
    log.close()


def _sql(log: Log, statement: str) -> None:
    with closing(sqlite3.connect(log.directory / "registry.sqlite3")) as connection, connection:
        connection.execute(statement)


def _write_checkpoint(log: Log, note: bytes) -> None:
    log.checkpoint_path.unlink(missing_ok=True)
    CheckpointFile(log.checkpoint_path).write(note)


def _refused(log: Log, message: str) -> None:
    """Both the start and the check refuse, and the start leaves the files alone."""
    before = log.checkpoint_path.read_bytes() if log.checkpoint_path.exists() else None
    with pytest.raises(DoubtfulStateError, match=message):
        log.open()
    with pytest.raises(DoubtfulStateError, match=message):
        check_log(log.store, log.log_signer(), CheckpointFile(log.checkpoint_path))
    after = log.checkpoint_path.read_bytes() if log.checkpoint_path.exists() else None
    assert before == after


def test_a_log_goes_on_where_it_stood(log: Log) -> None:
    """Same head, same state; the next change follows."""
    before = log.sequencer.head
    log.open()
    check_log(log.store, log.log_signer(), CheckpointFile(log.checkpoint_path))
    assert before == log.sequencer.head
    log.versions(ME.register("198.19.0.1"))


def test_a_crash_between_commit_and_sync_is_made_good(log: Log) -> None:
    """The last transaction, of one batch or several, is in the log but not signed: sign it."""
    earlier = log.checkpoint_path.read_bytes()
    for count in (1, 130):
        log.open()
        log.versions(*(ME.register(address) for address in addresses(count, f"198.19.{count}.0")))
        log.close()
        log.checkpoint_path.write_bytes(earlier)
        head = log.open().head
        assert head.checkpoint == CheckpointFile(log.checkpoint_path).read()
        log.catch_up()
        log.close()
        earlier = log.checkpoint_path.read_bytes()


def test_a_crash_at_the_first_start_is_made_good(tmp_path: Path) -> None:
    """Whether or not the log's first batch was committed."""
    log = Log(tmp_path)
    log.store.migrate()
    empty = log.store.reader.head()
    signer = log.signer
    nothing = sign_checkpoint(Checkpoint(signer.name, 0, empty.root), signer)
    _write_checkpoint(log, nothing)
    log.open()
    log.close()
    _write_checkpoint(log, nothing)
    assert 1 == log.open().head.size
    log.close()


def test_a_missing_checkpoint_file_is_doubtful(log: Log) -> None:
    """Nobody knows how far this log was signed."""
    log.checkpoint_path.unlink()
    _refused(log, "missing")


def test_a_damaged_checkpoint_file_is_doubtful(log: Log) -> None:
    """Neither slot can be read."""
    log.checkpoint_path.write_bytes(bytes(100))
    _refused(log, "damaged")


def test_an_older_database_is_doubtful(log: Log) -> None:
    """More was signed than it holds: going on would be a fork."""
    copy = log.directory / "copy"
    shutil.copy(log.directory / "registry.sqlite3", copy)
    log.open()
    log.versions(ME.register("198.19.0.1"))
    log.close()
    shutil.copy(copy, log.directory / "registry.sqlite3")
    _refused(log, "older copy")


def test_an_empty_database_beside_a_checkpoint_is_doubtful(log: Log) -> None:
    """The log was lost, or the settings name another database."""
    (log.directory / "registry.sqlite3").unlink()
    log.store.migrate()
    _refused(log, "holds 0 entries")


def test_a_checkpoint_far_behind_is_doubtful(log: Log) -> None:
    """No crash leaves the file more than one transaction behind."""
    earlier = log.checkpoint_path.read_bytes()
    log.open()
    log.versions(ME.register("198.19.0.1"))
    log.versions(ME.register("198.19.0.2"))
    log.close()
    log.checkpoint_path.write_bytes(earlier)
    _refused(log, "more than a crash")


@pytest.mark.parametrize("at", ["end", "before the last transaction"])
def test_another_log_of_the_same_size_is_doubtful(log: Log, at: str) -> None:
    """What was signed at that size is not what the database holds."""
    stored = log.store.reader.head()
    size = stored.size if at == "end" else stored.previous.size
    _write_checkpoint(
        log, sign_checkpoint(Checkpoint(log.signer.name, size, bytes(32)), log.signer)
    )
    _refused(log, "another log")


def test_another_key_is_doubtful(log: Log) -> None:
    """Two keys never sign for one log, be they named alike."""
    log.signer = Signer(log.signer.name, b"\1" * 32)
    _refused(log, "use the key")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE entries SET entry = X'00' WHERE log_index = 70", "entries"),
        ("DELETE FROM entries WHERE log_index = 71", "entries"),
        ("INSERT INTO entries VALUES (75, X'00')", "entries"),
        ("UPDATE head SET zone_serial = zone_serial + 1", "state entry"),
        ("UPDATE records SET log_index = 1 WHERE log_index = 70", "records"),
        ("DELETE FROM records WHERE log_index = 70", "records"),
        ("UPDATE records SET leaf_hash = zeroblob(32) WHERE log_index = 5", "records"),
    ],
)
def test_a_damaged_database_is_doubtful(log: Log, damage: str, message: str) -> None:
    """The end of the log, its head and the records have to tell one story."""
    assert 75 == log.store.reader.head().size
    _sql(log, damage)
    _refused(log, message)


def test_a_newer_database_is_refused(log: Log) -> None:
    """This program does not know what a later one has written."""
    _sql(log, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError, match="newer"):
        log.open()
    with pytest.raises(SchemaError, match="newer"):
        log.store.migrate()


@pytest.mark.parametrize("kind", [Kind.POLICY, 200, 255])
def test_a_log_that_a_newer_version_wrote_is_refused(log: Log, kind: int) -> None:
    """A critical entry of a kind that this program does not know, in a schema that it does."""
    entry = Entry(kind, b"k", Operation.PUT, True, 1, b"").encode().hex()
    _sql(log, f"UPDATE entries SET entry = x'{entry}' WHERE log_index = 1")
    _sql(log, f"UPDATE records SET state_key = x'{kind:02x}6b' WHERE log_index = 1")
    _refused(log, f"critical entry of kind {int(kind)}: update this software")


def test_a_database_without_tables_is_refused(tmp_path: Path) -> None:
    """Making them is a person's decision."""
    log = Log(tmp_path)
    with pytest.raises(SchemaError, match="migrate"):
        log.open()
    assert not log.checkpoint_path.exists()


@pytest.mark.parametrize("url", ["", "sqlite://", "mysql://localhost/log", "postgres"])
def test_a_url_of_no_usable_database_is_refused(url: str) -> None:
    """With a word on what to write."""
    with pytest.raises(SchemaError):
        Store(url)


def test_a_second_primary_on_one_checkpoint_file_is_refused(log: Log) -> None:
    """Until the first has ended."""
    log.open()
    second = Store(log.url)
    with pytest.raises(ConfigurationError, match="another primary"):
        log.other_sequencer(second, CheckpointFile(log.checkpoint_path))
    log.close()
    log.other_sequencer(second, CheckpointFile(log.checkpoint_path)).close()
    second.close()


def test_the_checkpoint_of_the_head_is_signed_by_the_key(log: Log) -> None:
    """And says what the database says."""
    checkpoint = open_checkpoint(log.open().head.checkpoint, log.signer.verifier())
    stored = log.store.reader.head()
    assert (stored.size, stored.root) == (checkpoint.size, checkpoint.root)
