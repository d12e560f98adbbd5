"""What the store promises, on a real etcd."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from secondary.etcd import EtcdStore
from secondary.etcd_values import (
    EtcdCompacted,
    EtcdFull,
    EtcdRefused,
    EtcdUnavailable,
    Event,
    FenceLost,
    Holds,
    Revision,
    Unchanged,
)
from tests.support.etcd import FILLING_BYTES, EtcdProcess, running_etcd
from tests.support.wait import wait_until


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    """One etcd for the tests that leave it as it was."""
    with running_etcd(tmp_path_factory.mktemp("etcd")) as process:
        yield process


@pytest.fixture
def store(etcd: EtcdProcess) -> Iterator[EtcdStore]:
    """A store without keys."""
    store = EtcdStore([etcd.endpoint])
    yield store
    for _ in store.delete_prefix(b"/t/"):
        pass
    store.close()


def numbered(count: int, value: bytes = b"v") -> list[tuple[bytes, bytes]]:
    """That many keys, in order, the digits unevenly spread."""
    return [(b"/t/%08x" % (number * number), value) for number in range(count)]


def test_get_tells_absence_from_presence(store: EtcdStore) -> None:
    """An absent key has no value and revision 0; a present one has both, also in the past."""
    assert (None, 0) == store.get(b"/t/a")[1:]
    first = store.txn([], [(b"/t/a", b"1")])
    second = store.txn([], [(b"/t/a", b"2")])
    assert (second, b"2", second) == store.get(b"/t/a")
    assert (b"1", first) == store.get(b"/t/a", first)[1:]


@pytest.mark.parametrize("page", [1, 7, 100, 10_000])
def test_pages_hold_every_key_once_and_in_order(store: EtcdStore, page: int) -> None:
    """However the keys are spread, and whatever the size of a page, which is never exceeded."""
    puts = numbered(250)
    store.put_all(puts)
    pages = list(store.range_pages(b"/t/", page=page))
    assert puts == [pair for found in pages for pair in found]
    assert max(len(found) for found in pages) <= page


def test_pages_are_of_one_revision(store: EtcdStore) -> None:
    """What changes while the pages are read is not in them."""
    store.put_all(numbered(100))
    pages = store.range_pages(b"/t/", page=10)
    first = next(pages)
    store.put_all(numbered(100, b"new"))
    assert {b"v"} == {value for found in [first, *pages] for _, value in found}


def test_a_transaction_is_one_revision(store: EtcdStore) -> None:
    """Puts and deletes of a transaction happen at the revision that it returns."""
    store.txn([], [(b"/t/a", b"1"), (b"/t/b", b"1")])
    revision = store.txn([], [(b"/t/b", b"2"), (b"/t/c", b"2")], [b"/t/a"])
    found = [pair for page in store.range_pages(b"/t/") for pair in page]
    assert [(b"/t/b", b"2"), (b"/t/c", b"2")] == found
    assert [(revision, value, revision) for _, value in found] == [store.get(k) for k, _ in found]


def test_comparisons_fence(store: EtcdStore) -> None:
    """A comparison that does not hold raises FenceLost, and nothing is changed."""
    revision = store.txn([Unchanged(b"/t/a", 0)], [(b"/t/a", b"1")])
    for comparison in (Unchanged(b"/t/a", 0), Unchanged(b"/t/a", revision - 1)):
        with pytest.raises(FenceLost):
            store.txn([comparison], [(b"/t/a", b"2")])
    with pytest.raises(FenceLost):
        store.txn([Holds(b"/t/a", b"2")], [(b"/t/a", b"3")])
    assert store.get(b"/t/a").value == b"1"
    store.txn([Unchanged(b"/t/a", revision), Holds(b"/t/a", b"1")], [(b"/t/a", b"2")])


def test_bulk_puts_are_fenced(store: EtcdStore) -> None:
    """A guard that breaks ends a bulk put."""
    store.txn([], [(b"/t/claim", b"mine")])
    assert store.put_all(numbered(300), [Holds(b"/t/claim", b"mine")]) == 300
    with pytest.raises(FenceLost):
        store.put_all(numbered(300), [Holds(b"/t/claim", b"theirs")])


def test_watch_groups_by_revision(store: EtcdStore) -> None:
    """Each transaction comes as one revision, deletes without a value, from the start asked for."""
    first = store.txn([], [(b"/t/a", b"1"), (b"/t/b", b"2")])
    store.txn([], [(b"/other", b"x")])
    second = store.txn([], [(b"/t/b", b"3")], [b"/t/a"])
    with store.watch(b"/t/", first) as watch:
        revisions = iter(watch)
        assert Revision(first, (Event(b"/t/a", b"1"), Event(b"/t/b", b"2"))) == next(revisions)
        found = next(revisions)
        assert second == found.number
        assert {Event(b"/t/a", None), Event(b"/t/b", b"3")} == set(found.events)
        third = store.txn([], [(b"/t/c", b"4")])
        assert Revision(third, (Event(b"/t/c", b"4"),)) == next(revisions)


def test_watch_catches_up_beyond_one_message(store: EtcdStore) -> None:
    """20 MB of revisions arrive whole, each as one."""
    value = bytes(10_000)
    start = store.get(b"/t/").revision + 1
    for first in range(0, 2_000, 100):
        store.txn([], [(b"/t/%04d" % number, value) for number in range(first, first + 100)])
    with store.watch(b"/t/", start) as watch:
        counts = [len(revision.events) for revision in islice(watch, 20)]
    assert [100] * 20 == counts


def test_a_cancelled_watch_ends(store: EtcdStore) -> None:
    """Cancelling from another thread ends the iteration without an error."""
    seen: list[Revision] = []
    watch = store.watch(b"/t/", store.get(b"/t/").revision + 1)
    thread = threading.Thread(target=lambda: seen.extend(watch))
    thread.start()
    store.txn([], [(b"/t/a", b"1")])
    wait_until(lambda: seen, seconds=10, what="the watch reports")
    watch.cancel()
    thread.join(10)
    assert not thread.is_alive()


def test_compacted_revisions(store: EtcdStore) -> None:
    """Reading or watching what was compacted, or what never was, says: load again."""
    old = store.txn([], [(b"/t/a", b"1")])
    new = store.txn([], [(b"/t/a", b"2")])
    store.compact(new)
    for revision in (old, new + 1_000):
        with pytest.raises(EtcdCompacted):
            store.get(b"/t/a", revision)
        with pytest.raises(EtcdCompacted):
            list(store.range_pages(b"/t/", revision))
    with store.watch(b"/t/", old) as watch, pytest.raises(EtcdCompacted):
        next(iter(watch))


def test_leases(store: EtcdStore) -> None:
    """A key bound to a lease goes with it, and a lease that has ended cannot be kept."""
    lease = store.grant_lease(60)
    store.txn([], [(b"/t/a", b"1")], lease=lease)
    store.keep_lease(lease)
    store.revoke_lease(lease)
    assert store.get(b"/t/a").value is None
    with pytest.raises(FenceLost):
        store.keep_lease(lease)


def test_limits_are_those_assumed(store: EtcdStore) -> None:
    """etcd's defaults take 128 operations and 1.5 MB, and not much more."""
    store.probe_limits(b"/t/probe", 128, 1_500_000)
    for operations, size in ((129, 1_000), (128, 1_700_000)):
        with pytest.raises(EtcdRefused):
            store.probe_limits(b"/t/probe", operations, size)
    assert not list(store.range_pages(b"/t/probe"))


