"""smtpnic.v1.Board: the board's texts, for anyone; their signatures say who may do what."""

from __future__ import annotations

import time
from typing import Any, Final

import grpc

from node.grpc_calls import Context
from node.listener import Service
from node.workers import Workers
from primary.board_room import BoardRoom
from primary.services.answers import CANNOT_READ, abort_unchanged
from primary.store.errors import StoreUnavailableError
from primary.store.reader import Reader
from registry.entry import Entry
from registry.errors import RegistryError
from registry.kinds import Kind
from registry.root_chain import later_roots
from registry.wire.v1 import board_pb2 as pb
from registry.wire.v1 import replication_pb2

NAME: Final[str] = pb.DESCRIPTOR.services_by_name["Board"].full_name

# Of 8 KiB each at most.
DECISIONS_A_MESSAGE: Final = 256
BUSY_MS: Final = 200


class BoardService:
    """smtpnic.v1.Board."""

    def __init__(self, room: BoardRoom, reader: Reader, pool: Workers) -> None:
        self._room = room
        self._reader = reader
        self._pool = pool

    def service(self) -> Service:
        """The handlers."""
        return Service(
            NAME,
            {
                "GetRoots": _unary(self._get_roots, replication_pb2.GetRootsRequest),
                "SubmitText": _unary(self._submit_text, pb.SubmitTextRequest),
                "ListProposals": _unary(self._list_proposals, pb.ListProposalsRequest),
                "ListDecisions": _unary(self._list_decisions, pb.ListDecisionsRequest),
            },
        )

    async def _get_roots(
        self, request: replication_pb2.GetRootsRequest, _context: Context
    ) -> replication_pb2.GetRootsResponse:
        roots = later_roots(self._room.board.chain, request.after)
        return replication_pb2.GetRootsResponse(roots=roots)

    async def _submit_text(
        self, request: pb.SubmitTextRequest, context: Context
    ) -> pb.SubmitTextResponse:
        try:
            standing = await self._room.submit(request.text, time.time())
        except RegistryError as error:
            await abort_unchanged(context, error, BUSY_MS)
        return pb.SubmitTextResponse(
            text=standing.text.encode(),
            signed=standing.signed,
            threshold=standing.threshold,
            index=standing.index or 0,
            checkpoint=standing.checkpoint,
        )

    async def _list_proposals(
        self, _request: pb.ListProposalsRequest, _context: Context
    ) -> pb.ListProposalsResponse:
        texts = [text.encode() for text in self._room.open_proposals(time.time())]
        return pb.ListProposalsResponse(texts=texts)

    async def _list_decisions(
        self, request: pb.ListDecisionsRequest, context: Context
    ) -> pb.ListDecisionsResponse:
        read = self._reader.records_after
        try:
            later = await self._pool.run(read, Kind.DECISION, request.after, DECISIONS_A_MESSAGE)
        except StoreUnavailableError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, CANNOT_READ)
        return pb.ListDecisionsResponse(
            decisions=[_logged(each.index, each.entry) for each in later]
        )


def _logged(index: int, data: bytes) -> pb.LoggedText:
    entry = Entry.decode(data)
    return pb.LoggedText(index=index, time_ms=entry.time_ms, text=entry.payload)


def _unary(handler: Any, request_type: type[Any]) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        handler, request_type.FromString, lambda response: response.SerializeToString()
    )
