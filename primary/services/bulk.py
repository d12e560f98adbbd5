"""Many changes over one stream: requests are taken in order, and answered in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import grpc

from node.grpc_calls import Context
from primary.changes import Change
from primary.intake import Intake, IntakeClosedError
from primary.metrics import PrimaryMetrics
from primary.services.answers import abort_unchanged
from primary.services.conversion import change, problem_message
from registry.errors import Problem, RegistryError
from registry.limits import MAX_CHANGES_PER_REQUEST
from registry.wire.v1 import registration_pb2 as pb

# The next requests wait here while the first is committed; more would only fill memory.
MAX_IN_FLIGHT: Final = 4
BUSY_MS: Final = 1000
# An international name takes milliseconds to check: others have their turn after so many changes.
TURN_CHANGES: Final = 20

_Answer = asyncio.Task[pb.SubmitResponse]


class SilentStreamError(RegistryError):
    """A stream without a request to answer sent none for too long; open another to go on."""


class _Stream:
    """One client's stream: its answers in the order of its requests; None ends them.

    It is silent while all its requests are answered and no other comes.
    """

    def __init__(self, idle_seconds: float) -> None:
        self.silence = asyncio.timeout(idle_seconds)
        self._idle_seconds = idle_seconds
        self._unanswered = 0
        self.answers: asyncio.Queue[_Answer | None] = asyncio.Queue()
        self.room = asyncio.Semaphore(MAX_IN_FLIGHT)
        self.reading: asyncio.Task[None] | None = None

    def asked(self) -> None:
        """A request came."""
        self._unanswered += 1
        self.silence.reschedule(None)

    def answered(self) -> None:
        """An answer was sent."""
        self.room.release()
        self._unanswered -= 1
        if not self._unanswered and self.reading and not self.reading.done():
            self.silence.reschedule(asyncio.get_running_loop().time() + self._idle_seconds)

    async def abandon(self) -> None:
        """Waits for nothing more of it; what was queued for commit is committed all the same."""
        tasks: list[asyncio.Task[Any]] = [self.reading] if self.reading else []
        while not self.answers.empty():
            answer = self.answers.get_nowait()
            if answer is not None:
                tasks.append(answer)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class BulkSubmission:
    """Serves Submit. All streams together hold `requests` requests at once, and then wait.

    A stream that is silent for `idle_seconds` is ended. `admit` raises Problem for a change that
    is not taken this way.
    """

    def __init__(
        self,
        intake: Intake,
        metrics: PrimaryMetrics,
        requests: int,
        idle_seconds: float,
        *,
        admit: Callable[[Change], None],
    ) -> None:
        self._admit = admit
        self._intake = intake
        self._metrics = metrics
        self._idle_seconds = idle_seconds
        self._slots = asyncio.Semaphore(requests)
        self._streams: set[_Stream] = set()
        self._stopping = False

    def stop(self) -> None:
        """Reads no more requests; those that were taken are still answered."""
        self._stopping = True
        for stream in self._streams:
            if stream.reading is not None:
                stream.reading.cancel()

    async def submit(
        self, requests: AsyncIterator[pb.SubmitRequest], context: Context
    ) -> AsyncIterator[pb.SubmitResponse]:
        """The handler."""
        stream = _Stream(self._idle_seconds)
        self._streams.add(stream)
        stream.reading = asyncio.create_task(self._read(stream, requests))
        try:
            while (answer := await stream.answers.get()) is not None:
                yield await answer
                stream.answered()
            await self._finish_reading(stream)
        except Problem as problem:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(problem))
        except SilentStreamError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except RegistryError as error:
            await abort_unchanged(context, error, BUSY_MS)
        finally:
            self._streams.discard(stream)
            await stream.abandon()

    async def _read(self, stream: _Stream, requests: AsyncIterator[pb.SubmitRequest]) -> None:
        try:
            async with stream.silence:
                await self._take(stream, requests)
        except TimeoutError:
            raise SilentStreamError(
                f"no request came for {self._idle_seconds:g} seconds; open another stream to go on"
            ) from None
        finally:
            stream.answers.put_nowait(None)

    async def _take(self, stream: _Stream, requests: AsyncIterator[pb.SubmitRequest]) -> None:
        await stream.room.acquire()
        async for request in requests:
            stream.asked()
            if not 1 <= len(request.changes) <= MAX_CHANGES_PER_REQUEST:
                raise Problem(
                    "changes",
                    f"send 1 to {MAX_CHANGES_PER_REQUEST} changes in a request",
                    "changes",
                )
            await self._slots.acquire()
            try:
                changes = await _changes(request, self._admit)
            except BaseException:
                self._slots.release()
                raise
            # A task's first step queues the changes, and tasks start in their order.
            answer = asyncio.create_task(self._answer(changes))
            answer.add_done_callback(lambda _: self._slots.release())
            stream.answers.put_nowait(answer)
            await stream.room.acquire()

    async def _finish_reading(self, stream: _Stream) -> None:
        """Raises what ended the reading, if it was not the client's own end."""
        if self._stopping:
            raise IntakeClosedError("the primary is stopping; submit again what got no answer")
        if stream.reading is not None:
            await stream.reading

    async def _answer(self, converted: Sequence[Change | Problem]) -> pb.SubmitResponse:
        submitted = await self._intake.submit(
            [each for each in converted if isinstance(each, Change)]
        )
        outcomes = iter(submitted.outcomes)
        response = pb.SubmitResponse(checkpoint=submitted.checkpoint)
        for each in converted:
            outcome = each if isinstance(each, Problem) else next(outcomes)
            if isinstance(outcome, Problem):
                self._metrics.refused.labels(outcome.code).inc()
                response.outcomes.add(problem=problem_message(outcome))
            else:
                response.outcomes.add(index=outcome)
        return response


async def _changes(
    request: pb.SubmitRequest, admit: Callable[[Change], None]
) -> list[Change | Problem]:
    """What the request asks for, in its order; of each change, whether it is taken this way."""
    converted: list[Change | Problem] = []
    for message in request.changes:
        if len(converted) % TURN_CHANGES == TURN_CHANGES - 1:
            await asyncio.sleep(0)
        each = change(message)
        try:
            if isinstance(each, Change):
                admit(each)
        except Problem as problem:
            each = problem
        converted.append(each)
    return converted
