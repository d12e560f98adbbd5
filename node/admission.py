"""Stands before every handler of a listener: who may begin a call, and what a fault looks like."""

from __future__ import annotations

import asyncio
import ipaddress
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from inspect import isasyncgen
from typing import Any, Final
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from node.gate import Gate, GateClosedError, NotAdmittedError
from node.grpc_calls import Context, abort_busy
from node.logging import get_logger
from node.tls import peer_certificate, peer_name

# A client sends a call and its request together; as long as a handshake may take.
REQUEST_SECONDS: Final = 10.0
# What a client that holds too many calls is asked to wait.
BUSY_MS: Final = 1000
# What one customer is given of IPv6 (RFC 6177): addresses within it are one client's.
IPV6_CLIENT_BITS: Final = 64
# Of a certificate that nobody is known by, and of one whose node may not do that.
_REFUSALS: Final = {
    False: grpc.StatusCode.UNAUTHENTICATED,
    True: grpc.StatusCode.PERMISSION_DENIED,
}
FAULT: Final = "internal error; the operator's log has it"

# What tells a listener's clients apart.
ClientOf = Callable[[Context], str]
_Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]

_log = get_logger("calls")


class Admission(aio.ServerInterceptor):
    """Lets each client have `calls_per_client` calls in progress; `client_of` says whose one is.

    Every call is taken as a stream of requests, for gRPC asks no handler before the request of
    an ordinary call is there, and waits for it without end.
    """

    def __init__(
        self, calls_per_client: int, client_of: ClientOf, gate: Gate | None = None
    ) -> None:
        """`gate` says which certificates may call what, and ends their calls when they may not."""
        self._most = calls_per_client
        self._client_of = client_of
        self._gate = gate
        self._calls: Counter[str] = Counter()

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The method's handler, guarded; None where there is none."""
        handler = await continuation(handler_call_details)
        return self._guarded(handler, handler_call_details.method) if handler else None

    def _guarded(
        self, handler: grpc.RpcMethodHandler[Any, Any], method: str
    ) -> grpc.RpcMethodHandler[Any, Any]:
        async def handle(requests: AsyncIterator[Any], context: Context) -> Any:
            try:
                with self._admitted(self._client_of(context)) as admitted:
                    if admitted:
                        return await self._let_in(handler, requests, context, method)
                await abort_busy(
                    context, f"{self._most} calls of yours are in progress: end some first", BUSY_MS
                )
            except aio.BaseError:
                # What a handler ended by itself, and what became of a client that left.
                raise
            except NotAdmittedError as error:
                await context.abort(_REFUSALS[error.is_known], str(error))
            except GateClosedError as error:
                await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            except DecodeError:
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, "the request is not of this method's type"
                )
            except Exception as error:  # noqa: BLE001 - the caller must not read its text
                _log_fault(method, error)
                await context.abort(grpc.StatusCode.INTERNAL, FAULT)

        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(handle, handler.request_deserializer, handler.response_serializer)

    async def _let_in(
        self,
        handler: grpc.RpcMethodHandler[Any, Any],
        requests: AsyncIterator[Any],
        context: Context,
        method: str,
    ) -> Any:
        if self._gate is None:
            return await _call(handler, requests, context)
        visit = await self._gate.enter(peer_certificate(context.auth_context()), method)
        return await visit.during(_call(handler, requests, context))

    @contextmanager
    def _admitted(self, client: str) -> Iterator[bool]:
        """Whether the client may have one call more, and counts it until it ends."""
        if self._calls[client] >= self._most:
            yield False
            return
        self._calls[client] += 1
        try:
            yield True
        finally:
            self._calls[client] -= 1
            if not self._calls[client]:
                del self._calls[client]


def by_address(context: Context) -> str:
    """A client is its address; all of a UNIX socket are one."""
    return client_address(context.peer())


def by_certificate(context: Context) -> str:
    """A client is the name in its certificate."""
    return peer_name(context.auth_context()) or "unnamed"


def client_address(peer: str) -> str:
    """The address, without the port, in gRPC's name of a peer; of IPv6, the network."""
    host = peer_address(peer)
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    return (int(address) >> (128 - IPV6_CLIENT_BITS)).to_bytes(8).hex()


def peer_address(peer: str) -> str:
    """The whole address in gRPC's name of a peer; the name's family where it has none."""
    family, _, rest = peer.partition(":")
    if family not in ("ipv4", "ipv6"):
        return family
    host = unquote(rest).rpartition(":")[0].strip("[]")
    if family == "ipv4":
        return host
    address = ipaddress.IPv6Address(host)
    return str(address.ipv4_mapped or address)


async def _call(
    handler: grpc.RpcMethodHandler[Any, Any], requests: AsyncIterator[Any], context: Context
) -> Any:
    """Calls a handler of any of the four kinds; streamed responses are written here."""
    asked = requests if handler.request_streaming else await _request(context)
    if not handler.response_streaming:
        unary: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary
        return await unary(asked, context)
    stream: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream
    answers = stream(asked, context)
    if not isasyncgen(answers):
        return await answers
    async with aclosing(answers):
        async for answer in answers:
            await context.write(answer)
    return None


async def _request(context: Context) -> Any:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            request = await context.read()
    except TimeoutError:
        await context.abort(
            grpc.StatusCode.DEADLINE_EXCEEDED, f"no request came within {REQUEST_SECONDS:g} seconds"
        )
    if request is aio.EOF:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call ended without a request")
    return request


def _log_fault(method: str, error: Exception) -> None:
    """Where it happened, and not what it says: its text may hold what was asked, keys included."""
    frames = traceback.extract_tb(error.__traceback__)
    at = [f"{frame.filename}:{frame.lineno}" for frame in frames]
    _log.error("call.failed", method=method, error=type(error).__name__, at=at)
