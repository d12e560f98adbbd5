"""The log's tiles: kept up, fetched where they are missing, and never believed unseen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from registry.batch import Batch
from registry.merkle import CompactRange, leaf_hash
from registry.tiles import TileId, compact_range
from secondary import log_tiles
from secondary.log_tiles import LogTiles
from tests.support.fake_upstream import FakeUpstream
from tests.support.log_builder import LogBuilder
from tests.support.wait import wait_until

SECONDS = 20


class MeanwhileUpstream(FakeUpstream):
    """The log grows, and the tiles hear of it, while the first tiles are being read."""

    def __init__(self, log: LogBuilder, tiles: LogTiles, growth: int) -> None:
        super().__init__(log)
        self._tiles = tiles
        self._growth = growth

    def read_tiles(self, tiles: Sequence[TileId]) -> Iterator[bytes]:
        if self.tile_requests == 0:
            first = len(self.log.batches)
            self.log.fill(self._growth)
            for batch in self.log.batches[first:]:
                self._tiles.append(leaves(batch), batch.start)
        yield from super().read_tiles(tiles)


class LyingUpstream(FakeUpstream):
    """Gives tiles of the right form and of no log."""

    def read_tiles(self, tiles: Sequence[TileId]) -> Iterator[bytes]:
        for hashes in super().read_tiles(tiles):
            yield bytes(len(hashes))


def leaves(batch: Batch) -> list[bytes]:
    """The leaf hashes of a batch."""
    return [leaf_hash(logged.entry) for logged in batch.entries]


def grown(count: int) -> LogBuilder:
    """A log of so many registrations."""
    log = LogBuilder()
    log.fill(count)
    return log


def fetch_all(tiles: LogTiles, upstream: FakeUpstream) -> None:
    """Fetch until nothing is missing."""
    tiles.fetch(upstream, lambda: upstream.log.compact_range)
    wait_until(lambda: tiles.is_complete, seconds=SECONDS, what="the tiles are complete")


def fail_to_fetch(tiles: LogTiles, upstream: FakeUpstream) -> None:
    """Fetch what turns out to be of another log, and be ready to try again at once."""
    tiles.fetch(upstream, lambda: upstream.log.compact_range)
    thread = tiles._fetching
    assert thread is not None
    thread.join(SECONDS)
    assert not tiles.is_complete
    tiles._next_fetch = 0


def test_they_grow_with_the_log(tmp_path: Path) -> None:
    """From an empty log on, nothing is ever fetched; opened again, nothing is missing."""
    log, tiles = grown(300), LogTiles(tmp_path)
    tiles.begin(CompactRange.empty())
    for batch in log.batches:
        tiles.append(leaves(batch), batch.start)
    assert compact_range(log.size, tiles) == log.compact_range
    tiles.close()
    again = LogTiles(tmp_path)
    again.begin(log.compact_range)
    assert again.is_complete


def test_what_is_beyond_the_replica_is_forgotten(tmp_path: Path) -> None:
    """Tiles of a batch that was never stored are cut off."""
    log, tiles = grown(120), LogTiles(tmp_path)
    tiles.begin(CompactRange.empty())
    position = CompactRange.empty().extend(leaves(log.batches[0]))
    for batch in log.batches:
        tiles.append(leaves(batch), batch.start)
    tiles.begin(position)
    assert tiles.is_complete
    assert tiles.size == position.size


@pytest.mark.parametrize("waiting", [1_000_000, 100])
@pytest.mark.parametrize("size", [40, 256, 600])
def test_what_a_snapshot_left_out_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, waiting: int
) -> None:
    """While the log goes on; what comes in meanwhile waits, or is fetched too if that is much."""
    monkeypatch.setattr(log_tiles, "MAX_WAITING_LEAVES", waiting)
    log, tiles = grown(size), LogTiles(tmp_path)
    tiles.begin(log.compact_range)
    assert not tiles.is_complete
    upstream = MeanwhileUpstream(log, tiles, growth=300)
    fetch_all(tiles, upstream)
    assert compact_range(log.size, tiles) == log.compact_range
    assert (upstream.tile_requests > 1) == (waiting == 100)


def test_tiles_of_another_log_are_thrown_away(tmp_path: Path) -> None:
    """Tiles that do not lead to the signed root are not kept, and not served."""
    log, tiles = grown(300), LogTiles(tmp_path)
    tiles.begin(log.compact_range)
    fail_to_fetch(tiles, LyingUpstream(log))
    assert tiles.size == 0
    fetch_all(tiles, FakeUpstream(log))
    assert compact_range(log.size, tiles) == log.compact_range


def test_tiles_of_a_forgotten_log_are_not_taken_for_ours(tmp_path: Path) -> None:
    """A replica of another log finds tiles that are not its own, and fetches its own."""
    tiles = LogTiles(tmp_path)
    tiles.begin(CompactRange.empty())
    for batch in grown(600).batches:
        tiles.append(leaves(batch), batch.start)
    other = LogBuilder()
    other.put_holder()
    other.commit()
    other.fill(500)
    tiles.begin(other.compact_range)
    assert not tiles.is_complete
    upstream = FakeUpstream(other)
    fail_to_fetch(tiles, upstream)
    fetch_all(tiles, upstream)
    assert compact_range(other.size, tiles) == other.compact_range
