"""The sequencer on SQLite: what it commits, what it refuses, and what a failure leaves behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.errors import StorageError
from primary.changes import Change, WithdrawHolder
from primary.checkpoint_file import CheckpointFile
from primary.rules import Policy
from primary.sequencer import (
    MAX_CHANGES_PER_COMMIT,
    PRUNE_PAUSE_MS,
    PRUNE_STEP,
    RECEIPT_MS,
    SequencerStoppedError,
)
from primary.store.errors import FencedError, StoreUnavailableError
from primary.store.store import Store
from primary.store.writer import Writer
from registry.address import Address
from registry.checkpoint import open_checkpoint
from registry.contact import ContactValue
from registry.entry import Entry
from registry.errors import Problem
from registry.holder import Holder
from registry.kinds import Kind, Status
from registry.limits import MAX_CHANGES_PER_BATCH
from registry.merkle import CompactRange
from registry.registration import Registration
from registry.replay import Replay
from registry.state_tree import StateTree
from tests.support.sequencing import (
    CONTACT,
    EMAIL,
    NAME,
    OTHER_EMAIL,
    OTHER_TELEPHONE,
    TELEPHONE,
    Log,
    Person,
    addresses,
    hidden,
)

ME, OTHER = Person("me"), Person("other")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """An open, empty log."""
    log = Log(tmp_path)
    log.store.migrate()
    log.open()
    yield log
    log.close()


def _registration(log: Log, address: str) -> Registration | None:
    record = log.store.reader.get(Kind.REGISTRATION, Address.parse(address).packed)
    return Registration.decode(Entry.decode(record.entry).payload) if record else None


def _database(log: Log) -> sqlite3.Connection:
    return sqlite3.connect(log.directory / "registry.sqlite3")


def _fail_inserts(log: Log, condition: str) -> None:
    with closing(_database(log)) as connection:
        connection.execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON entries WHEN {condition} "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )


def _stop_failing(log: Log) -> None:
    with closing(_database(log)) as connection:
        connection.execute("DROP TRIGGER refuse")


def test_an_empty_log_begins_with_a_state_entry(log: Log) -> None:
    """So there is always a checkpoint, and no record has version 0."""
    head = log.sequencer.head
    assert (1, 0) == (head.size, head.state.live_keys)
    assert 1 == open_checkpoint(head.checkpoint, log.signer.verifier()).size
    log.catch_up()


def test_a_receipt_names_an_entry_that_its_checkpoint_covers(log: Log) -> None:
    """The index is the record's version, the checkpoint is signed and on disk (P1)."""
    (version,) = log.versions(ME.create())
    checkpoint = open_checkpoint(log.sequencer.head.checkpoint, log.signer.verifier())
    assert version < checkpoint.size
    assert log.sequencer.head.checkpoint == CheckpointFile(log.checkpoint_path).read()
    assert checkpoint.root == log.store.reader.root_at(checkpoint.size)


def test_changes_of_one_batch_see_each_other(log: Log) -> None:
    """A holder may be created and used at once; the second of two claims is refused."""
    codes = log.codes(
        ME.create(),
        ME.register("198.18.0.1"),
        OTHER.create(),
        OTHER.register("198.18.0.1"),
        ME.withdraw("198.18.0.1"),
        OTHER.register("198.18.0.1"),
    )
    assert ["", "", "", "exists", "", ""] == codes
    found = _registration(log, "198.18.0.1")
    assert found is not None
    assert (OTHER.holder_id, Status.NEW) == (found.holder_id, found.status)


def test_sixty_updates_of_one_key_are_sixty_entries_and_one_record(log: Log) -> None:
    """Each has a version of its own; only the last one is current."""
    log.versions(ME.create(), ME.register("198.18.0.1"))
    size = log.sequencer.head.size
    hosts = [f"mail{n}.example.org" for n in range(MAX_CHANGES_PER_BATCH)]
    versions = log.versions(*(ME.update("198.18.0.1", host) for host in hosts))
    assert list(range(size, size + MAX_CHANGES_PER_BATCH)) == versions
    found = _registration(log, "198.18.0.1")
    assert found is not None
    assert hosts[-1] == found.host
    assert 2 == log.sequencer.head.state.live_keys


def test_many_changes_make_several_batches(log: Log) -> None:
    """Each within the protocol's limit, and each with a checkpoint of its own."""
    log.versions(ME.create())
    changes = [ME.register(address) for address in addresses(MAX_CHANGES_PER_COMMIT)]
    committed = log.sequencer.commit(changes)
    batches = [part.batch for part in committed if part.batch]
    assert [MAX_CHANGES_PER_BATCH + 1] * 8 == [len(batch.entries) for batch in batches]
    assert [part.head.size for part in committed] == [batch.size for batch in batches]
    assert MAX_CHANGES_PER_COMMIT == sum(len(part.outcomes) for part in committed)
    log.catch_up()
    assert MAX_CHANGES_PER_COMMIT == log.store.reader.statistics().registrations
    with pytest.raises(ValueError, match="changes"):
        log.sequencer.commit([*changes, ME.register("198.19.0.1")])


