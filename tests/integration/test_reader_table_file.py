"""What a reader loaded, in a file: how it serves after a restart, on a real etcd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.address import Address
from tests.integration.test_reader import FIRST, SECOND, SECONDS, Cluster
from tests.support.etcd import running_etcd
from tests.support.wait import wait_until

THIRD = Address.parse("192.0.2.3")


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    """Where the table is kept."""
    return tmp_path / "dns.table"


@pytest.fixture
def cluster(tmp_path: Path, table_file: Path) -> Iterator[Cluster]:
    """A reader that has loaded a small log and kept it in the file."""
    with running_etcd(tmp_path) as etcd, Cluster(etcd, table_file=table_file) as cluster:
        cluster.stored.put_all()
        cluster.wait_loaded()
        yield cluster


def test_a_restart_serves_while_etcd_is_away(cluster: Cluster) -> None:
    """P3, P7: what was loaded before is served at once; when etcd is back, changes flow again."""
    cluster.etcd.stop()
    cluster.restart()

    cluster.wait_loaded()
    assert cluster.has(FIRST)

    cluster.etcd.start()
    cluster.register(SECOND)
    cluster.wait_size()
    assert cluster.has(SECOND)
    assert 0 == cluster.reader.counts.loads


def test_what_was_written_meanwhile_is_caught_up(cluster: Cluster) -> None:
    """The watch goes on from the file's revision: nothing is loaded from etcd again."""
    cluster.register(SECOND)
    cluster.wait_size()
    cluster.reader.stop()
    cluster.register(THIRD)

    cluster.restart()

    cluster.wait_size()
    assert cluster.has(SECOND)
    assert cluster.has(THIRD)
    assert 0 == cluster.reader.counts.loads


def test_a_compacted_revision_means_a_load(cluster: Cluster) -> None:
    """What etcd cannot tell any more is not skipped: it is read anew, while the file's serves."""
    cluster.reader.stop()
    cluster.register(SECOND)
    cluster.register(THIRD)
    cluster.store.compact(cluster.store.get(cluster.stored.generation.cursor).revision)

    cluster.restart()

    cluster.wait_size()
    assert cluster.has(THIRD)
    wait_until(lambda: cluster.reader.counts.loads == 1, seconds=SECONDS, what="loaded")


def test_the_file_of_another_etcd_serves_until_the_new_one_was_read(
    cluster: Cluster, tmp_path: Path, table_file: Path
) -> None:
    """Revisions of another database count for nothing, even where their numbers are the same."""
    cluster.reader.stop()
    other = tmp_path / "other"
    other.mkdir()
    with running_etcd(other) as etcd, Cluster(etcd, table_file=table_file) as second:
        second.wait_loaded()
        assert second.has(FIRST)
        assert second.reader.counts.loads == 0


@pytest.mark.parametrize("damage", ["changed", "cut", "empty", "garbage"])
def test_a_damaged_file_is_refused_and_written_anew(
    cluster: Cluster, table_file: Path, damage: str
) -> None:
    """P2: nothing that does not lead to the signed root is served; etcd is read as without it."""
    whole = table_file.read_bytes()
    changed = whole.replace(b"mail.example.org", b"evil.example.org")
    cluster.reader.stop()
    table_file.write_bytes(
        {"changed": changed, "cut": whole[:-20], "empty": b"", "garbage": bytes(4096)}[damage]
    )

    cluster.restart()

    cluster.wait_loaded()
    found = cluster.table.find(FIRST)
    assert found is not None
    assert found.host == "mail.example.org"
    assert 1 == cluster.reader.counts.loads
    assert len(whole) == len(table_file.read_bytes())


def test_a_disk_that_refuses_does_not_hinder_serving(cluster: Cluster, table_file: Path) -> None:
    """Where the file cannot be written the reader loads and serves all the same."""
    cluster.reader.stop()
    table_file.unlink()
    table_file.mkdir()

    cluster.restart()

    cluster.wait_loaded()
    assert cluster.has(FIRST)
