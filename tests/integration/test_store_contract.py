"""What the database promises, on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from lab.postgres import PostgresServer, postgres_server
from primary.changes import Change, WithdrawHolder
from primary.checkpoint_file import CheckpointFile
from primary.sequencer import RECEIPT_MS, SequencerStoppedError
from primary.store.database import Database
from primary.store.errors import FencedError, SchemaError, StoreUnavailableError
from primary.store.schema import metadata
from primary.store.store import Store
from primary.store.values import BatchRows, ReceiptRow, StoredHead, Wanted
from registry.address import Address
from registry.batch import Record
from registry.entry import Entry
from registry.errors import Problem
from registry.kinds import Kind
from registry.merkle import EMPTY_ROOT, CompactRange, leaf_hash, verify_inclusion
from registry.state import State
from registry.state_tree import StateTree
from tests.support.sequencing import (
    CONTACT,
    EMAIL,
    NAME,
    OTHER_TELEPHONE,
    Log,
    Person,
    addresses,
    hidden,
)

ME, OTHER = Person("me"), Person("other")
_numbers = count()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for all the tests here."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.sqlite3'}"
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.create_database(f"registry{next(_numbers)}")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty log's tables."""
    store = Store(url)
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def log(url: str, tmp_path: Path) -> Iterator[Log]:
    """An open log."""
    log = Log(tmp_path, url)
    log.store.migrate()
    log.open()
    yield log
    log.close()


def _execute(url: str, statement: str) -> None:
    database = Database(url)
    with database.writing() as connection:
        connection.execute(text(statement))
    database.close()


def _moved(head: StoredHead, entries: int, time_ms: int = 1) -> StoredHead:
    leaves = [leaf_hash(_entry(head.size + at)) for at in range(entries)]
    return StoredHead(
        head.compact_range.extend(leaves),
        head.compact_range,
        State(0, bytes(32), 1),
        0,
        0,
        time_ms,
    )


def _entry(index: int) -> bytes:
    return f"entry {index}".encode()


def _append(store: Store, before: StoredHead, entries: int) -> StoredHead:
    after = _moved(before, entries)
    rows = BatchRows(
        entries=[(before.size + at, _entry(before.size + at)) for at in range(entries)]
    )
    with store.writer.transaction() as transaction:
        transaction.append(before, after, rows)
    return after


def _keys(records: list[Record]) -> list[str]:
    return [str(Address(Entry.decode(record.entry).key)) for record in records]


def test_migrating_makes_the_tables_that_the_program_means(url: str) -> None:
    """Neither more nor less; twice is as good as once."""
    store = Store(url)
    store.migrate()
    store.migrate()
    store.check_schema()
    store.close()
    database = Database(url)
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [] == compare_metadata(context, metadata)
    database.close()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM alembic_version", "is empty"),
        ("UPDATE alembic_version SET version_num = 'later'", "newer than this program"),
    ],
)
def test_another_schema_is_refused(store: Store, url: str, statement: str, message: str) -> None:
    """With a word on what to do."""
    store.check_schema()
    _execute(url, statement)
    with pytest.raises(SchemaError, match=message):
        store.check_schema()


def test_an_empty_log(store: Store) -> None:
    """Nothing anywhere, and no state."""
    head = store.reader.head()
    assert (CompactRange.empty(), None, EMPTY_ROOT) == (head.compact_range, head.state, head.root)
    assert (0, 0, 0) == (
        store.reader.statistics().log_size,
        store.reader.statistics().registrations,
        store.reader.statistics().holders,
    )
    assert [] == store.reader.batches_from(0, 10)
    assert [] == store.reader.entries(0, 10)
    assert [] == store.reader.list_registrations(None, 10)
    assert store.reader.get(Kind.HOLDER, ME.holder_id) is None
    assert store.reader.root_at(0) is None


def test_what_is_appended_is_read(store: Store) -> None:
    """Head, entries, leaf hashes, boundaries; by any reader, at once."""
    first = _append(store, store.reader.head(), 3)
    second = _append(store, first, 2)
    assert second == store.reader.head()
    assert [_entry(index) for index in range(5)] == store.reader.entries(0, 10)
    assert [_entry(2), _entry(3)] == store.reader.entries(2, 2)
    assert [leaf_hash(_entry(4))] == store.reader.leaf_hashes(4, 100)
    assert (first.root, second.root, None) == tuple(store.reader.root_at(at) for at in (3, 5, 4))
    assert [(0, 3), (3, 5)] == [
        (batch.start, batch.size) for batch in store.reader.batches_from(0, 10)
    ]
    (last,) = store.reader.batches_from(3, 1)
    assert (second.root, second.committed_ms) == (last.root, last.time_ms)


