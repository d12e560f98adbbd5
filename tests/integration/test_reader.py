"""The reader on a real etcd: what it loads, follows, ignores, refuses and survives."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import pytest

from node.retry import Backoff
from registry.address import Address
from registry.entry import state_key
from registry.kinds import Kind
from secondary import reader
from secondary.dns.compiled.table import CompiledTable
from secondary.etcd import EtcdStore, Watch
from secondary.etcd_values import EtcdUnavailable, Reading
from secondary.reader import Reader
from secondary.reader_values import Source
from tests.support.boards import roots_of
from tests.support.etcd import EtcdProcess, running_etcd
from tests.support.log_builder import LogBuilder
from tests.support.replicas import LAYOUT, StoredLog, cursor_of
from tests.support.wait import wait_until

SECONDS = 20
NEVER_BY_ITSELF = 86400.0
FIRST, SECOND = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    """A fresh etcd."""
    with running_etcd(tmp_path) as process:
        yield process


class CuttableStore(EtcdStore):
    """A store that finds etcd away whenever it is cut."""

    cut = False
    # Watches that are begun now tell nothing.
    silent = False

    def get(self, key: bytes, revision: int = 0) -> Reading:
        self._check()
        return super().get(key, revision)

    def watch(self, prefix: bytes, from_revision: int) -> Watch:
        self._check()
        # etcd has never been so far.
        return super().watch(prefix, from_revision + 1_000_000 * self.silent)

    def _check(self) -> None:
        if self.cut:
            raise EtcdUnavailable("cut")


class Cluster:
    """A log in etcd and a reader of it; the reader starts with the block and ends with it."""

    def __init__(
        self,
        etcd: EtcdProcess,
        *,
        recheck_seconds: float = NEVER_BY_ITSELF,
        table_file: Path | None = None,
        pause_seconds: float = 0.0,
        extension_file: Path | None = None,
    ) -> None:
        self.etcd = etcd
        self.log = LogBuilder()
        self.log.put_holder()
        self.log.put_registration(FIRST)
        self.log.commit()
        self.store = EtcdStore([etcd.endpoint])
        self.stored = StoredLog(self.store, self.log)
        self.reader_store = CuttableStore([etcd.endpoint], call_seconds=2)
        self._recheck_seconds = recheck_seconds
        self._table_file = table_file
        self._extension_file = extension_file
        self._pause_seconds = pause_seconds
        self.reader = self.new_reader()

    def new_reader(self) -> Reader[CompiledTable]:
        """A reader that has loaded nothing yet."""
        source = Source(self.reader_store, LAYOUT, roots_of(self.log), self._extension_file)
        return Reader(
            source,
            CompiledTable,
            recheck_seconds=self._recheck_seconds,
            random=Random(1),
            table_file=self._table_file,
            pause_seconds=self._pause_seconds,
        )

    def restart(self) -> None:
        """Ends the reader and starts another."""
        self.reader.stop()
        self.reader = self.new_reader()
        self.reader.start()

    def __enter__(self) -> Self:
        self.reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.reader.stop()
        self.reader_store.close()
        self.store.close()

    @property
    def table(self) -> CompiledTable:
        assert self.reader.view is not None
        return self.reader.view

    @property
    def size(self) -> int:
        return 0 if self.reader.view is None else self.table.standing.position.checkpoint.size

    def wait_loaded(self) -> None:
        wait_until(lambda: self.reader.view, seconds=SECONDS, what="the reader has loaded")

    def wait_size(self) -> None:
        wait_until(
            lambda: self.size == self.log.size, seconds=SECONDS, what="the reader is up to date"
        )

    def register(self, address: Address) -> None:
        """Commits one registration and writes it to etcd."""
        self.log.put_registration(address)
        self.stored.apply(self.log.commit())

    def has(self, address: Address) -> bool:
        return self.table.find(address) is not None


@pytest.fixture(params=[0.0, 0.05], ids=["watched", "looked at"])
def cluster(etcd: EtcdProcess, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A loaded reader of a small log, which watches it, or looks at it from time to time."""
    with Cluster(etcd, pause_seconds=request.param) as cluster:
        cluster.stored.put_all()
        cluster.wait_loaded()
        yield cluster


def test_an_empty_etcd_is_waited_for(etcd: EtcdProcess) -> None:
    """P3: there is no view while there is nothing; when there is, it is loaded soon."""
    with Cluster(etcd) as cluster:
        assert cluster.reader.view is None

        cluster.stored.put_all()

        cluster.wait_size()
        assert cluster.has(FIRST)


def test_batches_are_followed(cluster: Cluster) -> None:
    """Puts and deletes come through the watch; nothing is loaded again."""
    for number in range(3, 9):
        cluster.register(Address(bytes([192, 0, 2, number])))
    cluster.log.delete(state_key(Kind.REGISTRATION, FIRST.packed))
    cluster.stored.apply(cluster.log.commit())

    cluster.wait_size()

    assert not cluster.has(FIRST)
    assert 6 == len(cluster.table)
    assert 1 == cluster.reader.counts.loads


