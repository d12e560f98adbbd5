"""The way from the event loop to the sequencer's thread and back.

Changes wait in one bounded queue. The writer thread takes what has gathered for as long as there
is any: a lone change is committed at once, and under load the commits fill by themselves while
the one before is synced.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from primary.board_changes import BoardChange
from primary.changes import Change
from primary.database_contact import DatabaseContact
from primary.head import Head
from primary.sequencer import MAX_CHANGES_PER_COMMIT, Committed, Sequencer
from primary.store.errors import StoreError
from registry.errors import Problem, RegistryError
from registry.state_tree import Location, StateProof


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

    changes: Sequence[Change | BoardChange]
    done: asyncio.Future[Submitted]
    # How many of them the writer thread took; its own.
    taken: int = 0
    outcomes: list[int | Problem] = field(default_factory=list)
    checkpoint: bytes = b""

    def add(self, outcomes: Sequence[int | Problem], checkpoint: bytes) -> None:
        """Takes the next outcomes; answers when they are the last."""
        self.outcomes += outcomes
        if any(isinstance(outcome, int) for outcome in outcomes):
            self.checkpoint = checkpoint
        if len(self.outcomes) == len(self.changes) and not self.done.done():
            self.done.set_result(Submitted(self.outcomes, self.checkpoint))


# The head, what its state proves about a key, and where the key's newest entry is.
Proved = tuple[Head, StateProof, Location | None]


@dataclass(frozen=True, slots=True)
class _Question:
    """What somebody wants to have proved."""

    state_key: bytes
    done: asyncio.Future[Proved]


# What a commit takes of a submission.
_Taken = tuple[_Submission, Sequence[Change | BoardChange]]
# Commits changes and answers when they are on disk.
Submit = Callable[[Sequence[Change]], Awaitable[Submitted]]


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
        self._queue: deque[_Submission] = deque()
        self._questions: deque[_Question] = deque()
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
        submission = _Submission(changes, self._loop.create_future())
        self._waiting += len(changes)
        self._queue.append(submission)
        if not self._working:
            self._start_working()
        return await submission.done

    async def prove(self, state_key: bytes) -> Proved:
        """See `Sequencer.prove`; it is asked between two commits. IntakeClosedError."""
        if self._closing or self._stopped.done():
            raise IntakeClosedError("the primary is stopping; try again when it is back")
        question = _Question(state_key, self._loop.create_future())
        self._questions.append(question)
        if not self._working:
            self._start_working()
        return await question.done

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
        while self._queue or self._questions:
            self._tell()
            if not self._queue:
                continue
            taken = self._take()
            try:
                committed = self._sequencer.commit([one for _, some in taken for one in some])
            except Exception as error:  # noqa: BLE001 - whoever waits has to hear of it
                self._loop.call_soon_threadsafe(self._fail, taken, error)
            else:
                self._loop.call_soon_threadsafe(self._answer, taken, committed)
        self._loop.call_soon_threadsafe(self._rest)

    def _tell(self) -> None:
        """Answers what was asked since the last commit."""
        while self._questions:
            question = self._questions.popleft()
            proved = self._sequencer.prove(question.state_key)
            self._loop.call_soon_threadsafe(_resolve, question.done, proved)

    def _take(self) -> list[_Taken]:
        """As many of the changes that wait as one commit takes."""
        taken: list[_Taken] = []
        room = MAX_CHANGES_PER_COMMIT
        while self._queue and room:
            submission = self._queue[0]
            some = submission.changes[submission.taken : submission.taken + room]
            submission.taken += len(some)
            room -= len(some)
            if submission.taken == len(submission.changes):
                self._queue.popleft()
            taken.append((submission, some))
        return taken

    def _rest(self) -> None:
        """The writer thread found nothing queued; there may be by now."""
        if self._queue or self._questions:
            self._start_working()
        else:
            self._working = False
            self._idle.set()

    def _answer(self, taken: Sequence[_Taken], committed: Sequence[Committed]) -> None:
        self._waiting -= _count(taken)
        self._database.answered()
        waiting = deque((submission, len(some)) for submission, some in taken)
        for part in committed:
            try:
                self._on_commit(part)
            except Exception as error:  # noqa: BLE001 - mirrors that miss a batch must not go unseen
                self._stop(error)
            outcomes = part.outcomes
            while outcomes:
                submission, count = waiting.popleft()
                some, outcomes = outcomes[:count], outcomes[count:]
                if len(some) < count:
                    waiting.appendleft((submission, count - len(some)))
                submission.add(some, part.head.checkpoint)

    def _fail(self, taken: Sequence[_Taken], error: Exception) -> None:
        self._waiting -= _count(taken)
        if isinstance(error, StoreError):
            self._database.refused(error)
        for submission, _ in taken:
            if not submission.done.done():
                submission.done.set_exception(error)
        if self._sequencer.stopped_by is not None:
            self._stop(self._sequencer.stopped_by)

    def _stop(self, error: Exception) -> None:
        if not self._stopped.done():
            self._stopped.set_exception(error)


def _resolve(done: asyncio.Future[Proved], proved: Proved) -> None:
    if not done.done():
        done.set_result(proved)


def _count(taken: Sequence[_Taken]) -> int:
    return sum(len(some) for _, some in taken)