def test_what_is_streamed_now_is_what_is_streamed_later(log: Log) -> None:
    """A batch read from the database is byte for byte the one that was committed."""
    log.versions(ME.create(), ME.register("198.18.0.1"))
    log.versions(ME.update("198.18.0.1", "mx.example.org"))
    stored = log.store.reader.batches_from(1, 10)
    assert [batch.encode() for batch in log.batches] == [
        batch.sign(log.signer).encode() for batch in stored
    ]


def test_only_the_newest_public_contact_travels(log: Log) -> None:
    """Private values never leave; an opening is gone once a newer entry took its place (P6)."""
    log.versions(ME.create(), ME.update_contact(hidden(EMAIL)))
    first, second, _ = log.batches[-1].entries
    assert () == first.openings
    assert [NAME.value] == [opening.value for opening in second.openings]
    assert TELEPHONE.value.encode() not in log.batches[-1].encode()


@pytest.mark.parametrize("held", [(), (NAME, TELEPHONE)])
def test_a_holder_from_before_contact_had_to_be_whole_goes_on(
    log: Log, held: tuple[ContactValue, ...]
) -> None:
    """Its log opens and replays; it registers, completes its contact, is withdrawn."""
    create = ME.create()
    object.__setattr__(create, "contact", held)
    log.versions(create)
    log.reopen()
    log.versions(ME.register("198.18.0.1"), ME.update_contact(), ME.withdraw("198.18.0.1"))
    record = log.store.reader.get(Kind.HOLDER, ME.holder_id)
    assert record is not None
    assert len(CONTACT) == len(Holder.decode(Entry.decode(record.entry).payload).commitments)
    log.versions(WithdrawHolder(ME.holder_id, ME.key))
    log.reopen()
    log.replay = Replay(log.signer.verifier(), CompactRange.empty(), StateTree(), 0)
    log.catch_up()


def test_an_erased_contact_is_gone_from_the_disk(log: Log) -> None:
    """Neither the database nor its journal holds it any more, public or private (P6)."""
    log.versions(ME.create(), OTHER.create())
    log.versions(
        ME.update_contact(OTHER_EMAIL, OTHER_TELEPHONE),
        WithdrawHolder(OTHER.holder_id, OTHER.key),
    )
    disk = _disk(log)
    assert 1 == disk.count(NAME.value.encode())
    assert EMAIL.value.encode() not in disk
    assert TELEPHONE.value.encode() not in disk


