"""What anyone may read of the register, at the primary itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from node.grpc_calls import Context
from node.workers import Workers
from primary.clock import clock_ms
from primary.database_contact import DatabaseContact
from primary.public_log import PublicLog
from primary.services.answers import CANNOT_READ, abort_with_problem
from primary.services.conversion import holder_view, registration_view
from primary.services.history import add_history
from primary.store.errors import StoreError
from primary.store.reader import Reader
from registry.address import Address
from registry.errors import Problem
from registry.kinds import Kind
from registry.limits import HOLDER_ID_BYTES
from registry.statistics import DAY_MS
from registry.wire.v1 import registration_pb2 as pb

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000
# A holder's public contact has up to 4 KiB, and a message 4 MiB.
MAX_HOLDERS_PAGE: Final = 500

# Runs in a thread of the pool, its response's encoding too: a full page takes milliseconds.
_Query = Callable[[Any], Message]


class Queries:
    """Answers from the database: one state of it for each call, not older than any receipt."""

    def __init__(self, reader: Reader, log: PublicLog, pool: Workers) -> None:
        self._reader = reader
        self._log = log
        self._pool = pool
        self._database = DatabaseContact("query")

    def handlers(self) -> Mapping[str, grpc.RpcMethodHandler[Any, Any]]:
        """The methods of smtpnic.v1.Registry that read."""
        return {
            "Get": self._handler(self._get, pb.GetRequest),
            "GetHolder": self._handler(self._get_holder, pb.GetHolderRequest),
            "List": self._handler(self._list, pb.ListRequest),
            "ListHolders": self._handler(self._list_holders, pb.ListHoldersRequest),
            "GetStatistics": self._handler(self._get_statistics, pb.GetStatisticsRequest),
        }

    def _get(self, request: pb.GetRequest) -> pb.RegistrationView:
        address = Address.parse(request.address)
        record = self._reader.get(Kind.REGISTRATION, address.packed)
        if record is None:
            raise Problem("not_found", f"{address} is not registered", "address")
        return registration_view(record)

    def _get_holder(self, request: pb.GetHolderRequest) -> pb.HolderView:
        _check_holder_id(request.holder_id)
        record = self._reader.get(Kind.HOLDER, request.holder_id)
        if record is None:
            raise Problem("not_found", "there is no such holder", "holder_id")
        return holder_view(record)

    def _list(self, request: pb.ListRequest) -> pb.ListResponse:
        if request.holder_id:
            _check_holder_id(request.holder_id)
        limit = _page_size(request.page_size, MAX_PAGE)
        records = self._reader.list_registrations(
            _parse_token(request.page_token), limit, request.holder_id or None
        )
        views = [registration_view(record) for record in records]
        last = Address.parse(views[-1].address).packed if len(views) == limit else b""
        return pb.ListResponse(registrations=views, next_page_token=last.hex())

    def _list_holders(self, request: pb.ListHoldersRequest) -> pb.ListHoldersResponse:
        limit = _page_size(request.page_size, MAX_HOLDERS_PAGE)
        records = self._reader.list_holders(_parse_token(request.page_token), limit)
        views = [holder_view(record) for record in records]
        last = views[-1].holder_id if len(views) == limit else b""
        return pb.ListHoldersResponse(holders=views, next_page_token=last.hex())

    def _get_statistics(self, request: pb.GetStatisticsRequest) -> pb.Statistics:
        head = self._log.head
        counted = self._reader.statistics()
        message = pb.Statistics(
            log_size=counted.log_size,
            registrations=counted.registrations,
            holders=counted.holders,
            zone_serial=counted.zone_serial,
            last_change_ms=counted.last_change_ms,
            checkpoint=head.checkpoint,
        )
        if request.history:
            add_history(message, self._reader.days(), clock_ms() // DAY_MS)
        return message

    def _handler(self, query: _Query, request_type: type[Any]) -> grpc.RpcMethodHandler[Any, Any]:
        def answer(request: Any) -> bytes:
            return query(request).SerializeToString()

        async def handle(request: Any, context: Context) -> bytes:
            try:
                response = await self._pool.run(answer, request)
            except Problem as problem:
                await abort_with_problem(context, problem)
            except StoreError as error:
                self._database.refused(error)
                await context.abort(grpc.StatusCode.UNAVAILABLE, CANNOT_READ)
            self._database.answered()
            return response

        return grpc.unary_unary_rpc_method_handler(handle, request_type.FromString)


def _check_holder_id(holder_id: bytes) -> None:
    if len(holder_id) != HOLDER_ID_BYTES:
        raise Problem("holder", f"a holder's identifier has {HOLDER_ID_BYTES} bytes", "holder_id")


def _page_size(asked: int, most: int) -> int:
    """Never more than `most`: a client goes on for as long as it is given a token."""
    return min(asked or DEFAULT_PAGE, most)


def _parse_token(token: str) -> bytes | None:
    """The key that the last page ended with; None for the first page."""
    try:
        return bytes.fromhex(token) or None
    except ValueError:
        raise Problem(
            "page_token", "give the token of the last response, or none to start", "page_token"
        ) from None