def test_status(store: EtcdStore) -> None:
    """Version, cluster and size of a healthy etcd."""
    status = store.status()
    assert status.version.startswith("3.")
    assert status.has_leader
    assert status.cluster_id
    assert status.db_bytes >= status.db_bytes_in_use > 0
    assert status.alarms == ()


def test_a_full_etcd_says_so(tmp_path: Path) -> None:
    """Beyond its quota etcd takes no puts; the store tells that from being away."""
    with running_etcd(tmp_path, "--quota-backend-bytes", str(16 << 20)) as etcd:
        store = EtcdStore([etcd.endpoint])
        etcd.fill(b"/t/a")
        with pytest.raises(EtcdFull):
            store.txn([], [(b"/t/a", b"v")])
        assert "NOSPACE" in store.status().alarms
        assert store.get(b"/t/a").value == bytes(FILLING_BYTES)
        store.close()


def test_etcd_away_and_back(tmp_path: Path) -> None:
    """Killed: every call and watch says so at once; back: the same store goes on."""
    with running_etcd(tmp_path) as etcd:
        store = EtcdStore([etcd.endpoint])
        revision = store.txn([], [(b"/t/a", b"1")])
        with store.watch(b"/t/", revision + 1) as watch:
            etcd.kill()
            with pytest.raises(EtcdUnavailable):
                next(iter(watch))
        with pytest.raises(EtcdUnavailable):
            store.get(b"/t/a")
        etcd.start()
        found = wait_until(lambda: _value(store, b"/t/a"), seconds=10, what="the store is back")
        assert found == b"1"
        store.close()


def test_an_etcd_that_is_slow_to_greet(tmp_path: Path) -> None:
    """The first call waits for a connection that takes its time: half a second is no outage."""
    with running_etcd(tmp_path) as etcd:
        store = EtcdStore([etcd.endpoint])
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(store.get(b"/t/a").revision))
        with etcd.frozen():
            thread.start()
            thread.join(0.5)
            assert thread.is_alive()
        thread.join(10)
        assert len(found) == 1
        store.close()


def test_another_member_is_asked_when_one_is_away(etcd: EtcdProcess) -> None:
    """After a failure the next endpoint is used."""
    store = EtcdStore(["127.0.0.1:1", etcd.endpoint])
    with pytest.raises(EtcdUnavailable):
        store.get(b"/t/a")
    assert store.get(b"/t/a").value is None
    store.close()


def _value(store: EtcdStore, key: bytes) -> bytes | None:
    try:
        return store.get(key).value
    except EtcdUnavailable:
        return None
