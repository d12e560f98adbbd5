"""What a reader loaded, in a file: how it serves after a restart, on a real etcd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.address import Address
from registry.board import root_key
from registry.decision import Decision, ExtendStaleness
from registry.entry import Entry
from registry.kinds import Kind, Operation
from registry.root import DAY
from secondary.notice import Condition
from tests.integration.test_reader import FIRST, SECOND, SECONDS, Cluster
from tests.support.boards import ALICE, a_decision, roots_of, sign_decision
from tests.support.etcd import running_etcd
from tests.support.log_builder import START_MS
from tests.support.replicas import LAYOUT
from tests.support.wait import wait_until

THIRD = Address.parse("192.0.2.3")


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    """Where the table is kept."""
    return tmp_path / "dns.table"


@pytest.fixture
def extension_file(tmp_path: Path) -> Path:
    """Where an operator's extension of staleness would be."""
    return tmp_path / "extension.note"


@pytest.fixture
def cluster(tmp_path: Path, table_file: Path, extension_file: Path) -> Iterator[Cluster]:
    """A reader that has loaded a small log and kept it in the file."""
    with (
        running_etcd(tmp_path) as etcd,
        Cluster(etcd, table_file=table_file, extension_file=extension_file) as cluster,
    ):
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


def extension(until_s: int) -> tuple[Decision, bytes]:
    """A decision to answer until then, and its file; alice is the whole board."""
    made = a_decision(ExtendStaleness(until_s))
    return made, sign_decision(made, ALICE)


def answers_until(cluster: Cluster) -> float:
    """Until when the reader serves its view if nothing more comes."""
    return cluster.reader.answers_until_s(cluster.table.standing)


def test_the_boards_limit_is_followed_live_and_after_a_restart(cluster: Cluster) -> None:
    """P7: fourteen days; what the board decides in the log holds at once, and from the file."""
    vouched_s = cluster.table.standing.vouched_s
    assert vouched_s + 14 * DAY == answers_until(cluster)
    until_s = int(vouched_s) + 30 * DAY
    made, note = extension(until_s)
    root = roots_of(cluster.log).chain.notes[0]
    for kind, key, payload in (
        (Kind.ROOT, root_key(1), root),
        (Kind.DECISION, made.identifier, note),
    ):
        cluster.log.add(Entry(kind, key, Operation.PUT, True, START_MS, payload))
    cluster.stored.apply(cluster.log.commit())

    wait_until(lambda: answers_until(cluster) == until_s, seconds=SECONDS, what="extended")
    wait_until(lambda: cluster.reader.counts.loads == 2, seconds=SECONDS, what="kept in the file")
    assert Condition.GOOD is cluster.reader.condition_at(until_s)
    assert Condition.STALE is cluster.reader.condition_at(until_s + 1)
    cluster.etcd.stop()
    cluster.restart()
    cluster.wait_loaded()
    assert until_s == answers_until(cluster)


def test_an_extension_as_a_file_holds_while_etcd_is_away(
    cluster: Cluster, extension_file: Path
) -> None:
    """P7: what the board signed counts, wherever it stands; what it did not sign does not."""
    until_s = int(cluster.table.standing.vouched_s) + 30 * DAY
    ends_s = answers_until(cluster)
    _, note = extension(until_s)
    cluster.etcd.stop()
    for value, expected in (
        (note.replace(b"three complaints", b"four complaints"), ends_s),
        (note, until_s),
    ):
        extension_file.write_bytes(value)
        cluster.restart()
        cluster.wait_loaded()
        assert expected == answers_until(cluster)
    extension_file.unlink()
    cluster.etcd.start()
    cluster.store.txn([], [(LAYOUT.extension, note)])
    cluster.restart()
    wait_until(
        lambda: cluster.reader.view and answers_until(cluster) == until_s,
        seconds=SECONDS,
        what="read from etcd",
    )
