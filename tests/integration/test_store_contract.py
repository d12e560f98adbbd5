"""What the store promises of its tables, on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from random import Random

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, text

from primary.clock import clock_ms
from primary.desk.book import Book
from primary.membership.roll import Roll
from primary.registering.judging import Subject
from primary.registering.schedule import Trial
from primary.registering.standing import Standing
from primary.store.database import Database
from primary.store.errors import FencedError, SchemaError, StoreUnavailableError
from primary.store.schema import metadata, records
from primary.store.store import Store
from primary.store.values import BoundaryRow, CommitRows, ReceiptRow, StoredHead, Wanted
from registry.address import Address
from registry.entry import state_key
from registry.kinds import Kind
from registry.merkle import EMPTY_ROOT, CompactRange, leaf_hash
from registry.state import State
from tests.support.sequencing import Person

ME = Person("me")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An empty log's tables."""
    store = Store(database_url)
    store.migrate()
    yield store
    store.close()


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


def _look(url: str, address: Address, verified_ms: int) -> None:
    with closing(Book(url)) as book:
        book.standings.put(_standing(address, verified_ms))


def _standing(address: Address, verified_ms: int, holder_id: bytes = bytes(16)) -> Standing:
    subject = Subject(holder_id, address, "mail.example.org", "example.org")
    return Standing(subject, "", Trial.passed(1, Random(0)), verified_ms=verified_ms)


def _entry(index: int) -> bytes:
    return f"entry {index}".encode()


def _append(store: Store, before: StoredHead, entries: int) -> StoredHead:
    after = _moved(before, entries)
    rows = CommitRows(
        boundaries=[BoundaryRow(after.size, before.size, after.root, after.committed_ms)],
        entries=[(before.size + at, _entry(before.size + at)) for at in range(entries)],
    )
    with store.writer.transaction() as transaction:
        transaction.append(before, after, rows)
    return after


def test_migrating_makes_the_tables_that_the_program_means(database_url: str) -> None:
    """Neither more nor less; twice is as good as once."""
    store = Store(database_url)
    store.migrate()
    store.migrate()
    store.check_schema()
    store.close()
    database = Database(database_url)
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [] == compare_metadata(context, metadata)
    database.close()


def test_nodes_from_before_the_roll_are_taken_in_for_a_while(
    store: Store, database_url: str
) -> None:
    """A registry that had entries when it got its roll; a new one knows all its nodes."""

    def adopts() -> bool:
        with closing(Roll(database_url)) as roll:
            return roll.edition().adopt_until_ms > clock_ms()

    assert not adopts()
    _append(store, store.reader.head(), 1)
    store.close()
    upgrade = importlib.import_module("primary.store.migrations.versions.0003_nodes").upgrade
    with closing(Database(database_url)) as database, database.writing() as connection:
        for table in ("nodes", "join_tokens", "membership"):
            connection.execute(text(f"DROP TABLE {table}"))
        with Operations.context(MigrationContext.configure(connection)):
            upgrade()
    assert adopts()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM alembic_version", "is empty"),
        ("UPDATE alembic_version SET version_num = 'later'", "newer than this program"),
    ],
)
def test_another_schema_is_refused(
    store: Store, database_url: str, statement: str, message: str
) -> None:
    """With a word on what to do."""
    store.check_schema()
    _execute(database_url, statement)
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


def test_the_last_look_is_read_of_one_holders_mail_server(store: Store, database_url: str) -> None:
    """As the standing has it; nothing is known of what has none, or is another holder's."""
    address = Address.parse("192.0.2.36")
    _look(database_url, address, 2**41)

    assert store.reader.verified_ms(address, bytes(16)) == 2**41
    assert store.reader.verified_ms(address, bytes(15) + b"x") == 0
    assert store.reader.verified_ms(Address.parse("2001:db8::36"), bytes(16)) == 0


def test_what_nobody_looks_at_is_found_and_taken_in_once(store: Store, database_url: str) -> None:
    """By the address's bytes, a part at a time; a look at it for another holder is none."""
    spelled = ("2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3")
    first, second, third, last = addresses = [Address.parse(text) for text in spelled]
    rows: list[dict[str, bytes | None]] = [
        {"state_key": state_key(Kind.REGISTRATION, one.packed), "holder_id": bytes(16)}
        for one in addresses
    ]
    rows.append({"state_key": state_key(Kind.HOLDER, bytes(16)), "holder_id": None})
    with closing(Database(database_url)) as database, database.writing() as connection:
        connection.execute(insert(records).values(log_index=0, leaf_hash=bytes(32)), rows)
    _look(database_url, second, 7)
    with closing(Book(database_url)) as book:
        book.standings.put(_standing(third, 0, bytes(15) + b"o"))
        watched, adopt = book.standings.watched, book.standings.adopt
        assert [(first, False), (second, True), (third, False)] == watched(None, 3)
        assert [(last, False)] == watched(third, 3)
        assert [] == watched(last, 3)
        assert [3, 0] == [adopt([_standing(one, 0) for one in addresses]) for _ in range(2)]
        assert [(one, True) for one in addresses] == watched(None, 9)
    assert store.reader.verified_ms(second, bytes(16)) == 7


def test_the_newest_look_is_read_though_the_server_closed_what_was_kept_open(
    store: Store, database_url: str
) -> None:
    """Each read sees what was committed before it; a server that was started again is no error."""
    address = Address.parse("192.0.2.36")
    for verified_ms in (1, 2):
        _look(database_url, address, verified_ms)
        assert store.reader.verified_ms(address, bytes(16)) == verified_ms
    if database_url.startswith("postgresql"):
        _execute(
            database_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
    _look(database_url, address, 3)
    assert store.reader.verified_ms(address, bytes(16)) == 3


def test_many_threads_read_looks_at_once(store: Store, database_url: str) -> None:
    """Each has its own answer."""
    addresses = [Address(bytes((192, 0, 2, number))) for number in range(16)]
    for number, address in enumerate(addresses):
        _look(database_url, address, number + 1)

    def read(number: int) -> bool:
        return store.reader.verified_ms(addresses[number % 16], bytes(16)) == number % 16 + 1

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(2000)))


def test_a_head_that_moved_fences_the_writer(store: Store, database_url: str) -> None:
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


def test_of_two_writers_at_once_one_is_fenced(store: Store, database_url: str) -> None:
    """However their transactions meet, exactly one moves the head."""
    head = store.reader.head()
    others = [Store(database_url) for _ in range(4)]
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
            transaction.append(before, _moved(before, 1), CommitRows(entries=[(0, b"x")]))
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
        transaction.append(before, _moved(before, 1), CommitRows(entries=[(0, b"other")]))
    assert before == store.reader.head()
    assert [_entry(0)] == store.reader.entries(0, 10)


def test_receipts_are_kept_found_and_pruned_in_steps(store: Store) -> None:
    """The oldest first; also when the log does not grow."""
    head = store.reader.head()
    receipts = [ReceiptRow(bytes([n]) * 16, bytes(32), n, 1000 + n) for n in range(10)]
    with store.writer.transaction() as transaction:
        transaction.append(head, head, CommitRows(receipts=receipts))
    with store.writer.transaction() as transaction:
        assert 3 == transaction.prune_receipts(1005, 3)
        assert 2 == transaction.prune_receipts(1005, 3)
        assert 0 == transaction.prune_receipts(1005, 3)
        wanted = Wanted((), (), (), tuple(row.idempotency_key for row in receipts))
        found = transaction.current(wanted).receipts
    assert {row.idempotency_key: row for row in receipts[5:]} == found
