"""Looks at names where the primary asks to: this mirror is another place on the Internet.

It sees whether a mail server's names lead to each other, and says so; nothing of it is kept. In a
thread and an event loop of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final

import grpc
from grpc import aio

from node.endpoint import Endpoint
from node.identity_files import IdentityFiles
from node.logging import get_logger
from node.resolving import Resolvers
from node.retry import Backoff
from node.tls import CHANNEL_OPTIONS, channel_credentials
from registry.observations import Agreed, Outcome
from registry.wire.v1 import looking_pb2 as pb
from registry.wire.v1.looking_pb2_grpc import LookingStub

STOP_SECONDS: Final = 5.0
# After a primary that knows no such service, or one that refuses.
REFUSED_SECONDS: Final = 600.0
# What may be asked for; a mirror is no open resolver.
TYPES: Final = ("A", "AAAA", "PTR")
MAX_LOOKUPS: Final = 4
# Questions that are looked at at once; the primary leaves others unasked.
AT_ONCE: Final = 16

_OUTCOMES: Final = {
    Outcome.FOUND: pb.SEEN_OUTCOME_FOUND,
    Outcome.ABSENT: pb.SEEN_OUTCOME_ABSENT,
    Outcome.FAILED: pb.SEEN_OUTCOME_FAILED,
}
_REFUSALS: Final = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED)

_log = get_logger("looking")


class Looking:
    """Answers the primary's questions, so many a second at most, until it is stopped."""

    def __init__(
        self,
        primary: Endpoint,
        files: IdentityFiles,
        resolvers: Sequence[Endpoint],
        per_second: float,
    ) -> None:
        """Prepare; nothing is sent yet."""
        self._primary = primary
        self._files = files
        self._resolvers = resolvers
        self._pause_seconds = 1 / per_second
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="looking", daemon=True)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; it connects, and connects again, by itself."""
        self._thread.start()

    def stop(self) -> None:
        """End, whatever is being looked at."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel)
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._look_for_ever())
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    async def _look_for_ever(self) -> None:
        resolvers, retry = Resolvers(self._resolvers), Backoff(Random())  # noqa: S311 - spreads retries
        while True:
            refused = False
            try:
                await self._look(resolvers, retry)
            except* aio.AioRpcError as errors:
                refused = any(_is_refusal(error) for error in errors.exceptions)
            await asyncio.sleep(REFUSED_SECONDS if refused else retry.next_delay())

    async def _look(self, resolvers: Resolvers, retry: Backoff) -> None:
        # A certificate may have been renewed meanwhile.
        own = self._files.look()
        credentials = channel_credentials(own.authority, own.identity)
        async with aio.secure_channel(
            str(self._primary), credentials, options=CHANNEL_OPTIONS
        ) as channel:
            stub: Any = LookingStub(channel)
            answers: asyncio.Queue[pb.LookAnswer] = asyncio.Queue()
            answers.put_nowait(pb.LookAnswer())
            room = asyncio.Semaphore(AT_ONCE)
            async with asyncio.TaskGroup() as group:
                async for question in stub.Look(_taken(answers)):
                    retry.reset()
                    await room.acquire()
                    looking = group.create_task(self._answer(question, resolvers, answers))
                    looking.add_done_callback(lambda _: room.release())
                    await asyncio.sleep(self._pause_seconds)

    async def _answer(
        self,
        question: pb.LookQuestion,
        resolvers: Resolvers,
        answers: asyncio.Queue[pb.LookAnswer],
    ) -> None:
        lookups = question.lookups
        if len(lookups) > MAX_LOOKUPS or any(one.type not in TYPES for one in lookups):
            return
        seen = await asyncio.gather(*(resolvers.ask(one.name, one.type) for one in lookups))
        answers.put_nowait(pb.LookAnswer(number=question.number, seen=map(_seen, seen)))


def _is_refusal(error: BaseException) -> bool:
    if not isinstance(error, aio.AioRpcError) or error.code() not in _REFUSALS:
        return False
    _log.info("looking.refused", reason=error.details())
    return True


async def _taken(answers: asyncio.Queue[pb.LookAnswer]) -> AsyncIterator[pb.LookAnswer]:
    while True:
        yield await answers.get()


def _seen(agreed: Agreed) -> pb.Seen:
    return pb.Seen(
        outcome=_OUTCOMES[agreed.outcome], values=sorted(agreed.values), detail=agreed.detail
    )
