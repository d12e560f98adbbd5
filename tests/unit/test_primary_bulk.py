"""Bulk streams beside everyone else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any, NoReturn

import grpc
import pytest

from primary.intake import Submitted
from primary.metrics import PrimaryMetrics
from primary.registering.asking import take_any
from primary.services import bulk
from registry.errors import Problem
from registry.limits import MAX_CHANGES_PER_REQUEST
from registry.wire.v1 import registration_pb2 as pb


def test_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose changes take long to check does not hold the event loop to its end."""
    done: list[int] = []
    seen: list[int] = []

    def slow(_message: pb.Change) -> Problem:
        done.append(0)
        return Problem("change", "none")

    async def other() -> None:
        while len(done) < MAX_CHANGES_PER_REQUEST:
            seen.append(len(done))
            await asyncio.sleep(0)

    monkeypatch.setattr(bulk, "change", slow)
    request = pb.SubmitRequest(changes=[pb.Change()] * MAX_CHANGES_PER_REQUEST)

    async def together() -> None:
        converted, _ = await asyncio.gather(bulk._changes(request, take_any), other())
        assert len(converted) == MAX_CHANGES_PER_REQUEST

    asyncio.run(together())
    gaps = [after - before for before, after in pairwise(seen)]
    assert max(gaps) <= bulk.TURN_CHANGES


class _AbortedError(Exception):
    """What `abort` raises."""


class _Context:
    """Keeps the status that a stream ended with."""

    code: grpc.StatusCode | None = None

    async def abort(self, code: grpc.StatusCode, *_rest: object) -> NoReturn:
        self.code = code
        raise _AbortedError


class _SlowIntake:
    """Takes longer than a stream may be silent."""

    async def submit(self, _changes: Sequence[object]) -> Submitted:
        await asyncio.sleep(0.2)
        return Submitted([], b"")


def test_a_silent_stream_is_ended() -> None:
    """One that waits for its answer is not silent; then it has its time to go on, and no more."""
    intake: Any = _SlowIntake()
    context: Any = _Context()

    async def requests() -> AsyncIterator[pb.SubmitRequest]:
        yield pb.SubmitRequest(changes=[pb.Change()])
        await asyncio.Event().wait()

    async def scenario() -> None:
        submission = bulk.BulkSubmission(
            intake, PrimaryMetrics(), 1, idle_seconds=0.05, admit=take_any
        )
        answers = submission.submit(requests(), context)
        (outcome,) = (await anext(answers)).outcomes
        assert "change" == outcome.problem.code
        await anext(answers)

    with pytest.raises(_AbortedError):
        asyncio.run(asyncio.wait_for(scenario(), 10))
    # What clients take for passing, and go on after.
    assert grpc.StatusCode.UNAVAILABLE == context.code
