"""What a log in the store promises, on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import insert

from primary.changes import Change, WithdrawHolder
from primary.checkpoint_file import CheckpointFile
from primary.sequencer import RECEIPT_MS, SequencerStoppedError
from primary.store.database import Database
from primary.store.errors import FencedError
from primary.store.schema import entries
from primary.store.store import Store
from registry.address import Address
from registry.batch import Record
from registry.entry import Entry
from registry.errors import Problem
from registry.kinds import Kind
from registry.merkle import CompactRange, leaf_hash, verify_inclusion
from registry.state_tree import StateTree
from registry.statistics import DAY_MS, Totals, history, tally_log
from tests.support.sequencing import (
    CONTACT,
    EMAIL,
    NAME,
    OTHER_TELEPHONE,
    Log,
    Person,
    addresses,
    hidden,
    new_log,
)

ME, OTHER = Person("me"), Person("other")


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[Log]:
    """An open log."""
    log = new_log(tmp_path, database_url)
    yield log
    log.close()


def _keys(records: list[Record]) -> list[str]:
    return [str(Address(Entry.decode(record.entry).key)) for record in records]


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


def test_statistics_are_what_a_replay_counts(log: Log, database_url: str) -> None:
    """Each commit adds to them; counted anew from the log's entries they are the same."""
    far = Person("far", host="mail.example.net", domain="example.net")
    log.versions(ME.create(), far.create(), *map(ME.register, addresses(70)))
    log.now_ms += DAY_MS
    log.versions(
        far.register("2001:db8::24"),
        ME.withdraw("198.18.0.3"),
        ME.register("198.18.0.3"),
        ME.withdraw("198.18.0.4"),
        # It comes and goes within one commit.
        far.register("198.18.9.9"),
        far.withdraw("198.18.9.9"),
    )
    log.versions(far.withdraw("2001:db8::24"))

    reader = log.store.reader
    logged = reader.entries(0, log.sequencer.head.size)
    stored, counted = history(reader.days()), history(tally_log(logged).changes)
    assert [replace(day, domains=0) for day in counted[:-1]] == [
        replace(day, domains=0) for day in stored[:-1]
    ]
    assert counted[-1] == stored[-1]
    assert [1, 1] == [day.domains for day in stored]
    assert (70, 3) == (stored[0].registered, stored[1].registered)
    assert Totals(new=69) == stored[-1].totals
    assert (69, 0) == tuple(map(reader.domain_registrations, ("example.org", "example.net")))


def test_a_database_without_statistics_is_counted_when_it_is_migrated(
    log: Log, tmp_path: Path
) -> None:
    """Nothing that happened before is missing."""
    log.versions(ME.create(), *map(ME.register, addresses(5)))
    log.versions(ME.withdraw("198.18.0.3"))
    rows = enumerate(log.store.reader.entries(0, log.sequencer.head.size))
    url = f"sqlite:///{tmp_path / 'older.sqlite3'}"
    config, database = Config(), Database(url)
    config.set_main_option("script_location", "primary.store:migrations")
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        connection.execute(
            insert(entries), [{"log_index": index, "entry": entry} for index, entry in rows]
        )
    database.close()
    store = Store(url)
    store.migrate()

    assert history(log.store.reader.days()) == history(store.reader.days())
    assert 4 == store.reader.domain_registrations("example.org")
    store.close()


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
