"""What a failure in a commit leaves behind, and when it ends the sequencer."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from node.errors import StorageError
from primary.changes import Change
from primary.checkpoint_file import CheckpointFile
from primary.sequencer import MAX_CHANGES_PER_COMMIT, SequencerStoppedError
from primary.store.errors import FencedError, StoreUnavailableError
from primary.store.store import Store
from primary.store.writer import Writer
from registry.limits import MAX_CHANGES_PER_BATCH
from tests.support.sequencing import Log, Person, addresses

ME = Person("me")


def _fail_inserts(log: Log, condition: str) -> None:
    with closing(log.connect()) as connection:
        connection.execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON entries WHEN {condition} "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )


def _stop_failing(log: Log) -> None:
    with closing(log.connect()) as connection:
        connection.execute("DROP TRIGGER refuse")


@pytest.mark.parametrize("count", [1, MAX_CHANGES_PER_BATCH + 1, MAX_CHANGES_PER_COMMIT])
def test_a_failed_transaction_leaves_everything_as_it_was(log: Log, count: int) -> None:
    """Be it in the last of several batches; the next commit goes on from there."""
    log.versions(ME.create(), ME.register("198.18.0.0", "old.example.org"))
    head = log.sequencer.head
    last = head.size + count + (count - 1) // MAX_CHANGES_PER_BATCH
    _fail_inserts(log, f"NEW.log_index >= {last}")
    changes: list[Change] = [ME.update("198.18.0.0", "new.example.org")]
    changes += [ME.register(address) for address in addresses(count, "198.18.1.0")[1:]]
    with pytest.raises(StoreUnavailableError):
        log.sequencer.commit(changes)
    assert head is log.sequencer.head
    assert log.sequencer.stopped_by is None
    _stop_failing(log)
    assert count == len(log.versions(*changes))


def test_an_unreadable_database_after_a_failure_is_fatal_only_if_memory_went_ahead(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch never touches the state tree before it is on disk; of several, the first do."""
    log.versions(ME.create())
    _fail_inserts(log, f"NEW.log_index > {log.sequencer.head.size}")

    def refuse() -> None:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(log.store.reader, "head", refuse)
    changes = [ME.register(address) for address in addresses(MAX_CHANGES_PER_BATCH + 1)]
    with pytest.raises(StoreUnavailableError):
        log.sequencer.commit(changes[:1])
    assert log.sequencer.stopped_by is None
    _stop_failing(log)
    _fail_inserts(log, f"NEW.log_index > {log.sequencer.head.size + MAX_CHANGES_PER_BATCH}")
    with pytest.raises(StoreUnavailableError):
        log.sequencer.commit(changes)
    with pytest.raises(SequencerStoppedError):
        log.sequencer.commit(changes[:1])


def test_an_error_of_the_program_undoes_the_commit(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised, nothing of the commit has happened, and others can be served."""
    log.versions(ME.create())
    head = log.sequencer.head

    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr("primary.sequencer.seal", broken)
    with pytest.raises(RuntimeError, match="a mistake"):
        log.sequencer.commit([ME.register("198.18.0.1")])
    monkeypatch.undo()
    assert head is log.sequencer.head
    log.versions(ME.register("198.18.0.1"))


def test_two_primaries_on_one_database_never_both_commit(log: Log, tmp_path: Path) -> None:
    """The one that comes second is fenced, and stays so."""
    log.versions(ME.create())
    second_path = tmp_path / "second"
    second_path.write_bytes(log.checkpoint_path.read_bytes())
    store = Store(log.url)
    second = log.other_sequencer(store, CheckpointFile(second_path))
    log.versions(ME.register("198.18.0.1"))
    with pytest.raises(FencedError):
        second.commit([ME.register("198.18.0.2")])
    with pytest.raises(SequencerStoppedError):
        second.commit([ME.register("198.18.0.2")])
    second.close()
    store.close()
    assert log.registered("198.18.0.2") is None
    log.versions(ME.register("198.18.0.3"))


def test_a_commit_that_failed_but_happened_stops_the_sequencer(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost connection hides the commit; a new start finds it and signs it."""
    log.versions(ME.create())
    original = Writer.transaction

    def losing(writer: Writer) -> Any:
        return _Losing(original(writer))

    monkeypatch.setattr(Writer, "transaction", losing)
    with pytest.raises(SequencerStoppedError):
        log.sequencer.commit([ME.register("198.18.0.1")])
    monkeypatch.undo()
    with pytest.raises(SequencerStoppedError):
        log.sequencer.commit([ME.register("198.18.0.2")])
    log.reopen()
    log.catch_up()
    assert log.registered("198.18.0.1") is not None


class _Losing:
    """A transaction whose commit succeeds, and reports that it did not."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __enter__(self) -> Any:
        return self._inner.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._inner.__exit__(*error)
        raise StoreUnavailableError("connection lost")


def test_a_checkpoint_that_cannot_be_synced_is_fatal(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears of the batch; a new start signs it, and it counts."""
    log.versions(ME.create())
    head = log.sequencer.head

    def refuse(_file: CheckpointFile, _note: bytes) -> None:
        raise StorageError("disk full")

    monkeypatch.setattr(CheckpointFile, "write", refuse)
    with pytest.raises(StorageError):
        log.sequencer.commit([ME.register("198.18.0.1")])
    monkeypatch.undo()
    assert head is log.sequencer.head
    with pytest.raises(SequencerStoppedError):
        log.sequencer.commit([ME.register("198.18.0.2")])
    log.reopen()
    log.catch_up()
    assert log.registered("198.18.0.1") is not None


def test_the_checkpoint_is_synced_after_the_commit_and_before_the_answer(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every stage that a crash can hit, what is on disk is what P1 asks for."""
    log.versions(ME.create())
    seen: list[tuple[str, int, bool]] = []
    old = CheckpointFile(log.checkpoint_path).read()

    def look(name: str) -> None:
        new = CheckpointFile(log.checkpoint_path).read() != old
        seen.append((name.removeprefix("commit."), log.store.reader.head().size, new))

    monkeypatch.setattr("primary.sequencer.failpoint", look)
    size = log.sequencer.head.size
    log.sequencer.commit([ME.register("198.18.0.1")])
    assert [
        ("before_transaction", size, False),
        ("in_transaction", size, False),
        ("after_transaction", size + 2, False),
        ("before_sync", size + 2, False),
        ("after_sync", size + 2, True),
        ("before_acknowledge", size + 2, True),
    ] == seen