def test_freshness_is_followed(cluster: Cluster) -> None:
    """P7: a newer cosignature at the same size moves the time the registry vouched."""
    cluster.stored.fresh_s = 1_900_000_000

    cluster.stored.put_cursor()

    wait_until(
        lambda: cluster.table.standing.vouched_s == cluster.stored.fresh_s,
        seconds=SECONDS,
        what="fresh",
    )


def test_a_change_without_the_cursor_is_ignored_counted_and_found_by_the_check(
    cluster: Cluster,
) -> None:
    """P2: a changed value in etcd is never served; the check tells, the last good view stays."""
    key = cluster.stored.generation.record(state_key(Kind.REGISTRATION, FIRST.packed))
    other = LogBuilder()
    other.put_registration(FIRST, host="forged.example.org")
    other.commit()
    (forged,) = other.records.values()
    cluster.store.txn([], [(key, forged.encode())])
    cluster.stored.put_cursor()
    wait_until(lambda: cluster.reader.strange_revisions == 1, seconds=SECONDS, what="counted")

    cluster.reader.request_check()

    wait_until(lambda: cluster.reader.counts.refused, seconds=SECONDS, what="refused")
    found = cluster.table.find(FIRST)
    assert found is not None
    assert "mail.example.org" == found.host


def test_a_removed_record_is_found_by_the_check(cluster: Cluster) -> None:
    """P2: a record that somebody deleted is still served, and missed by the check."""
    key = cluster.stored.generation.record(state_key(Kind.REGISTRATION, FIRST.packed))
    cluster.store.txn([], [], [key])

    cluster.reader.request_check()

    wait_until(lambda: cluster.reader.counts.refused, seconds=SECONDS, what="refused")
    assert cluster.has(FIRST)


def test_the_check_of_an_honest_replica_loads_and_goes_on(cluster: Cluster) -> None:
    """A check replaces the view by one that is as good, and following goes on."""
    cluster.reader.request_check()
    wait_until(lambda: cluster.reader.counts.loads == 2, seconds=SECONDS, what="checked")

    cluster.register(SECOND)

    cluster.wait_size()
    assert cluster.has(SECOND)
    assert (0, 0) == (cluster.reader.counts.refused, cluster.reader.counts.diverged)


def test_checks_come_by_themselves(etcd: EtcdProcess) -> None:
    """The replica is loaded and checked again after the time that was set."""
    with Cluster(etcd, recheck_seconds=0.2) as cluster:
        cluster.stored.put_all()

        wait_until(lambda: cluster.reader.counts.loads >= 3, seconds=SECONDS, what="checks")


def test_a_view_that_lost_something_is_found_and_replaced(cluster: Cluster) -> None:
    """What is served is compared with what etcd holds, and healed."""
    cluster.table.remove(state_key(Kind.REGISTRATION, FIRST.packed))

    cluster.reader.request_check()

    wait_until(lambda: cluster.reader.counts.loads == 2, seconds=SECONDS, what="checked")
    assert 1 == cluster.reader.counts.diverged
    assert cluster.has(FIRST)


def test_nothing_is_served_from_a_replica_that_does_not_add_up(etcd: EtcdProcess) -> None:
    """P2, P3: a first load that fails its check leaves the reader without a view."""
    with Cluster(etcd) as cluster:
        cluster.log.records.popitem()
        cluster.stored.put_all()

        wait_until(lambda: cluster.reader.counts.refused, seconds=SECONDS, what="refused")
        assert cluster.reader.view is None


def test_a_forged_cursor_does_not_stop_service(cluster: Cluster) -> None:
    """P2: a cursor of another log is refused; when the true one is back, following goes on."""
    other = LogBuilder("evil.example")
    other.fill(5)
    cluster.store.txn([], [(cluster.stored.generation.cursor, cursor_of(other))])
    wait_until(lambda: cluster.reader.counts.refused, seconds=SECONDS, what="refused")
    assert cluster.has(FIRST)

    cluster.register(SECOND)

    cluster.wait_size()
    assert cluster.has(SECOND)


