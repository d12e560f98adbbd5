"""Snapshots made in the background."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from node import snapshot_maker
from node.errors import StorageError
from node.snapshot_files import SnapshotFiles
from node.snapshot_maker import SnapshotMaker
from registry.snapshot import snapshot_name

EVERY = 100
SECONDS = 30.0


def _writes(directory: Path, *sizes: int) -> list[str]:
    """A command that makes the snapshots of these sizes, one each time it is run."""
    names = [snapshot_name(size, bytes(32)) for size in sizes]
    program = (
        "import pathlib, sys\n"
        f"directory = pathlib.Path({str(directory)!r})\n"
        f"names = {names!r}\n"
        "missing = [name for name in names if not (directory / name).exists()]\n"
        "(directory / missing[0]).write_bytes(b'content') if missing else sys.exit(3)\n"
    )
    return [sys.executable, "-c", program]


def _run(
    directory: Path, command: list[str], scenario: Callable[[SnapshotMaker], Awaitable[None]]
) -> list[float]:
    """Runs a scenario with a maker; the times that it observed."""
    observed: list[float] = []

    async def main() -> None:
        maker = SnapshotMaker(SnapshotFiles(directory), command, EVERY, observed.append)
        try:
            async with asyncio.timeout(SECONDS):
                await scenario(maker)
        finally:
            await maker.close()

    asyncio.run(main())
    return observed


async def _until_newest(maker: SnapshotMaker, size: int) -> None:
    while (newest := maker.files.newest()) is None or newest.size != size:
        await asyncio.sleep(0.01)


def test_a_snapshot_is_made_when_asked(tmp_path: Path) -> None:
    """The answer comes when it is there, and its time is counted."""

    async def scenario(maker: SnapshotMaker) -> None:
        made = await maker.make()
        assert (40, 7) == (made.size, made.bytes)
        assert made == maker.useful(0, 40)

    assert 1 == len(_run(tmp_path, _writes(tmp_path, 40), scenario))


def test_growth_makes_one(tmp_path: Path) -> None:
    """Not for every batch, but when the last one is old enough."""

    async def scenario(maker: SnapshotMaker) -> None:
        maker.log_grew(EVERY - 1)
        assert maker.files.newest() is None
        maker.log_grew(EVERY)
        maker.log_grew(EVERY + 1)
        await _until_newest(maker, EVERY)

    assert 1 >= len(_run(tmp_path, _writes(tmp_path, EVERY, 999), scenario))


def test_a_reader_is_given_what_spares_it_half(tmp_path: Path) -> None:
    """An old snapshot is good for who has nothing, not for who is nearly there."""

    async def scenario(maker: SnapshotMaker) -> None:
        assert maker.useful(0, 1000) is None
        await _until_newest(maker, 600)
        while (given := maker.useful(0, 1000)) is None:
            await asyncio.sleep(0.01)
        assert 600 == given.size
        assert maker.useful(500, 1000) is None
        await _until_newest(maker, 1000)

    _run(tmp_path, _writes(tmp_path, 600, 1000), scenario)


def test_a_failure_is_told_and_not_repeated_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk does not start a process for every commit."""
    count = tmp_path / "count"
    program = f"open({str(count)!r}, 'a').write('x'); raise SystemExit(3)"
    monkeypatch.setattr(snapshot_maker, "PAUSE_SECONDS", SECONDS)

    async def scenario(maker: SnapshotMaker) -> None:
        with pytest.raises(StorageError, match="status 3"):
            await maker.make()
        maker.log_grew(EVERY)
        while not count.exists() or count.stat().st_size < 2:
            await asyncio.sleep(0.01)
        for _ in range(20):
            maker.log_grew(10 * EVERY)
            await asyncio.sleep(0.01)

    _run(tmp_path, [sys.executable, "-c", program], scenario)
    assert 2 == count.stat().st_size
