"""What callers are told of a database that refuses, and what the operator's log says of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any, NoReturn

import grpc
import pytest
from structlog.testing import capture_logs

from node.replication_service import ReplicationService, Sources
from node.workers import READ_THREADS, Workers
from primary.database_contact import DatabaseContact
from primary.intake import Intake, IntakeClosedError, Submitted
from primary.metrics import PrimaryMetrics
from primary.registering.asking import take_any
from primary.sequencer import Committed
from primary.services.answers import CANNOT_READ, CANNOT_WRITE
from primary.services.backlog import Backlog
from primary.services.bulk import BulkSubmission
from primary.services.queries import Queries
from primary.services.registry_service import RegistryService
from primary.store.errors import FencedError, StoreUnavailableError
from registry.errors import RegistryError
from registry.merkle import EMPTY_ROOT
from registry.wire.v1 import registration_pb2 as pb
from registry.wire.v1 import replication_pb2

DETAIL = "the database refused: disk I/O error in /somewhere/registry.db"
REFUSALS = [StoreUnavailableError(DETAIL), FencedError(DETAIL)]
STOPPING = IntakeClosedError("the primary is stopping; try again when it is back")


class _AbortedError(Exception):
    """What `abort` raises."""


class _Context:
    """Keeps what a call ended with."""

    told: tuple[grpc.StatusCode, str]

    async def abort(self, code: grpc.StatusCode, text: str, *_rest: object) -> NoReturn:
        self.told = code, text
        raise _AbortedError

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}


class _Failing:
    """An intake, a reader, a sequencer: fails at whatever it is asked for."""

    stopped_by = None

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error

    async def submit(self, _changes: Sequence[object]) -> Submitted:
        assert self.error
        raise self.error

    def commit(self, _changes: Sequence[object]) -> list[Committed]:
        if self.error:
            raise self.error
        head: Any = SimpleNamespace(checkpoint=b"")
        return [Committed((1,), None, (), head, 0.0)]

    def statistics(self) -> NoReturn:
        assert self.error
        raise self.error

    def root_at(self, _size: int) -> NoReturn:
        assert self.error
        raise self.error


def change(error: RegistryError) -> tuple[grpc.StatusCode, str]:
    """What the caller of a single change is told."""
    intake: Any = _Failing(error)
    none: Any = None
    service = RegistryService(intake, none, none, PrimaryMetrics(), admit=take_any)
    handler = service._change_handler(lambda _: none, pb.WithdrawRequest)
    return _told(handler, pb.WithdrawRequest())


def _told(handler: Any, request: object) -> tuple[grpc.StatusCode, str]:
    context: Any = _Context()
    with pytest.raises(_AbortedError):
        asyncio.run(handler.unary_unary(request, context))
    return context.told  # type: ignore[no-any-return]


def stream(error: RegistryError) -> tuple[grpc.StatusCode, str]:
    """What the caller of a bulk stream is told."""
    intake: Any = _Failing(error)
    context: Any = _Context()

    async def requests() -> AsyncIterator[pb.SubmitRequest]:
        yield pb.SubmitRequest(changes=[pb.Change()])

    async def scenario() -> None:
        submission = BulkSubmission(intake, PrimaryMetrics(), 1, idle_seconds=10, admit=take_any)
        async for _ in submission.submit(requests(), context):
            pass

    with pytest.raises(_AbortedError):
        asyncio.run(scenario())
    return context.told  # type: ignore[no-any-return]


@pytest.mark.parametrize("error", REFUSALS)
@pytest.mark.parametrize("ask", [change, stream])
def test_a_writer_is_told_no_detail(ask: Any, error: RegistryError) -> None:
    """The words of the database's driver stay here."""
    assert ask(error) == (grpc.StatusCode.UNAVAILABLE, CANNOT_WRITE)


@pytest.mark.parametrize("ask", [change, stream])
def test_the_end_of_the_process_is_told(ask: Any) -> None:
    """A primary that stops says so."""
    assert ask(STOPPING) == (grpc.StatusCode.UNAVAILABLE, str(STOPPING))


def test_a_reader_is_told_no_detail() -> None:
    """Nor is who only reads; the log has it."""
    reader: Any = _Failing(StoreUnavailableError(DETAIL))
    log: Any = SimpleNamespace(head=None)
    pool = Workers("read", READ_THREADS)
    with capture_logs() as logged:
        handler = Queries(reader, log, pool).handlers()["GetStatistics"]
        told = _told(handler, pb.GetStatisticsRequest())
    pool.close()
    assert told == (grpc.StatusCode.UNAVAILABLE, CANNOT_READ)
    assert [DETAIL] == [event["reason"] for event in logged]


def test_a_node_is_told_no_detail() -> None:
    """Nodes belong to others as well."""
    reader: Any = _Failing(StoreUnavailableError(DETAIL))
    context: Any = _Context()
    context.peer = lambda: "ipv4:127.0.0.1:1"
    pool = Workers("read", READ_THREADS)
    log: Any = SimpleNamespace(size=1, checkpoint=b"checkpoint", path=())
    unused: Any = None
    history = Backlog(log, reader, unused, pool, tiles=unused, snapshots=unused, stream_limit=1)
    sources = Sources(log, history, unused, unused, pool, unused)
    request = replication_pb2.SubscribeRequest(size=1, root_hash=EMPTY_ROOT)

    async def scenario() -> None:
        async for _ in ReplicationService(sources, {})._subscribe(request, context):
            pass

    with capture_logs() as logged, pytest.raises(_AbortedError):
        asyncio.run(scenario())
    pool.close()
    assert context.told == (grpc.StatusCode.UNAVAILABLE, CANNOT_READ)
    assert [DETAIL] == [event["reason"] for event in logged]


def test_the_log_tells_what_fails_once() -> None:
    """However often a commit fails for one reason, the operator reads it once, and of the end."""
    sequencer = _Failing(StoreUnavailableError(DETAIL))

    async def scenario() -> None:
        fake: Any = sequencer
        change: Any = object()
        intake = Intake(fake, 10, lambda _: None)
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await intake.submit([change])
        sequencer.error = StoreUnavailableError("another reason")
        with pytest.raises(StoreUnavailableError):
            await intake.submit([change])
        sequencer.error = None
        assert [1] == (await intake.submit([change])).outcomes
        await intake.close()

    with capture_logs() as logged:
        asyncio.run(scenario())
    assert [
        ("database.refused", DETAIL),
        ("database.refused", "another reason"),
        ("database.back", None),
    ] == [(event["event"], event.get("reason")) for event in logged]
    assert {"commit"} == {event["use"] for event in logged}


def test_what_never_failed_is_not_back() -> None:
    """Nothing is logged while all is well."""
    with capture_logs() as logged:
        DatabaseContact("commit").answered()
    assert not logged