def test_a_damaged_replica_is_left_as_soon_as_there_is_another(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the next try is put off, a new generation is loaded when it is there."""
    monkeypatch.setattr(reader, "POLL_SECONDS", 0.1)
    refused = Backoff(Random(1), 3600.0, 3600.0)
    monkeypatch.setattr(cluster.reader, "_refused_backoff", refused)
    cluster.store.txn([], [(cluster.stored.generation.cursor, b"\xff")])
    wait_until(lambda: cluster.reader.counts.refused >= 2, seconds=SECONDS, what="refused")

    cluster.stored = StoredLog(cluster.store, cluster.log, generation=2)
    cluster.log.put_registration(SECOND)
    cluster.log.commit()
    cluster.stored.put_all()

    cluster.wait_size()
    assert cluster.has(SECOND)


def test_a_flip_swaps_to_the_new_generation(cluster: Cluster) -> None:
    """Another generation is loaded and served; the old one's deletion empties nothing."""
    old = cluster.stored.generation
    cluster.log.fill(200)
    cluster.stored = StoredLog(cluster.store, cluster.log, generation=2)
    cluster.stored.put_all()
    wait_until(lambda: len(cluster.table) == 201, seconds=SECONDS, what="flipped")

    for _ in cluster.store.delete_prefix(old.prefix, step=50):
        assert 201 == len(cluster.table)
    cluster.register(SECOND)

    cluster.wait_size()
    assert 202 == len(cluster.table)
    assert 0 == cluster.reader.strange_revisions


def test_an_old_generation_deleted_before_the_new_one_is_loaded_empties_nothing(
    cluster: Cluster,
) -> None:
    """P3: flip and deletion in a row; the view is whole at every moment."""
    cluster.log.fill(60)
    stored = StoredLog(cluster.store, cluster.log, generation=2)
    stored.put_all()
    for _ in cluster.store.delete_prefix(cluster.stored.generation.prefix, step=1):
        assert cluster.has(FIRST)

    wait_until(lambda: len(cluster.table) == 61, seconds=SECONDS, what="flipped")


def test_service_goes_on_while_etcd_is_away(cluster: Cluster) -> None:
    """P3, P7: with etcd killed the view serves; when it is back, changes flow again."""
    cluster.etcd.kill()
    wait_until(lambda: cluster.reader.contact.is_away, seconds=SECONDS, what="noticed")
    assert cluster.has(FIRST)
    assert cluster.reader.contact.silence_seconds > 0

    cluster.etcd.start()
    cluster.register(SECOND)

    cluster.wait_size()
    assert cluster.has(SECOND)
    assert not cluster.reader.contact.is_away
    assert 1 == cluster.reader.counts.loads


def test_a_watch_whose_past_was_compacted_is_replaced_by_a_load(cluster: Cluster) -> None:
    """Changes that were compacted while the reader was cut off are loaded, not skipped."""
    cluster.reader_store.cut = True
    cluster.etcd.stop()
    cluster.etcd.start()
    cluster.register(SECOND)
    cluster.store.compact(cluster.store.get(LAYOUT.current).revision)
    assert not cluster.has(SECOND)

    cluster.reader_store.cut = False

    cluster.wait_size()
    assert cluster.has(SECOND)
    wait_until(lambda: cluster.reader.counts.loads == 2, seconds=SECONDS, what="loaded")


def test_a_watch_that_fell_silent_is_begun_anew(
    etcd: EtcdProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch that misses what etcd holds is noticed, and replaced without a load."""
    monkeypatch.setattr(reader, "POLL_SECONDS", 0.1)
    with Cluster(etcd) as cluster:
        cluster.reader_store.silent = True
        cluster.stored.put_all()
        cluster.wait_loaded()
        cluster.register(SECOND)
        wait_until(lambda: cluster.reader.revision_lag, seconds=SECONDS, what="noticed")

        cluster.reader_store.silent = False

        cluster.wait_size()
        assert 1 == cluster.reader.counts.loads


def test_another_database_in_the_same_place_is_loaded(cluster: Cluster, tmp_path: Path) -> None:
    """Revisions of one etcd mean nothing in another: its replica is loaded from the start."""
    cluster.etcd.stop()
    shutil.rmtree(tmp_path / "etcd")
    cluster.etcd.start()
    cluster.log.put_registration(SECOND)
    cluster.log.commit()
    for _ in range(20):
        cluster.store.txn([], [(b"/other", b"x")])

    cluster.stored.put_all()

    cluster.wait_size()
    assert cluster.has(SECOND)


def test_a_replica_older_than_what_is_served_waits_until_it_has_caught_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica put back to an old state is not served before it is as far as the view."""
    monkeypatch.setattr(reader, "BEHIND_SECONDS", 0.1)
    cluster.register(SECOND)
    cluster.wait_size()
    cluster.log = LogBuilder()
    cluster.log.put_holder()
    cluster.log.put_registration(FIRST)
    cluster.log.commit()
    cluster.stored = StoredLog(cluster.store, cluster.log, generation=2)
    cluster.stored.put_all()
    wait_until(lambda: cluster.reader.counts.behind, seconds=SECONDS, what="found to be older")
    assert cluster.has(SECOND)

    cluster.register(SECOND)

    wait_until(lambda: cluster.reader.counts.loads == 2, seconds=SECONDS, what="taken over")
    assert cluster.has(SECOND)


def test_another_log_in_etcd_is_not_taken(cluster: Cluster) -> None:
    """P5: a replica of a fork is refused; what was served before is served still."""
    fork = LogBuilder()
    fork.put_holder()
    fork.put_registration(SECOND)
    fork.commit()

    StoredLog(cluster.store, fork, generation=2).put_all()

    wait_until(lambda: cluster.reader.counts.refused, seconds=SECONDS, what="refused")
    assert cluster.has(FIRST)
    assert not cluster.has(SECOND)
