"""Replication: the log's stream, snapshots, tiles and entries, for nodes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import grpc

from node.feed import Event, Feed, FeedClosedError, Subscription, TooManySubscribersError
from node.grpc_calls import Context, abort_busy
from node.listener import Handlers, Service
from node.logging import get_logger
from node.snapshot_files import SnapshotFile, SnapshotFiles, UnknownSnapshotError
from node.stream_events import fork, freshness_event, need_snapshot
from node.tls import peer_name
from node.workers import Workers
from registry.errors import MalformedError
from registry.limits import HASH_BYTES, MAX_LOG_SIZE
from registry.root_chain import RootChain, later_roots
from registry.tiles import TileId, leaves_under
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


class NoBatchEndsError(Exception):
    """The log has that root at that size, and no batch ends there."""


class NotNowError(Exception):
    """It cannot be told now; try again. The text is for who asked."""


class SharedLog(Protocol):
    """The log as everyone may see it; for the event loop's thread only."""

    @property
    def feed(self) -> Feed:
        """The newest events; another feed when the log was replaced as a whole."""

    @property
    def size(self) -> int:
        """How many entries there are."""

    @property
    def checkpoint(self) -> bytes:
        """The signed checkpoint of all of them; empty while there is nothing to be shared."""

    @property
    def freshness(self) -> bytes:
        """The newest checkpoint with a freshness cosignature; empty before the first."""

    @property
    def cosigned(self) -> bytes:
        """A recent checkpoint with the cosignatures that are published; may be empty."""

    @property
    def path(self) -> tuple[str, ...]:
        """The nodes that the log came through, this one last; empty at the primary."""


class History(Protocol):
    """What was shared before. Whatever cannot be told now is NotNowError."""

    async def root_at(self, size: int) -> bytes:
        """The root of the log at a size; empty beyond its end."""

    async def reaches(self, size: int) -> bool:
        """Whether batches can be streamed from that size on; NoBatchEndsError."""

    async def read(self, size: int) -> list[Event]:
        """The next events for a subscriber that holds the log up to `size`; empty at its end."""

    async def entries(self, index: int, width: int) -> bytes | None:
        """An entry bundle; None if it is not here."""

    def snapshot(self, size: int) -> SnapshotFile | None:
        """One that helps a subscriber that holds the log up to `size`; None: it is being made."""


class TileSource(Protocol):
    """The log's tiles."""

    async def wait_for(self, size: int, seconds: float) -> None:
        """Returns when the tiles cover `size`; TimeoutError after so many seconds."""

    def read(self, tile: TileId) -> bytes:
        """The tile's hashes; any thread may ask. StorageError."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the service answers from; `roots` tells the board's roots as they are known."""

    log: SharedLog
    history: History
    tiles: TileSource
    snapshots: SnapshotFiles
    pool: Workers
    roots: Callable[[], RootChain]


class ReplicationService:
    """smtpnic.v1.Replication."""

    def __init__(self, sources: Sources, own: Handlers) -> None:
        """`own` are the methods that are not every node's."""
        self._from = sources
        self._own = own

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
                **self._own,
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
            feed = self._from.log.feed
            subscription = feed.subscribe(
                name, context.peer(), request.size, time.time_ns() // 1_000_000
            )
            with closing(subscription), _logged(subscription):
                async for data in self._follow(feed, subscription):
                    yield data
        except TooManySubscribersError as error:
            await abort_busy(context, str(error), BUSY_MS)
        except (FeedClosedError, NotNowError, TimeoutError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    async def _check_position(
        self, name: str, request: pb.SubscribeRequest, context: Context
    ) -> bytes | None:
        """What ends the subscription at once; None when batches can be sent."""
        log, history = self._from.log, self._from.history
        if len(request.root_hash) != HASH_BYTES:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"a root hash has {HASH_BYTES} bytes"
            )
        if request.size > MAX_LOG_SIZE:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"a log has {MAX_LOG_SIZE} entries at most"
            )
        self._check_shared(request.size)
        checkpoint = log.checkpoint
        ours = await history.root_at(request.size)
        if ours != request.root_hash:
            _log.error("subscriber.forked", node=name, size=request.size, ours=ours)
            return fork(checkpoint, ours)
        try:
            if await history.reaches(request.size):
                return None
        except NoBatchEndsError:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"no batch ends at size {request.size}"
            )
        _log.info("subscriber.sent_to_snapshot", node=name, size=request.size)
        return need_snapshot(history.snapshot(request.size))

    def _check_shared(self, size: int) -> None:
        """NotNowError while there is nothing, or, at a mirror, less than who asks has already."""
        log = self._from.log
        if not log.checkpoint:
            raise NotNowError("the register is not loaded here yet")
        if log.path and size > log.size:
            raise NotNowError(f"this mirror holds {log.size} entries, and you {size}")

    async def _follow(self, feed: Feed, subscription: Subscription) -> AsyncIterator[bytes]:
        """The older batches, read again, then the newest from the feed, for ever."""
        log = self._from.log
        while True:
            while not subscription.attach():
                if feed.closed:
                    raise FeedClosedError("the log was replaced here; subscribe again")
                for event in await self._from.history.read(subscription.size):
                    # What is read may be ahead of what was announced.
                    if event.end <= feed.size:
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
        return pb.GetRootsResponse(roots=later_roots(self._from.roots(), request.after))

    async def _get_checkpoint(
        self, _request: pb.GetCheckpointRequest, context: Context
    ) -> pb.GetCheckpointResponse:
        log = self._from.log
        if not log.checkpoint:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the register is not loaded here yet")
        return pb.GetCheckpointResponse(
            checkpoint=log.checkpoint,
            freshness=log.freshness,
            cosigned=log.cosigned,
            path=log.path,
        )

    async def _read_snapshot(
        self, request: pb.ReadSnapshotRequest, context: Context
    ) -> AsyncIterator[pb.ReadSnapshotResponse]:
        try:
            with self._from.snapshots.open(request.name) as file:
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
        await self._wait_for_leaves(max(map(leaves_under, tiles), default=0), context)
        for message, tile in zip(request.tiles, tiles, strict=True):
            hashes = await self._from.pool.run(self._from.tiles.read, tile)
            yield pb.Tile(id=message, hashes=hashes)

    async def _get_entry_bundle(
        self, request: pb.GetEntryBundleRequest, context: Context
    ) -> pb.GetEntryBundleResponse:
        try:
            tile = TileId(0, request.index, request.width)
        except MalformedError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if leaves_under(tile) > self._from.log.size:
            await _abort_beyond(context)
        try:
            bundle = await self._from.history.entries(request.index, request.width)
        except NotNowError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        if bundle is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "these entries are not here")
        return pb.GetEntryBundleResponse(bundle=bundle)

    async def _wait_for_leaves(self, size: int, context: Context) -> None:
        if size > self._from.log.size:
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


async def _abort_beyond(context: Context) -> None:
    await context.abort(grpc.StatusCode.OUT_OF_RANGE, "the log is shorter than that")
