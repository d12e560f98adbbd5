"""Bulk streams beside everyone else."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

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
        converted, _ = await asyncio.gather(bulk._changes(request), other())
        assert len(converted) == MAX_CHANGES_PER_REQUEST

    asyncio.run(together())
    gaps = [after - before for before, after in pairwise(seen)]
    assert max(gaps) <= bulk.TURN_CHANGES
