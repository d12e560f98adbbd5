"""The way from the event loop to the sequencer's thread and back.

Changes wait in one bounded queue. The writer thread takes what has gathered for as long as there
is any: a lone change is committed at once, and under load the commits fill by themselves while
the one before is synced.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from primary.board_changes import BoardChange
from primary.changes import Change
from primary.database_contact import DatabaseContact
from primary.sequencer import MAX_CHANGES_PER_COMMIT, Committed, Sequencer
from primary.store.errors import StoreError
from registry.errors import Problem, RegistryError


class BusyError(RegistryError):
    """As many changes wait as may; try again a little later."""


class IntakeClosedError(RegistryError):
    """The primary is stopping; try again when it is back."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of changes, in their order, and a checkpoint that covers all of it.

    An outcome is the record's version or why the change was refused; the checkpoint is empty
    if all were refused.
    """

    outcomes: list[int | Problem]
    checkpoint: bytes


@dataclass(eq=False, slots=True)
class _Submission:
    """Changes that came together, and what is known of them so far."""

    changes: int
    done: asyncio.Future[Submitted]
    outcomes: list[int | Problem] = field(default_factory=list)
    checkpoint: bytes = b""

    def add(self, outcome: int | Problem, checkpoint: bytes) -> None:
        """Takes the next outcome; answers when it is the last."""
        self.outcomes.append(outcome)
        if isinstance(outcome, int):
            self.checkpoint = checkpoint
        if len(self.outcomes) == self.changes and not self.done.done():
            self.done.set_result(Submitted(self.outcomes, self.checkpoint))


_Queued = tuple[_Submission, Change | BoardChange]


class Intake:
    """Takes changes in and answers when they are on disk. For one event loop's thread."""

    def __init__(
        self, sequencer: Sequencer, max_waiting: int, on_commit: Callable[[Committed], None]
    ) -> None:
        """`max_waiting` changes may wait.

        `on_commit` is called in the loop for every commit, in their order, before the answers.
        """
        self._sequencer = sequencer
        self._max_waiting = max_waiting
        self._on_commit = on_commit
        self._database = DatabaseContact("commit")
        self._loop = asyncio.get_running_loop()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        # The loop appends, the writer thread takes from the left; all else is the loop's alone.
        self._queue: deque[_Queued] = deque()
        self._waiting = 0
        self._working = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._stopped: asyncio.Future[None] = self._loop.create_future()

    @property
    def waiting(self) -> int:
        """How many changes are not answered yet."""
        return self._waiting

    async def submit(self, changes: Sequence[Change | BoardChange]) -> Submitted:
        """Commits the changes, in their order, and answers when all are on disk.

        Others' changes may come between them. BusyError, IntakeClosedError: nothing was done.
        StoreUnavailableError, or a fatal error: some may have happened. Whoever stops waiting
        does not stop the changes.
        """
        if self._closing or self._stopped.done():
            raise IntakeClosedError("the primary is stopping; try again when it is back")
        if not changes:
            return Submitted([], b"")
        if self._waiting + len(changes) > self._max_waiting:
            raise BusyError(f"{self._waiting} changes wait already; try again a little later")
        submission = _Submission(len(changes), self._loop.create_future())
        self._waiting += len(changes)
        self._queue.extend((submission, change) for change in changes)
        if not self._working:
            self._start_working()
        return await submission.done

    async def wait_stopped(self) -> None:
        """Waits for the end of `close`; raises what was fatal, and then the process must stop."""
        await asyncio.shield(self._stopped)

    async def close(self) -> None:
        """Takes nothing more, answers all that waits, and ends the writer thread."""
        self._closing = True
        await self._idle.wait()
        self._writer.shutdown()
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _start_working(self) -> None:
        self._working = True
        self._idle.clear()
        self._writer.submit(self._work)

    def _work(self) -> None:
        """Runs in the writer thread, until nothing is queued."""
        while self._queue:
            count = min(len(self._queue), MAX_CHANGES_PER_COMMIT)
            queued = [self._queue.popleft() for _ in range(count)]
            try:
                committed = self._sequencer.commit([change for _, change in queued])
            except Exception as error:  # noqa: BLE001 - whoever waits has to hear of it
                self._loop.call_soon_threadsafe(self._fail, queued, error)
            else:
                self._loop.call_soon_threadsafe(self._answer, queued, committed)
        self._loop.call_soon_threadsafe(self._rest)

    def _rest(self) -> None:
        """The writer thread found nothing queued; there may be by now."""
        if self._queue:
            self._start_working()
        else:
            self._working = False
            self._idle.set()

    def _answer(self, queued: Sequence[_Queued], committed: Sequence[Committed]) -> None:
        self._waiting -= len(queued)
        self._database.answered()
        rest = iter(queued)
        for part in committed:
            try:
                self._on_commit(part)
            except Exception as error:  # noqa: BLE001 - mirrors that miss a batch must not go unseen
                self._stop(error)
            for outcome, (submission, _) in zip(part.outcomes, rest, strict=False):
                submission.add(outcome, part.head.checkpoint)

    def _fail(self, queued: Sequence[_Queued], error: Exception) -> None:
        self._waiting -= len(queued)
        if isinstance(error, StoreError):
            self._database.refused(error)
        for submission, _ in queued:
            if not submission.done.done():
                submission.done.set_exception(error)
        if self._sequencer.stopped_by is not None:
            self._stop(self._sequencer.stopped_by)

    def _stop(self, error: Exception) -> None:
        if not self._stopped.done():
            self._stopped.set_exception(error)
