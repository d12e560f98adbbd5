"""Looking: mirrors that connect, are asked what names lead to, and answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import grpc

from node.grpc_calls import Context
from node.listener import Service
from node.tls import peer_name
from primary.desk.vantage import Lookout, Question, VantagePoints
from registry.observations import Agreed, Outcome
from registry.wire.v1 import looking_pb2 as pb

NAME: Final[str] = pb.DESCRIPTOR.services_by_name["Looking"].full_name
# Of one lookup: a record set has rarely more, and a mirror may not fill memory.
MAX_VALUES: Final = 100
# As many names as a question may have.
MAX_SEEN: Final = 4

_OUTCOMES: Final = {
    pb.SEEN_OUTCOME_FOUND: Outcome.FOUND,
    pb.SEEN_OUTCOME_ABSENT: Outcome.ABSENT,
}


class LookingService:
    """smtpnic.v1.Looking."""

    def __init__(self, points: VantagePoints) -> None:
        self._points = points

    def service(self) -> Service:
        """The handler."""
        look = grpc.stream_stream_rpc_method_handler(
            self._look, pb.LookAnswer.FromString, pb.LookQuestion.SerializeToString
        )
        return Service(NAME, {"Look": look})

    async def _look(
        self, answers: AsyncIterator[pb.LookAnswer], context: Context
    ) -> AsyncIterator[pb.LookQuestion]:
        node = peer_name(context.auth_context()) or "unnamed"
        with self._points.joined(node) as lookout:
            hearing = asyncio.create_task(_hear(answers, lookout))
            try:
                while not hearing.done():
                    asking = asyncio.create_task(lookout.questions.get())
                    await asyncio.wait({hearing, asking}, return_when=asyncio.FIRST_COMPLETED)
                    if not asking.done():
                        asking.cancel()
                        return
                    yield _question(asking.result())
            finally:
                hearing.cancel()
                with suppress(asyncio.CancelledError):
                    await hearing


async def _hear(answers: AsyncIterator[pb.LookAnswer], lookout: Lookout) -> None:
    async for answer in answers:
        if len(answer.seen) <= MAX_SEEN:
            lookout.answer(answer.number, [_seen(one) for one in answer.seen])


def _seen(seen: pb.Seen) -> Agreed:
    outcome = _OUTCOMES.get(seen.outcome, Outcome.FAILED)
    values = frozenset(seen.values[:MAX_VALUES]) if outcome is Outcome.FOUND else frozenset()
    return Agreed(outcome, values, detail=seen.detail)


def _question(question: Question) -> pb.LookQuestion:
    lookups = [pb.Lookup(name=name, type=type_) for name, type_ in question.lookups]
    return pb.LookQuestion(number=question.number, lookups=lookups)
