"""A snapshot of a replica in etcd is the registry's own, byte for byte, but for erased openings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.errors import StorageError
from node.snapshot_files import SnapshotFiles
from registry.snapshot import snapshot_name
from secondary.etcd import EtcdStore
from secondary.replica_snapshot import write_snapshot
from tests.support.etcd import running_etcd
from tests.support.log_builder import LogBuilder
from tests.support.replicas import LAYOUT, StoredLog


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EtcdStore]:
    with running_etcd(tmp_path) as process:
        store = EtcdStore([process.endpoint])
        yield store
        store.close()


def built() -> LogBuilder:
    """Holders with public contacts, both families of addresses in a mixed order, other kinds."""
    log = LogBuilder()
    for number in range(5):
        log.put_holder(bytes([255 - number]) * 16)
    for address in ("0.0.0.1", "255.0.0.1", "32.1.13.184", "2001:db8::1", "::2", "ffff::3"):
        log.put_registration(address)
    for kind in (200, 9, 10, 3):
        log.put(kind, b"\x01\x02", b"payload")
        log.put(kind, b"\x01", b"payload")
    log.commit()
    return log


def test_it_is_the_registrys_own(store: EtcdStore, tmp_path: Path) -> None:
    """Whoever takes it cannot tell whether the primary or a mirror made it."""
    log = built()
    StoredLog(store, log).put_all()
    files = SnapshotFiles(tmp_path / "made")
    made = write_snapshot(store, LAYOUT, log.verifier, files)
    assert (snapshot_name(log.size, log.state.state_root), log.size) == (made.name, made.size)
    assert log.snapshot() == (tmp_path / "made" / made.name).read_bytes()


def test_what_was_erased_stays_erased(store: EtcdStore, tmp_path: Path) -> None:
    """P6: an opening that is gone here is not passed on."""
    log = built()
    stored = StoredLog(store, log)
    stored.put_all()
    key = bytes([1]) + bytes([255]) * 16
    store.txn([], [], [stored.generation.openings(key)])
    made = write_snapshot(store, LAYOUT, log.verifier, SnapshotFiles(tmp_path / "made"))
    assert made.bytes < len(log.snapshot())


def test_a_damaged_replica_makes_none(store: EtcdStore, tmp_path: Path) -> None:
    """Too few records are noticed here; anything else by whoever takes it."""
    log = built()
    stored = StoredLog(store, log)
    stored.put_all()
    store.txn([], [], [stored.generation.record(bytes([3, 1]))])
    with pytest.raises(StorageError):
        write_snapshot(store, LAYOUT, log.verifier, SnapshotFiles(tmp_path / "made"))
    assert [] == list((tmp_path / "made").iterdir())


def test_nothing_loaded(store: EtcdStore, tmp_path: Path) -> None:
    """There is nothing to make one of."""
    with pytest.raises(StorageError):
        write_snapshot(store, LAYOUT, built().verifier, SnapshotFiles(tmp_path / "made"))
