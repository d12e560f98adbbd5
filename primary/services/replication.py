"""Replication: the log's stream, snapshots, tiles and entries, for nodes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

import grpc

from node.logging import get_logger
from node.tls import peer_name
from primary.database_contact import DatabaseContact
from primary.feed import FeedClosedError, Subscription, TooManySubscribersError
from primary.log_signer import LogSigner
from primary.public_log import PublicLog
from primary.read_pool import ReadPool
from primary.server import Service
from primary.services.answers import CANNOT_READ, Context, abort_busy
from primary.services.backlog import Backlog
from primary.services.events import fork, freshness_event, need_snapshot
from primary.snapshot_maker import SnapshotMaker
from primary.snapshots import UnknownSnapshotError
from primary.store.errors import StoreUnavailableError
from primary.store.reader import Reader
from primary.tile_keeper import TileKeeper
from registry.errors import MalformedError
from registry.limits import HASH_BYTES, MAX_LOG_SIZE
from registry.merkle import EMPTY_ROOT
from registry.root_chain import later_roots
from registry.tiles import TILE_HEIGHT, TILE_WIDTH, TileId, compact_range, encode_bundle
from registry.wire.v1 import replication_pb2 as pb

NAME: Final[str] = pb.DESCRIPTOR.services_by_name["Replication"].full_name

# A sixteenth of the largest message: an interrupted read loses little.
CHUNK_BYTES: Final = 256 * 1024
# The hashes of 262,144 leaves.
MAX_TILES: Final = 1024
# Tiles follow a commit within milliseconds.
TILES_SECONDS: Final = 5.0
# What a node that found all places taken is asked to wait.
BUSY_MS: Final = 5000

_log = get_logger("replication")


@dataclass(frozen=True, slots=True)
class Sources:
    """What the service answers from. A subscriber may lack `stream_limit` entries at most."""

    log: PublicLog
    backlog: Backlog
    reader: Reader
    tiles: TileKeeper
    snapshots: SnapshotMaker
    pool: ReadPool
    stream_limit: int
    signer: LogSigner


class ReplicationService:
    """smtpnic.v1.Replication."""

    def __init__(self, sources: Sources) -> None:
        self._from = sources
        self._database = DatabaseContact("stream")

    def service(self) -> Service:
        """The handlers. A subscriber's events are bytes already, so nothing encodes them again."""
        return Service(
            NAME,
            {
                "Subscribe": grpc.unary_stream_rpc_method_handler(
                    self._subscribe, pb.SubscribeRequest.FromString
                ),
                "GetRoots": grpc.unary_unary_rpc_method_handler(
                    self._get_roots,
                    pb.GetRootsRequest.FromString,
                    pb.GetRootsResponse.SerializeToString,
                ),
                "GetCheckpoint": grpc.unary_unary_rpc_method_handler(
                    self._get_checkpoint,
                    pb.GetCheckpointRequest.FromString,
                    pb.GetCheckpointResponse.SerializeToString,
                ),
                "ReadSnapshot": grpc.unary_stream_rpc_method_handler(
                    self._read_snapshot,
                    pb.ReadSnapshotRequest.FromString,
                    pb.ReadSnapshotResponse.SerializeToString,
                ),
                "ReadTiles": grpc.unary_stream_rpc_method_handler(
                    self._read_tiles, pb.ReadTilesRequest.FromString, pb.Tile.SerializeToString
                ),
                "GetEntryBundle": grpc.unary_unary_rpc_method_handler(
                    self._get_entry_bundle,
                    pb.GetEntryBundleRequest.FromString,
                    pb.GetEntryBundleResponse.SerializeToString,
                ),
            },
        )

    async def _subscribe(
        self, request: pb.SubscribeRequest, context: Context
    ) -> AsyncIterator[bytes]:
        name = peer_name(context.auth_context()) or "unnamed"
        try:
            refusal = await self._check_position(name, request, context)
            if refusal is not None:
                yield refusal
                return
            subscription = self._from.log.feed.subscribe(
                name, context.peer(), request.size, time.time_ns() // 1_000_000
            )
            self._database.answered()
            with closing(subscription), _logged(subscription):
                async for data in self._follow(subscription):
                    yield data
        except TooManySubscribersError as error:
            await abort_busy(context, str(error), BUSY_MS)
        except StoreUnavailableError as error:
            self._database.refused(error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, CANNOT_READ)
        except (FeedClosedError, TimeoutError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    async def _check_position(
        self, name: str, request: pb.SubscribeRequest, context: Context
    ) -> bytes | None:
        """What ends the subscription at once; None when batches can be sent."""
        head = self._from.log.head
        if len(request.root_hash) != HASH_BYTES:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"a root hash has {HASH_BYTES} bytes"
            )
        if request.size > MAX_LOG_SIZE:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"a log has {MAX_LOG_SIZE} entries at most"
            )
        recorded = await self._recorded_root(request.size)
        ours = recorded or await self._computed_root(request.size, head.size)
        if ours != request.root_hash:
            _log.error("subscriber.forked", node=name, size=request.size, ours=ours)
            return fork(head.checkpoint, ours)
        if recorded is None and request.size >= await self._from.pool.run(
            self._from.reader.first_size
        ):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"no batch ends at size {request.size}"
            )
        is_lost = request.size < await self._from.pool.run(self._from.reader.first_size)
        if is_lost or head.size - request.size > self._from.stream_limit:
            _log.info("subscriber.sent_to_snapshot", node=name, size=request.size)
            return need_snapshot(self._from.snapshots.useful(request.size, head.size))
        return None

    async def _recorded_root(self, size: int) -> bytes | None:
        """The root at `size`; None where no batch ends."""
        return await self._from.pool.run(self._from.reader.root_at, size) if size else EMPTY_ROOT

    async def _computed_root(self, size: int, log_size: int) -> bytes:
        """The root at any size, for a log that forked has other batches; empty beyond the end."""
        if size > log_size:
            return b""
        await self._from.tiles.wait_for(size, TILES_SECONDS)
        held = await self._from.pool.run(compact_range, size, self._from.tiles.files)
        return held.root()

    async def _follow(self, subscription: Subscription) -> AsyncIterator[bytes]:
        """The older batches from the database, then the newest from the feed, for ever."""
        log = self._from.log
        while True:
            while not subscription.attach():
                for event in await self._from.backlog.read(subscription.size):
                    # The database may be ahead of what was announced.
                    if event.end <= log.feed.size:
                        subscription.size = event.end
                        yield event.data
            if log.freshness:
                yield freshness_event(subscription.size, log.freshness).data
            while subscription.attached:
                for data in await subscription.take():
                    yield data

    async def _get_roots(
        self, request: pb.GetRootsRequest, _context: Context
    ) -> pb.GetRootsResponse:
        return pb.GetRootsResponse(roots=later_roots(self._from.signer.chain, request.after))

    async def _get_checkpoint(
        self, _request: pb.GetCheckpointRequest, _context: Context
    ) -> pb.GetCheckpointResponse:
        log = self._from.log
        return pb.GetCheckpointResponse(checkpoint=log.head.checkpoint, freshness=log.freshness)

    async def _read_snapshot(
        self, request: pb.ReadSnapshotRequest, context: Context
    ) -> AsyncIterator[pb.ReadSnapshotResponse]:
        try:
            with self._from.snapshots.files.open(request.name) as file:
                if request.offset > file.seek(0, 2):
                    await context.abort(
                        grpc.StatusCode.OUT_OF_RANGE, "the snapshot ends before this offset"
                    )
                file.seek(request.offset)
                while data := await self._from.pool.run(file.read, CHUNK_BYTES):
                    yield pb.ReadSnapshotResponse(data=data)
        except UnknownSnapshotError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{error}; subscribe again")

    async def _read_tiles(
        self, request: pb.ReadTilesRequest, context: Context
    ) -> AsyncIterator[pb.Tile]:
        if len(request.tiles) > MAX_TILES:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"ask for {MAX_TILES} tiles at a time"
            )
        try:
            tiles = [TileId(tile.level, tile.index, tile.width) for tile in request.tiles]
        except MalformedError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        await self._wait_for_leaves(max(map(_leaves_under, tiles), default=0), context)
        for message, tile in zip(request.tiles, tiles, strict=True):
            hashes = await self._from.pool.run(self._from.tiles.files.read, tile)
            yield pb.Tile(id=message, hashes=hashes)

    async def _get_entry_bundle(
        self, request: pb.GetEntryBundleRequest, context: Context
    ) -> pb.GetEntryBundleResponse:
        try:
            tile = TileId(0, request.index, request.width)
        except MalformedError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if _leaves_under(tile) > self._from.log.head.size:
            await _abort_beyond(context)
        entries = await self._from.pool.run(
            self._from.reader.entries, tile.index * TILE_WIDTH, tile.width
        )
        if len(entries) < tile.width:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, "entries of this bundle were lost with an older primary"
            )
        return pb.GetEntryBundleResponse(bundle=encode_bundle(entries))

    async def _wait_for_leaves(self, size: int, context: Context) -> None:
        if size > self._from.log.head.size:
            await _abort_beyond(context)
        try:
            await self._from.tiles.wait_for(size, TILES_SECONDS)
        except TimeoutError:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "the tiles are still being written; try again"
            )


@contextmanager
def _logged(subscription: Subscription) -> Iterator[None]:
    _log.info("subscriber.joined", node=subscription.name, size=subscription.size)
    try:
        yield
    finally:
        _log.info("subscriber.left", node=subscription.name, size=subscription.size)


def _leaves_under(tile: TileId) -> int:
    """The size of the smallest log that has the tile."""
    return (tile.index * TILE_WIDTH + tile.width) << (TILE_HEIGHT * tile.level)


async def _abort_beyond(context: Context) -> None:
    await context.abort(grpc.StatusCode.OUT_OF_RANGE, "the log is shorter than that")
