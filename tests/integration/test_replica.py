"""The replica in etcd: batches whole or not at all, fenced, checked, and made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.address import Address
from registry.batch import Record
from registry.errors import ForkError, SequenceError, StateMismatchError
from registry.kinds import Kind
from registry.proof import Lookup, verify_lookup
from registry.snapshot import SnapshotHeader
from secondary.bootstrap import Bootstrap
from secondary.cursor import Cursor
from secondary.etcd import EtcdStore
from secondary.etcd_values import EtcdUnavailable, FenceLost
from secondary.generations import Generations
from secondary.layout import Generation
from secondary.replica import Replica, ReplicaDamagedError, read_replica
from secondary.replica_opening import Opened, ReplicaOpener
from tests.support.boards import roots_of
from tests.support.etcd import EtcdProcess, running_etcd
from tests.support.log_builder import LogBuilder
from tests.support.replicas import LAYOUT, StoredLog


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    """One etcd for the tests that leave it as it was."""
    with running_etcd(tmp_path_factory.mktemp("etcd")) as process:
        yield process


@pytest.fixture
def store(etcd: EtcdProcess) -> Iterator[EtcdStore]:
    """A store without a replica."""
    store = EtcdStore([etcd.endpoint])
    yield store
    for _ in store.delete_prefix(LAYOUT.all):
        pass
    store.close()


@pytest.fixture
def log() -> LogBuilder:
    """A log of a holder with a public contact, and five registrations."""
    log = LogBuilder()
    log.put_holder()
    log.commit()
    log.fill(5)
    return log


def open_replica(store: EtcdStore, log: LogBuilder) -> Opened:
    """What a follower that has just started holds."""
    return ReplicaOpener(store, Generations(store, LAYOUT), roots_of(log)).open()


def stored_replica(store: EtcdStore, log: LogBuilder) -> Replica:
    """The log in etcd, opened."""
    StoredLog(store, log).put_all()
    return open_replica(store, log).replica


def contents(store: EtcdStore, generation: Generation) -> dict[bytes, bytes]:
    """Every key of a generation but the cursor."""
    return {
        key: value
        for page in store.range_pages(generation.prefix)
        for key, value in page
        if key not in (generation.cursor, generation.claim)
    }


def expected(log: LogBuilder, generation: Generation) -> dict[bytes, bytes]:
    """What the generation has to hold at the end of the log."""
    found = {}
    for key, record in log.records.items():
        found[generation.record(key)] = Record(record.index, record.entry).encode()
        if record.openings:
            found[generation.openings(key)] = Record(0, b"", record.openings).encode()
    return found


def follow(replica: Replica, log: LogBuilder) -> None:
    """Apply what the log has and the replica lacks."""
    for batch in log.batches:
        if batch.start >= replica.size:
            verified = replica.verify(batch)
            replica.apply(verified)
            replica.advance(verified)


def follow_after_loss(replica: Replica, log: LogBuilder) -> None:
    """Apply the rest of the log, which another follower may have done already."""
    replica.catch_up()
    follow(replica, log)


def load(
    store: EtcdStore,
    log: LogBuilder,
    directory: Path,
    data: bytes | None = None,
    check: Callable[[SnapshotHeader], None] = lambda _: None,
) -> Replica:
    """The replica that a snapshot file makes: the log's, or any other bytes."""
    path = directory / "file.snapshot"
    path.write_bytes(log.snapshot() if data is None else data)
    return Bootstrap(store, Generations(store, LAYOUT), roots_of(log)).load(path, check)


def test_batches_arrive_whole_in_one_revision(store: EtcdStore, log: LogBuilder) -> None:
    """Records, openings and the cursor of a batch change at one revision, deletes included."""
    replica = stored_replica(store, log)
    start = store.get(LAYOUT.current).revision + 1
    log.delete(log.put_holder(bytes(16)))
    log.put_registration("192.0.2.1")
    log.delete(log.put_registration("198.18.0.1"))
    log.commit()
    follow(replica, log)
    assert contents(store, replica.generation) == expected(log, replica.generation)
    with store.watch(replica.generation.prefix, start) as watch:
        revision = next(iter(watch))
    assert replica.generation.cursor in {event.key for event in revision.events}
    reading = store.get(replica.generation.cursor)
    assert reading.mod_revision == reading.revision == revision.number
    assert Cursor.decode(reading.value or b"").open(log.verifier).checkpoint.root == log.root


def test_erased_openings_are_deleted(store: EtcdStore, log: LogBuilder) -> None:
    """A holder that withdraws its consent leaves no opening in etcd (P6)."""
    replica = stored_replica(store, log)
    key = log.put_holder(public={})
    log.commit()
    follow(replica, log)
    assert store.get(replica.generation.openings(key)).value is None
    assert store.get(replica.generation.record(key)).value is not None


