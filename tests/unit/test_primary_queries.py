"""Reads of the register beside everyone else."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from node.workers import READ_THREADS, Workers
from primary.services import queries
from registry.wire.v1 import registration_pb2 as pb


class _Reader:
    """Has two records."""

    def list_registrations(self, *_asked: object) -> list[str]:
        return ["192.0.2.1", "192.0.2.2"]


def test_a_page_is_made_in_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding a thousand records does not hold the event loop."""
    threads: set[str] = set()

    def view(record: str) -> pb.RegistrationView:
        threads.add(threading.current_thread().name)
        return pb.RegistrationView(address=record)

    monkeypatch.setattr(queries, "registration_view", view)
    pool, reader, none = Workers("read", READ_THREADS), _Reader(), object()
    made: Any = queries.Queries
    handler: Any = made(reader, none, pool).handlers()["List"]
    response = pb.ListResponse.FromString(
        asyncio.run(handler.unary_unary(pb.ListRequest(page_size=2), none))
    )
    pool.close()
    assert ["192.0.2.1", "192.0.2.2"] == [each.address for each in response.registrations]
    assert response.next_page_token
    assert {"read_0"} == threads
