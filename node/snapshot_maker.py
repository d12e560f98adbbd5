"""Has snapshots made in the background, by a process of their own.

A million records take seconds of one core; in this process they would take them from the
commits, for Python runs one thread at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from node.errors import StorageError
from node.logging import get_logger
from node.snapshot_files import SnapshotFile, SnapshotFiles

# A disk that is full stays full for a while.
PAUSE_SECONDS: Final = 30.0

_log = get_logger("snapshots")


class SnapshotMaker:
    """Makes one snapshot at a time: when asked, and each time the log grew by `every` entries.

    `command` makes one and ends with 0; for the event loop's thread only.
    """

    def __init__(
        self,
        files: SnapshotFiles,
        command: Sequence[str],
        every: int,
        observe: Callable[[float], None],
    ) -> None:
        self.files = files
        self._command = command
        self._every = every
        self._observe = observe
        self._newest = files.newest()
        self._one_at_a_time = asyncio.Lock()
        self._background: asyncio.Task[None] | None = None
        # After a failure, until then, on the monotonic clock.
        self._paused_until = 0.0

    def useful(self, size: int, log_size: int, at_least: int = 0) -> SnapshotFile | None:
        """The newest snapshot, if it spares a reader at `size` half of what it lacks or more.

        If not, or if it is of less than `at_least` entries, a newer one is begun.
        """
        newest = self._newest
        is_there = newest is not None and newest.size >= at_least
        if newest is not None and is_there and 2 * newest.size >= size + log_size:
            return newest
        self._begin()
        return None

    def log_grew(self, size: int) -> None:
        """Begins a snapshot when the last one is old enough."""
        last = self._newest.size if self._newest else 0
        if size - last >= self._every:
            self._begin()

    async def make(self) -> SnapshotFile:
        """A snapshot of the log as it is now, or a little later. StorageError: it failed."""
        async with self._one_at_a_time:
            started = time.monotonic()
            await self._run()
            made = self.files.newest()
            if made is None:
                raise StorageError("the snapshot that was made is not there")
            self._newest = made
            seconds = time.monotonic() - started
        self._observe(seconds)
        _log.info("snapshot.made", name=made.name, bytes=made.bytes, seconds=round(seconds, 3))
        return made

    async def close(self) -> None:
        """Ends what is in the making."""
        if self._background is not None:
            self._background.cancel()
            with suppress(asyncio.CancelledError):
                await self._background

    def _begin(self) -> None:
        is_idle = self._background is None or self._background.done()
        if is_idle and time.monotonic() >= self._paused_until:
            self._background = asyncio.create_task(self._make_in_background())

    async def _make_in_background(self) -> None:
        try:
            await self.make()
        except (StorageError, OSError) as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            _log.error("snapshot.failed", error=str(error))

    async def _run(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if status != 0:
            raise StorageError(f"the process that makes snapshots ended with status {status}")