def test_a_restart_finds_what_was_applied(store: EtcdStore, log: LogBuilder) -> None:
    """Opened again, a replica is where it was, and goes on."""
    follow(stored_replica(store, log), log)
    log.fill(70)
    opened = open_replica(store, log)
    assert opened.pending is None
    follow(opened.replica, log)
    assert opened.replica.root == log.root
    assert open_replica(store, log).replica.size == log.size


def test_an_empty_replica_is_served_from_its_first_batch(store: EtcdStore, log: LogBuilder) -> None:
    """A new replica is a claimed generation that nobody reads, until there is something in it."""
    opened = open_replica(store, log)
    assert opened.pending is not None
    assert not opened.pending.is_due(opened.replica.size)
    follow(opened.replica, log)
    assert store.get(LAYOUT.current).value is None
    assert opened.pending.is_due(opened.replica.size)
    Generations(store, LAYOUT).flip(opened.pending.claim, opened.pending.served)
    assert store.get(LAYOUT.current).value == b"1"
    assert store.get(opened.replica.generation.claim).value is None


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "moved", "cursor"])
def test_damage_is_noticed_and_made_good(store: EtcdStore, log: LogBuilder, damage: str) -> None:
    """Whatever was changed in etcd behind the follower's back, it makes another generation (P2)."""
    replica = stored_replica(store, log)
    generation = replica.generation
    key, other = (generation.record(key) for key in sorted(log.records)[1:3])
    value = store.get(key).value or b""
    puts, deletes = {
        "changed": ([(key, value[:-1] + bytes([value[-1] ^ 1]))], []),
        "missing": ([], [key]),
        "added": ([(generation.record(b"\2\1\2\3\4"), value)], []),
        "moved": ([(other, value)], [key]),
        "cursor": ([(generation.cursor, b"?")], []),
    }[damage]
    store.txn([], puts, deletes)
    with pytest.raises(ReplicaDamagedError):
        read_replica(store, generation, roots_of(log))
    opened = open_replica(store, log)
    assert opened.replica.size == 0
    assert opened.replica.generation.number == 2
    assert store.get(LAYOUT.current).value == b"1"
    follow(opened.replica, log)
    assert opened.pending is not None
    assert opened.pending.goal == (0 if damage == "cursor" else log.size)
    assert contents(store, opened.replica.generation) == expected(log, opened.replica.generation)


def test_what_is_made_anew_must_be_the_same_log(store: EtcdStore, log: LogBuilder) -> None:
    """A damaged replica's cursor is still proof: another log of that size is a fork (P5)."""
    replica = stored_replica(store, log)
    store.txn([], [], [replica.generation.record(next(iter(log.records)))])
    opened = open_replica(store, log)
    forked = LogBuilder()
    forked.put_holder(bytes(16))
    forked.commit()
    forked.fill(5)
    for batch in forked.batches[:-1]:
        verified = opened.replica.verify(batch)
        opened.check(verified)
        opened.replica.advance(verified)
    with pytest.raises(ForkError):
        opened.check(opened.replica.verify(forked.batches[-1]))


def test_two_followers_of_one_replica(store: EtcdStore, log: LogBuilder) -> None:
    """The slower one loses its fence, learns where the other is, and can take over from there."""
    first = stored_replica(store, log)
    second = open_replica(store, log).replica
    log.fill(130)
    follow(first, log)
    batches = [batch for batch in log.batches if batch.start >= second.size]
    with pytest.raises(FenceLost):
        second.apply(second.verify(batches[0]))
    second.catch_up()
    follow(second, log)
    assert second.root == first.root
    log.fill(3)
    follow(second, log)
    follow_after_loss(first, log)
    assert first.root == log.root
    assert contents(store, second.generation) == expected(log, second.generation)


def test_two_followers_that_write_the_same(store: EtcdStore, log: LogBuilder) -> None:
    """Whoever writes the same batch second finds it there, and goes on."""
    first = stored_replica(store, log)
    second = open_replica(store, log).replica
    log.fill(1)
    follow(first, log)
    follow(second, log)
    assert first.root == second.root == log.root


def test_an_attempt_with_an_unknown_end(store: EtcdStore, log: LogBuilder) -> None:
    """A batch that was stored although the answer was lost is not stored twice, nor refused."""
    replica = stored_replica(store, log)
    log.fill(1)
    verified = replica.verify(log.batches[-1])
    before = replica.stored
    replica.apply(verified)
    revision = store.get(replica.generation.cursor).mod_revision
    replica._stored = before
    replica.apply(verified)
    assert store.get(replica.generation.cursor).mod_revision == revision


def test_freshness_is_kept_beside_the_position(store: EtcdStore, log: LogBuilder) -> None:
    """A freshness note replaces the one before, and stays when a batch comes."""
    replica = stored_replica(store, log)
    replica.freshen(log.freshness(1_700_000_100))
    newest = log.freshness(1_700_000_200)
    replica.freshen(newest)
    revision = store.get(replica.generation.cursor).mod_revision
    replica.freshen(newest)
    assert store.get(replica.generation.cursor).mod_revision == revision
    log.fill(1)
    follow(replica, log)
    cursor = Cursor.decode(store.get(replica.generation.cursor).value or b"")
    assert cursor.freshness == newest