def test_an_erasure_that_a_reader_holds_up_is_made_good(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commits after the reader's end see to it; none of them waits for it."""
    monkeypatch.setattr("primary.store.writer.SCRUB_PAUSE_SECONDS", 0.0)
    log.versions(ME.create())
    with log.store.reader.snapshot():
        log.versions(ME.update_contact(OTHER_EMAIL))
        log.versions(ME.register("198.18.0.1"))
        assert EMAIL.value.encode() in _disk(log)
    log.versions(ME.register("198.18.0.2"))
    assert EMAIL.value.encode() not in _disk(log)


def test_the_database_is_its_owners_only(log: Log) -> None:
    """It holds what is not public, and so does its journal."""
    files = list(log.directory.glob("registry.sqlite3*"))
    assert {0o600} == {path.stat().st_mode & 0o777 for path in files}
    assert len(files) > 1


def _disk(log: Log) -> bytes:
    return b"".join(path.read_bytes() for path in log.directory.iterdir() if path.is_file())


def test_the_same_change_under_one_key_is_made_once(log: Log) -> None:
    """In one batch, later, and after a restart: the same receipt, and no entry more."""
    create = ME.create(idempotency_key=bytes(16))
    first, again = log.versions(create, create)
    size = log.sequencer.head.size
    (later,) = log.versions(create)
    log.reopen()
    (after_restart,) = log.versions(create)
    assert first == again == later == after_restart
    assert size == log.sequencer.head.size


def test_a_receipt_outlives_later_changes(log: Log) -> None:
    """A repeated update gives the old receipt; it does not undo what came after it."""
    key = bytes(range(16))
    log.versions(ME.create())
    (registered,) = log.versions(ME.register("198.18.0.1", "a.example.org", idempotency_key=key))
    log.versions(ME.update("198.18.0.1", "b.example.org"))
    assert [registered] == log.versions(
        ME.register("198.18.0.1", "a.example.org", idempotency_key=key)
    )


def test_a_receipt_is_kept_for_a_change_that_changed_nothing(log: Log) -> None:
    """Its repetition gives the same version, though the record has moved on."""
    key = bytes(range(16))
    log.versions(ME.create())
    (version,) = log.versions(ME.register("198.18.0.1"))
    unchanged = ME.register("198.18.0.1", idempotency_key=key)
    size = log.sequencer.head.size
    assert [version] == log.versions(unchanged)
    assert size == log.sequencer.head.size
    log.versions(ME.update("198.18.0.1", "b.example.org"))
    assert [version] == log.versions(unchanged)


def test_an_idempotency_key_is_for_one_change(log: Log) -> None:
    """Another change under the same key is refused, in the same batch or later."""
    key = bytes(16)
    one = ME.register("198.18.0.1", idempotency_key=key)
    two = ME.register("198.18.0.2", idempotency_key=key)
    assert ["", "", "idempotency"] == log.codes(ME.create(), one, two)
    assert ["idempotency"] == log.codes(two)


def test_receipts_are_forgotten_after_a_day(log: Log) -> None:
    """In bounded steps, as commits go on."""
    log.versions(ME.create())
    count = PRUNE_STEP + 10
    names = addresses(count)
    log.versions(
        *(
            ME.register(address, idempotency_key=number.to_bytes(16))
            for number, address in enumerate(names)
        )
    )
    kept = []
    for step_ms in (RECEIPT_MS, 1, PRUNE_PAUSE_MS, PRUNE_PAUSE_MS):
        log.now_ms += step_ms
        log.commit(ME.register("198.18.0.0"))
        with closing(_database(log)) as connection:
            kept += connection.execute("SELECT count(*) FROM receipts").fetchone()
    assert [count, count, 10, 0] == kept


def test_a_change_that_changes_nothing_makes_no_entry(log: Log) -> None:
    """The present version is the answer."""
    create, register = log.versions(ME.create(), ME.register("198.18.0.1"))
    size = log.sequencer.head.size
    again = log.versions(ME.create(), ME.register("198.18.0.1"), ME.update("198.18.0.1", ME.host))
    assert [create, register, register] == again
    assert size == log.sequencer.head.size


def test_a_refused_change_leaves_no_trace(log: Log) -> None:
    """No entry, no batch, the same head."""
    before = log.sequencer.head
    (committed,) = log.sequencer.commit([ME.register("198.18.0.1")])
    (problem,) = committed.outcomes
    assert isinstance(problem, Problem)
    assert ("not_found", None, before) == (problem.code, committed.batch, committed.head)


def test_special_addresses_are_for_laboratories(tmp_path: Path) -> None:
    """Elsewhere nobody can register an address that cannot be public."""
    log = Log(tmp_path, policy=Policy(lab=False))
    log.store.migrate()
    log.open()
    codes = log.codes(ME.create(), ME.register("198.18.0.1"), ME.register("9.9.9.9"))
    log.close()
    assert ["", "address_special", ""] == codes


def test_time_in_the_log_never_runs_back(log: Log) -> None:
    """Whatever the clock does."""
    log.versions(ME.create())
    before = log.sequencer.head.committed_ms
    log.now_ms -= 60_000
    log.versions(ME.register("198.18.0.1"))
    assert before == log.sequencer.head.committed_ms


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
    assert _registration(log, "198.18.0.2") is None
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
    assert _registration(log, "198.18.0.1") is not None


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
    assert _registration(log, "198.18.0.1") is not None


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


_PEOPLE = st.sampled_from([ME, OTHER])
_ADDRESSES = st.sampled_from(addresses(3))
_HOSTS = st.sampled_from(["a.example.org", "b.example.org"])
_CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(Person.create, _PEOPLE),
    st.builds(Person.update_contact, _PEOPLE, st.sampled_from([EMAIL, OTHER_EMAIL])),
    st.builds(lambda person: WithdrawHolder(person.holder_id, person.key), _PEOPLE),
    st.builds(Person.register, _PEOPLE, _ADDRESSES, _HOSTS),
    st.builds(Person.update, _PEOPLE, _ADDRESSES, _HOSTS),
    st.builds(Person.withdraw, _PEOPLE, _ADDRESSES),
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(_CHANGES, min_size=1, max_size=12), max_size=5))
def test_how_changes_are_cut_into_batches_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[Change]]
) -> None:
    """Together or one by one, the outcomes are alike, the records agree, and a replay holds."""
    together, alone = (_fresh(tmp_path_factory) for _ in range(2))
    for group in groups:
        one_by_one = [code for change in group for code in alone.codes(change)]
        assert one_by_one == together.codes(*group)
    assert _contents(alone) == _contents(together)
    statistics = together.store.reader.statistics()
    assert statistics.holders + statistics.registrations == (
        together.sequencer.head.state.live_keys
    )
    alone.close()
    together.reopen()
    together.close()


def _fresh(factory: pytest.TempPathFactory) -> Log:
    log = Log(factory.mktemp("log"))
    log.store.migrate()
    log.open()
    return log


def _contents(log: Log) -> list[tuple[Any, ...]]:
    """Everything that does not depend on where in the log it stands."""
    payloads: Callable[[bytes], bytes] = lambda entry: Entry.decode(entry).payload  # noqa: E731
    with closing(_database(log)) as connection:
        registrations = connection.execute(
            "SELECT state_key, holder_id, entry FROM records NATURAL JOIN entries"
            " WHERE holder_id IS NOT NULL ORDER BY state_key"
        ).fetchall()
        return [
            *((key, holder, payloads(entry)) for key, holder, entry in registrations),
            *connection.execute("SELECT * FROM accounts ORDER BY holder_id"),
            *connection.execute(
                "SELECT holder_id, field, value, public FROM contacts ORDER BY holder_id, field"
            ),
        ]
