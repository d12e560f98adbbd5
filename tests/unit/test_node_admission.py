"""What stands before every handler: clients' shares, slow requests, and faults."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import structlog
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

from node import admission
from node.admission import client_address, peer_address
from node.certificates import Shown
from node.gate import Gate, GateClosedError, NotAdmittedError, Visit, Visits
from node.listener import Capacity, Listener, Service
from node.logging import configure

SECONDS = 10.0
NAME = "test.Test"


async def _echo(request: StringValue, _context: object) -> StringValue:
    return request


async def _fail(request: StringValue, _context: object) -> StringValue:
    raise ValueError(f"secret {request.value}")


async def _forever(_request: StringValue, _context: object) -> AsyncIterator[StringValue]:
    yield StringValue(value="begun")
    await asyncio.Event().wait()


SERVICE = Service(
    NAME,
    {
        "Echo": grpc.unary_unary_rpc_method_handler(
            _echo, StringValue.FromString, StringValue.SerializeToString
        ),
        "Fail": grpc.unary_unary_rpc_method_handler(
            _fail, StringValue.FromString, StringValue.SerializeToString
        ),
        "Forever": grpc.unary_stream_rpc_method_handler(
            _forever, StringValue.FromString, StringValue.SerializeToString
        ),
    },
)


def _run(
    path: str,
    scenario: Callable[[aio.Channel], Awaitable[None]],
    gate: Gate | None = None,
) -> None:
    """Runs a scenario against a listener that grants each client two calls."""

    async def run() -> None:
        capacity = Capacity(connections=4, calls=8, calls_per_client=2)
        listener = Listener([SERVICE], capacity, gate=gate)
        listener._server.add_insecure_port(path)
        await listener.start()
        try:
            async with aio.insecure_channel(path) as channel:
                await asyncio.wait_for(scenario(channel), SECONDS)
        finally:
            await listener.stop(0)

    asyncio.run(run())


async def _ask(channel: aio.Channel, method: str, request: bytes) -> tuple[Any, str]:
    """The status of a call, and its text."""
    multicallable: Any = channel.unary_unary(f"/{NAME}/{method}")
    call = multicallable(request)
    return await call.code(), await call.details()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/s"


def test_a_client_has_its_share_of_calls_and_no_more(path: str) -> None:
    """One call too many is refused in words; one that ended makes room."""

    async def scenario(channel: aio.Channel) -> None:
        forever: Any = channel.unary_stream(f"/{NAME}/Forever")
        held = [forever(b"") for _ in range(2)]
        for call in held:
            await call.read()
        code, details = await _ask(channel, "Echo", b"")
        assert grpc.StatusCode.RESOURCE_EXHAUSTED == code
        assert "2 calls of yours" in details
        held[0].cancel()
        while code is not grpc.StatusCode.OK:
            assert grpc.StatusCode.RESOURCE_EXHAUSTED == code
            code, _ = await _ask(channel, "Echo", b"")

    _run(path, scenario)


def test_a_call_without_a_request_ends(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is begun and never asked is not held for ever, nor one that asks nothing."""
    monkeypatch.setattr(admission, "REQUEST_SECONDS", 0.05)

    async def scenario(channel: aio.Channel) -> None:
        method: Any = channel.stream_unary(f"/{NAME}/Echo")
        silent = method()
        assert grpc.StatusCode.DEADLINE_EXCEEDED == await silent.code()
        empty = method(iter([]))
        assert grpc.StatusCode.INVALID_ARGUMENT == await empty.code()

    _run(path, scenario)


def test_a_fault_is_for_the_log_alone(path: str) -> None:
    """The caller learns that it happened; the log where, and neither what was asked."""
    stream = io.StringIO()

    async def scenario(channel: aio.Channel) -> None:
        fault = await _ask(channel, "Fail", StringValue(value="key").SerializeToString())
        assert (grpc.StatusCode.INTERNAL, admission.FAULT) == fault
        code, _ = await _ask(channel, "Fail", b"\xff")
        assert grpc.StatusCode.INVALID_ARGUMENT == code

    try:
        configure("json", "info", stream)
        _run(path, scenario)
    finally:
        structlog.reset_defaults()
    (line,) = stream.getvalue().splitlines()
    assert "call.failed" in line
    assert "ValueError" in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2:3::4%5D:4711", "20010db800010002"),
        ("ipv6:[2001:db8:1:2::9]:4712", "20010db800010002"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:4711", "192.0.2.1"),
        ("unix:", "unix"),
    ],
)
def test_a_client_is_its_address(peer: str, client: str) -> None:
    """Whatever its port; of IPv6 it is the network, in which addresses cost nothing."""
    assert client == client_address(peer)


ONE: Final = Shown(
    "one", bytes(32), datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), bytes(32)
)


class _Gate:
    """Knows everybody as one, and lets them echo and stream."""

    def __init__(self) -> None:
        self.visits = Visits()
        self.is_closed = False

    async def enter(self, certificate: bytes, method: str) -> Visit:
        assert b"" == certificate
        if self.is_closed:
            raise GateClosedError("not known yet")
        if method.endswith("Fail"):
            raise NotAdmittedError("this is not yours", is_known=True)
        return Visit(self.visits, ONE)


def test_a_gate_lets_in_and_ends_what_it_let_in(path: str) -> None:
    """Who may not call is told why before the handler is asked; who may no more is cut off in the
    middle of a stream, and told as well."""
    gate = _Gate()

    async def scenario(channel: aio.Channel) -> None:
        refused = await _ask(channel, "Fail", b"")
        assert (grpc.StatusCode.PERMISSION_DENIED, "this is not yours") == refused
        assert grpc.StatusCode.OK == (await _ask(channel, "Echo", b""))[0]
        stream: Any = channel.unary_stream(f"/{NAME}/Forever")
        call = stream(b"")
        await call.read()
        assert [ONE] == gate.visits.visitors
        assert 1 == gate.visits.end(ONE, NotAdmittedError("you are out", is_known=False))
        assert grpc.StatusCode.UNAUTHENTICATED == await call.code()
        assert "you are out" == await call.details()
        assert [] == gate.visits.visitors

    _run(path, scenario, gate)


def test_who_comes_too_early_is_told_to_come_again(path: str) -> None:
    """While it is not known who may call, nobody is let in, and nobody refused for good."""
    gate = _Gate()
    gate.is_closed = True

    async def scenario(channel: aio.Channel) -> None:
        early = await _ask(channel, "Echo", b"")
        assert (grpc.StatusCode.UNAVAILABLE, "not known yet") == early

    _run(path, scenario, gate)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:50000", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:50000", "2001:db8::1"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:50000", "192.0.2.1"),
        ("unix:", "unix"),
    ],
)
def test_the_whole_address_of_a_peer(peer: str, address: str) -> None:
    """What a certificate is made for, where nothing else was said."""
    assert address == peer_address(peer)
