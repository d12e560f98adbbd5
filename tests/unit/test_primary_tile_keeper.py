"""Hash tiles, kept up with the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pytest

from node.errors import StorageError
from node.tile_files import TileFiles
from node.workers import READ_THREADS, Workers
from primary import tile_keeper
from primary.tile_keeper import TileKeeper
from registry.merkle import CompactRange
from registry.tiles import compact_range

SECONDS = 10.0


class Log:
    """A log of leaf hashes, which counts how many were read from it."""

    def __init__(self, size: int, salt: bytes = b"") -> None:
        self.leaves = [sha256(salt + number.to_bytes(8)).digest() for number in range(size)]
        self.was_read = 0

    def read(self, start: int, count: int) -> list[bytes]:
        leaves = self.leaves[start : start + count]
        self.was_read += len(leaves)
        return leaves

    def root(self, size: int) -> bytes:
        return CompactRange.empty().extend(self.leaves[:size]).root()


@asynccontextmanager
async def _running(directory: Path, log: Log, size: int) -> AsyncIterator[TileKeeper]:
    pool = Workers("read", READ_THREADS)
    keeper = TileKeeper(TileFiles(directory), log.read, pool)
    keeper.catch_up(size, log.root(size))
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        pool.close()


def test_commits_become_tiles(tmp_path: Path) -> None:
    """What was offered is on disk soon, without reading the log again."""
    log = Log(700)

    async def scenario() -> None:
        async with _running(tmp_path, log, 0) as keeper:
            for start, end in ((0, 61), (61, 100), (100, 700)):
                keeper.offer(start, log.leaves[start:end])
            await keeper.wait_for(700, SECONDS)
            assert log.root(700) == compact_range(700, keeper.files).root()

    asyncio.run(scenario())
    assert 0 == log.was_read


def test_too_much_at_once_is_read_from_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits in memory is bounded; nothing is lost when the bound is passed."""
    monkeypatch.setattr(tile_keeper, "MAX_WAITING", 100)
    monkeypatch.setattr(tile_keeper, "LEAVES_A_READ", 70)
    log = Log(600)

    async def scenario() -> None:
        async with _running(tmp_path, log, 10) as keeper:
            for start in range(10, 600, 59):
                keeper.offer(start, log.leaves[start : start + 59])
            await keeper.wait_for(600, SECONDS)
            assert log.root(600) == compact_range(600, keeper.files).root()

    asyncio.run(scenario())


def test_files_that_are_behind_are_filled_from_the_log(tmp_path: Path) -> None:
    """Only the tiles that a power cut could have damaged are written again."""
    log = Log(1000)
    TileFiles(tmp_path).append(log.leaves[:600], 0)
    with (tmp_path / "tile/0/002").open("r+b") as damaged:
        damaged.write(bytes(32))

    async def scenario() -> None:
        async with _running(tmp_path, log, 1000) as keeper:
            assert log.root(1000) == compact_range(1000, keeper.files).root()

    asyncio.run(scenario())
    assert 1000 - 512 == log.was_read


@pytest.mark.parametrize("held", [300, 900])
def test_files_of_another_log_are_written_anew(tmp_path: Path, held: int) -> None:
    """Shorter or longer: what does not lead to the log's root is not kept."""
    log = Log(600)
    TileFiles(tmp_path).append(Log(held, b"other").leaves, 0)

    async def scenario() -> None:
        async with _running(tmp_path, log, 600) as keeper:
            assert log.root(600) == compact_range(600, keeper.files).root()

    asyncio.run(scenario())


def test_a_log_without_its_root_is_not_served(tmp_path: Path) -> None:
    """The start is refused when the database's entries are not those of its root."""
    log = Log(300)
    keeper = TileKeeper(TileFiles(tmp_path), log.read, Workers("read", READ_THREADS))
    with pytest.raises(StorageError, match="do not lead to"):
        keeper.catch_up(300, Log(300, b"other").root(300))