def test_a_head_that_moved_fences_the_writer(store: Store, url: str) -> None:
    """The guard matches size and root; nothing of the transaction stays (P4)."""
    empty = store.reader.head()
    after = _append(store, empty, 2)
    with pytest.raises(FencedError):
        _append(store, empty, 2)
    with pytest.raises(FencedError):
        _append(store, _moved(empty, 1), 1)
    other_root = StoredHead(
        CompactRange(2, (bytes(32),)), empty.compact_range, after.state, 0, 0, 1
    )
    with pytest.raises(FencedError):
        _append(store, other_root, 1)
    assert after == store.reader.head()
    assert 2 == len(store.reader.entries(0, 100))
    _append(store, after, 1)


def test_of_two_writers_at_once_one_is_fenced(store: Store, url: str) -> None:
    """However their transactions meet, exactly one moves the head."""
    head = store.reader.head()
    others = [Store(url) for _ in range(4)]
    for _ in range(5):
        barrier = threading.Barrier(len(others))

        def race(
            other: Store, head: StoredHead = head, barrier: threading.Barrier = barrier
        ) -> bool:
            barrier.wait(10)
            try:
                _append(other, head, 1)
            except FencedError:
                return False
            return True

        with ThreadPoolExecutor(len(others)) as pool:
            won = list(pool.map(race, others))
        assert 1 == sum(won)
        head = store.reader.head()
    for other in others:
        other.close()
    assert 5 == head.size


def test_an_exception_rolls_back(store: Store) -> None:
    """Whatever it is; the writer goes on afterwards."""
    before = store.reader.head()

    def fail() -> None:
        with store.writer.transaction() as transaction:
            transaction.append(before, _moved(before, 1), BatchRows(entries=[(0, b"x")]))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert before == store.reader.head()
    assert [] == store.reader.entries(0, 1)
    _append(store, before, 1)


def test_a_refusal_of_the_database_rolls_back(store: Store) -> None:
    """An entry that exists is never overwritten; the error holds no values."""
    before = _append(store, store.reader.head(), 1)
    with pytest.raises(StoreUnavailableError), store.writer.transaction() as transaction:
        transaction.append(before, _moved(before, 1), BatchRows(entries=[(0, b"other")]))
    assert before == store.reader.head()
    assert [_entry(0)] == store.reader.entries(0, 10)


def test_receipts_are_kept_found_and_pruned_in_steps(store: Store) -> None:
    """The oldest first; also when the log does not grow."""
    head = store.reader.head()
    receipts = [ReceiptRow(bytes([n]) * 16, bytes(32), n, 1000 + n) for n in range(10)]
    with store.writer.transaction() as transaction:
        transaction.append(head, head, BatchRows(receipts=receipts))
    with store.writer.transaction() as transaction:
        assert 3 == transaction.prune_receipts(1005, 3)
        assert 2 == transaction.prune_receipts(1005, 3)
        assert 0 == transaction.prune_receipts(1005, 3)
        wanted = Wanted((), (), (), tuple(row.idempotency_key for row in receipts))
        found = transaction.current(wanted).receipts
    assert {row.idempotency_key: row for row in receipts[5:]} == found


def test_a_whole_life(log: Log) -> None:
    """Created, changed, withdrawn, made again; replayed by a mirror, opened after a restart."""
    log.versions(
        ME.create(),
        OTHER.create(),
        *(
            ME.register(address, idempotency_key=address.encode().ljust(16))
            for address in addresses(70)
        ),
        OTHER.register("2001:db8::24"),
    )
    log.versions(ME.update("198.18.0.3", "mx.example.org"), ME.update_contact(OTHER_TELEPHONE))
    log.versions(OTHER.withdraw("2001:db8::24"), WithdrawHolder(OTHER.holder_id, OTHER.key))
    log.versions(OTHER.create(), OTHER.register("2001:db8::24"))
    log.reopen()
    log.replay = type(log.replay)(log.signer.verifier(), CompactRange.empty(), StateTree(), 0)
    log.catch_up()
    statistics = log.store.reader.statistics()
    assert (71, 2) == (statistics.registrations, statistics.holders)
    assert ["idempotency"] == log.codes(
        ME.register("198.18.9.9", idempotency_key=b"198.18.0.3".ljust(16))
    )
    log.now_ms += RECEIPT_MS + 1
    log.commit(ME.register("198.18.0.0"))
    log.versions(ME.register("198.18.9.9", idempotency_key=b"198.18.0.3".ljust(16)))


def test_public_contact_is_read_and_private_is_not(log: Log) -> None:
    """In a record, in a list, in a batch and in a snapshot; erased from all of them (P6)."""
    reader = log.store.reader
    secretive = tuple(hidden(value) for value in CONTACT)
    log.versions(ME.create(CONTACT[::-1]), OTHER.create(secretive))

    def shown() -> list[list[str]]:
        with reader.snapshot() as view:
            by_snapshot = [
                record for record in view.records() if record.entry.startswith(b"\x08\x01")
            ]
        record = reader.get(Kind.HOLDER, ME.holder_id)
        batches = reader.batches_from(0, 100)
        assert record is not None
        return [
            [opening.value for opening in record.openings],
            *(
                [opening.value for each in records for opening in each.openings]
                for records in (
                    reader.list_holders(None, 10),
                    [logged for batch in batches for logged in batch.entries],
                    by_snapshot,
                )
            ),
        ]

    assert [[NAME.value, EMAIL.value]] * 4 == shown()
    log.versions(ME.update_contact(hidden(EMAIL)))
    assert [[NAME.value]] * 4 == shown()
    log.versions(ME.update_contact(*secretive))
    assert [[]] * 4 == shown()