def test_a_flip_fences_the_generation_before(store: EtcdStore, log: LogBuilder) -> None:
    """Once another generation is current, nothing is written to the old one."""
    replica = stored_replica(store, log)
    store.txn([], [(LAYOUT.current, b"7")])
    log.fill(1)
    with pytest.raises(FenceLost):
        replica.apply(replica.verify(log.batches[-1]))
    with pytest.raises(FenceLost):
        replica.catch_up()


def test_proofs_hold(store: EtcdStore, log: LogBuilder) -> None:
    """What a replica proves of a key, present or absent, convinces who knows the log's key."""
    replica = stored_replica(store, log)
    for key in [*log.records, bytes([Kind.REGISTRATION]) + bytes(4)]:
        proved = replica.prove(key)
        assert proved is not None
        record = log.records.get(key)
        path = () if record is None else log.audit_path(record.index)
        lookup = Lookup(proved.signed_state, proved.proof, record, path)
        assert verify_lookup(lookup, log.verifier, key).record == record
        assert (proved.location is None) == (record is None)


class TestSnapshot:
    """Loading a snapshot beside what is served."""

    def test_it_replaces_what_was_served(
        self, store: EtcdStore, log: LogBuilder, tmp_path: Path
    ) -> None:
        """A new generation with all of it, checked from etcd, then current; the old one stays."""
        old = stored_replica(store, log)
        log.fill(200)
        replica = load(store, log, tmp_path)
        assert replica.generation.number == 2
        assert store.get(LAYOUT.current).value == b"2"
        assert contents(store, replica.generation) == expected(log, replica.generation)
        assert contents(store, old.generation)
        log.fill(1)
        follow(replica, log)
        assert open_replica(store, log).replica.root == log.root

    def test_a_false_record_is_never_served(
        self, store: EtcdStore, log: LogBuilder, tmp_path: Path
    ) -> None:
        """Well-formed records that are not what was signed: found from etcd, before the flip."""
        stored_replica(store, log)
        liar = LogBuilder()
        liar.put_holder()
        liar.commit()
        liar.fill(5, first=Address.parse("198.19.0.0"))
        liar.snapshot_header = log.snapshot_header  # type: ignore[method-assign]
        with pytest.raises(ReplicaDamagedError):
            load(store, log, tmp_path, liar.snapshot())
        assert store.get(LAYOUT.current).value == b"1"
        assert [g.number for g in Generations(store, LAYOUT).leftovers()] == [2]

    def test_a_refused_header_writes_nothing(
        self, store: EtcdStore, log: LogBuilder, tmp_path: Path
    ) -> None:
        """The caller sees the header first, and may refuse it."""

        def refuse(_: SnapshotHeader) -> None:
            raise SequenceError("too old")

        with pytest.raises(SequenceError):
            load(store, log, tmp_path, check=refuse)
        assert not list(store.keys(LAYOUT.all))

    def test_a_wrong_count_is_refused(
        self, store: EtcdStore, log: LogBuilder, tmp_path: Path
    ) -> None:
        """A header that does not hold is refused before anything is written."""
        header = log.snapshot_header()
        log.snapshot_header = lambda: SnapshotHeader(  # type: ignore[method-assign]
            header.signed_state, header.compact_range, header.records - 1
        )
        with pytest.raises(StateMismatchError):
            load(store, log, tmp_path)
        assert not list(store.keys(LAYOUT.all))

    def test_leftovers_are_deleted_and_nothing_else(
        self, store: EtcdStore, log: LogBuilder, tmp_path: Path
    ) -> None:
        """Old generations go; the current one and one that is being made stay."""
        stored_replica(store, log)
        generations = Generations(store, LAYOUT)
        current = load(store, log, tmp_path).generation
        claim = generations.claim()
        assert [g.number for g in generations.leftovers()] == [1]
        for generation in (*generations.leftovers(), current):
            assert sum(generations.delete(generation)) == (
                0 if generation == current else len(log.records) + 2
            )
        with pytest.raises(FenceLost):
            list(generations.delete(claim.generation))
        generations.give_up(claim)
        assert generations.leftovers() == []
        assert contents(store, current) == expected(log, current)


def test_etcd_away_in_the_middle(tmp_path: Path, log: LogBuilder) -> None:
    """Without etcd a batch is not applied; with etcd back the same replica goes on."""
    with running_etcd(tmp_path) as etcd:
        store = EtcdStore([etcd.endpoint], call_seconds=1)
        replica = stored_replica(store, log)
        log.fill(1)
        verified = replica.verify(log.batches[-1])
        etcd.kill()
        with pytest.raises(EtcdUnavailable):
            replica.apply(verified)
        etcd.start()
        replica.apply(verified)
        replica.advance(verified)
        assert contents(store, replica.generation) == expected(log, replica.generation)
        store.close()
