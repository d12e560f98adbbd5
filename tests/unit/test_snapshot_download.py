"""What an upstream announces and sends as a snapshot, before anything of it is believed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from node.errors import StorageError
from registry.errors import LimitError, MalformedError, SequenceError, VerificationError
from registry.snapshot import MAX_PART_BYTES, snapshot_name
from secondary.snapshot_download import SnapshotDownload, check_announced
from secondary.upstream import NeedSnapshot, UpstreamUnavailable
from tests.support.fake_upstream import FakeUpstream
from tests.support.log_builder import LogBuilder

SIZE = 1000
MAX_BYTES = 1 << 20


def announced(size: int = SIZE, length: int = 100_000, *, named: int | None = None) -> NeedSnapshot:
    """The announcement of a snapshot, by a name of the same size or of another."""
    name = snapshot_name(size if named is None else named, bytes(32))
    return NeedSnapshot(name, length, size)


def check(needed: NeedSnapshot, *, held: int = 10, must_reach: int = 10) -> None:
    """For one who holds some entries of a log of `SIZE`."""
    check_announced(needed, held=held, must_reach=must_reach, newest=SIZE, max_bytes=MAX_BYTES)


@pytest.fixture
def upstream() -> FakeUpstream:
    """It has a snapshot of a short log."""
    log = LogBuilder()
    log.fill(100)
    return FakeUpstream(log)


def test_what_leads_on_is_taken() -> None:
    """More entries than are held, no more than are signed; what was damaged is reached again."""
    check(announced())
    check(announced(11))
    check(announced(11), held=0, must_reach=11)


@pytest.mark.parametrize(
    ("needed", "error", "text"),
    [
        pytest.param(announced(named=SIZE - 1), MalformedError, "with the name", id="other name"),
        pytest.param(announced(10), SequenceError, "held already", id="held"),
        pytest.param(announced(9), SequenceError, "held already", id="older"),
        pytest.param(announced(SIZE + 1), SequenceError, "newest checkpoint", id="unsigned"),
        pytest.param(
            announced(11, 13 * MAX_PART_BYTES), LimitError, "11 entries make", id="implausible"
        ),
        pytest.param(
            announced(length=MAX_BYTES + 1), LimitError, "raise follower.max_snapshot", id="large"
        ),
    ],
)
def test_what_misleads_is_refused(
    needed: NeedSnapshot, error: type[VerificationError], text: str
) -> None:
    """Nothing that leads nowhere, or that no register can need, is read."""
    with pytest.raises(error, match=text):
        check(needed)


def test_what_a_damaged_replica_held_is_reached() -> None:
    """A new replica is not made from a log that ends before the damaged one did."""
    with pytest.raises(SequenceError, match="20 were held already"):
        check(announced(19), held=0, must_reach=20)


def test_a_full_disk_is_not_the_upstreams_fault(
    upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little room for what is announced: the error says where, and nothing is asked for."""
    needed = upstream.make_snapshot()
    usage = SimpleNamespace(free=needed.bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    with pytest.raises(StorageError, match="make room there"):
        SnapshotDownload(tmp_path).fetch(upstream, needed, lambda _: None)

    assert not upstream.offsets


def test_more_than_was_announced_is_refused(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Not a byte beyond the announced size is kept."""
    needed = upstream.make_snapshot()
    short = replace(needed, bytes=needed.bytes // 2)
    download = SnapshotDownload(tmp_path)

    with pytest.raises(MalformedError, match="more of a snapshot"):
        download.fetch(upstream, short, lambda _: None)

    assert (tmp_path / needed.name).stat().st_size <= short.bytes


def test_less_than_was_announced_is_no_snapshot(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Where the file ends too early nobody waits for the rest."""
    needed = upstream.make_snapshot()

    with pytest.raises(UpstreamUnavailable, match="ends before its announced size"):
        SnapshotDownload(tmp_path).fetch(
            upstream, replace(needed, bytes=needed.bytes + 1), lambda _: None
        )