def test_lists_are_read_in_pages(log: Log) -> None:
    """In the order of packed addresses; of one holder or of all; a page goes on after a key."""
    names = addresses(5)
    log.versions(ME.create(), OTHER.create())
    log.versions(*(ME.register(name) for name in reversed(names)), OTHER.register("198.18.0.9"))
    log.versions(OTHER.register("fd00::1"))
    reader = log.store.reader
    everything = [*names, "198.18.0.9", "fd00::1"]
    assert everything == _keys(reader.list_registrations(None, 100))
    assert names == _keys(reader.list_registrations(None, 100, ME.holder_id))
    assert everything[5:] == _keys(reader.list_registrations(None, 100, OTHER.holder_id))
    after = Address.parse(names[1]).packed
    assert names[2:4] == _keys(reader.list_registrations(after, 2, ME.holder_id))
    assert everything[2:] == _keys(reader.list_registrations(after, 100))
    holders = sorted([ME.holder_id, OTHER.holder_id])
    pages = [reader.list_holders(after, 1) for after in (None, holders[0], holders[1])]
    found = [[Entry.decode(record.entry).key for record in page] for page in pages]
    assert [[holders[0]], [holders[1]], []] == found


def test_a_snapshot_is_of_one_moment(log: Log) -> None:
    """Sorted by state key, complete, with what proves its head; commits go on meanwhile."""
    log.versions(ME.create(), *(ME.register(address) for address in addresses(130)))
    with log.store.reader.snapshot() as view:
        head = log.sequencer.head
        log.versions(ME.withdraw("198.18.0.5"), ME.register("198.19.0.1"))
        records = list(view.records())
        keys = [Entry.decode(record.entry).state_key for record in records]
        assert (head.size, head.root) == (view.head.size, view.head.root)
        verify_inclusion(
            head.size - 1, head.size, leaf_hash(view.state_entry), view.audit_path, head.root
        )
    assert sorted(keys) == keys
    assert 131 == len(records) == head.state.live_keys
    tree = StateTree.build(log.store.reader.slots())
    assert log.sequencer.head.state.state_root == tree.root


def test_a_record_is_the_newest_entry_of_its_key(log: Log) -> None:
    """With its index, which is the version in the receipt; none after its end."""
    key = Address.parse("198.18.0.1").packed
    log.versions(ME.create(), ME.register("198.18.0.1"))
    (version,) = log.versions(ME.update("198.18.0.1", "mx.example.org"))
    record = log.store.reader.get(Kind.REGISTRATION, key)
    assert record is not None
    assert version == record.index
    assert [record.entry] == log.store.reader.entries(version, 1)
    log.versions(ME.withdraw("198.18.0.1"))
    assert log.store.reader.get(Kind.REGISTRATION, key) is None


def test_two_primaries_that_race_never_make_a_fork(log: Log, tmp_path: Path) -> None:
    """One wins each race and goes on; the other stops for good, and its change never happened."""
    log.versions(ME.create())
    copy = tmp_path / "copy"
    copy.write_bytes(log.checkpoint_path.read_bytes())
    store = Store(log.url)
    other = log.other_sequencer(store, CheckpointFile(copy))
    barrier = threading.Barrier(2)

    def race(commit: Callable[[list[Change]], object], address: str) -> type | None:
        barrier.wait(10)
        try:
            commit([ME.register(address)])
        except (FencedError, SequencerStoppedError) as error:
            return type(error)
        return None

    with ThreadPoolExecutor(2) as pool:
        tasks = [
            pool.submit(race, log.sequencer.commit, "198.18.0.1"),
            pool.submit(race, other.commit, "198.18.0.2"),
        ]
        outcomes = [task.result(20) for task in tasks]
    other.close()
    store.close()
    assert [None, FencedError] == sorted(outcomes, key=lambda error: error is not None)
    winner = addresses(2, "198.18.0.1")[outcomes.index(None)]
    assert [winner] == _keys(log.store.reader.list_registrations(None, 10))


def test_readers_and_the_writer_do_not_wait_for_each_other(log: Log) -> None:
    """Reads in many threads during commits see whole batches only."""
    log.versions(ME.create())
    stop = threading.Event()

    def read() -> int:
        looks = 0
        while not stop.is_set():
            size = log.store.reader.head().size
            assert size <= len(log.store.reader.entries(0, 10_000))
            assert log.store.reader.root_at(size) is not None
            looks += 1
        return looks

    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(read) for _ in range(4)]
        try:
            for address in addresses(40):
                (part,) = log.sequencer.commit([ME.register(address)])
                assert not isinstance(part.outcomes[0], Problem)
        finally:
            stop.set()
        assert all(task.result(20) for task in tasks)
    log.catch_up()
