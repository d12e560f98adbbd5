"""A child process that is kept running, and ends with its parent."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from node.exits import ExitCode
from node.failpoints import VARIABLE
from node.logging import get_logger
from node.retry import Backoff

# From <linux/prctl.h>.
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

RESTART_FIRST_SECONDS: Final = 0.2
RESTART_MAX_SECONDS: Final = 30.0
# A child that ran for so long was well: its next end is a first one again.
WELL_SECONDS: Final = 30.0

_log = get_logger("supervisor")


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """How a child is run. It gets `stop_seconds` from SIGTERM until SIGKILL."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path | None
    stop_seconds: float
    # Descriptors that it inherits.
    descriptors: tuple[int, ...] = ()
    # What has to be done before each start.
    prepare: Callable[[], None] = lambda: None


class Child:
    """Runs a plan again and again, with back-off, until it is stopped."""

    def __init__(self, plan: ChildPlan, give_up: Callable[[int], None]) -> None:
        """`give_up` is called when the child says that a person has to change its settings."""
        self.plan = plan
        self._give_up = give_up
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._task = asyncio.create_task(self._run(), name=self.plan.name)

    async def stop(self) -> None:
        """Ask it to end, wait, and kill it if it does not."""
        self._stopping.set()
        task, process = self._task, self._process
        if process is not None and process.returncode is None:
            process.terminate()
        if task is None:
            return
        done, _ = await asyncio.wait([task], timeout=self.plan.stop_seconds)
        process = self._process
        if not done and process is not None and process.returncode is None:
            _log.warning("child.killed", child=self.plan.name, pid=process.pid)
            process.kill()
        await task

    async def _run(self) -> None:
        random = Random()  # noqa: S311 - spreads restarts
        backoff = Backoff(random, RESTART_FIRST_SECONDS, RESTART_MAX_SECONDS)
        environment = dict(self.plan.environment)
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._run_once(environment)
            # It names a place in one life of a process.
            environment.pop(VARIABLE, None)
            if self._stopping.is_set():
                break
            if code == ExitCode.USAGE:
                self._give_up(code)
                break
            if time.monotonic() - started > WELL_SECONDS:
                backoff.reset()
            delay = backoff.next_delay()
            _log.error(
                "child.ended", child=self.plan.name, code=code, restart_seconds=round(delay, 1)
            )
            await self._pause(delay)

    async def _run_once(self, environment: Mapping[str, str]) -> int:
        try:
            self.plan.prepare()
            process = await asyncio.create_subprocess_exec(
                *self.plan.command,
                stdin=asyncio.subprocess.DEVNULL,
                env=environment,
                cwd=self.plan.directory,
                pass_fds=self.plan.descriptors,
                preexec_fn=_die_with(os.getpid()),
            )
        except OSError as error:
            _log.error("child.cannot_start", child=self.plan.name, reason=str(error))
            return ExitCode.FAILED
        self._process = process
        _log.info("child.started", child=self.plan.name, pid=process.pid)
        # `stop` may have come before there was a process to end.
        if self._stopping.is_set():
            process.terminate()
        return await process.wait()

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


def _die_with(parent: int) -> Callable[[], None]:
    """What a child does before it becomes another program: end when its parent does."""

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may be gone already; then nobody sends the signal.
        if os.getppid() != parent:
            os._exit(ExitCode.FAILED)

    return prepare
