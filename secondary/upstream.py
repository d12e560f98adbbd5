"""The client of Replication: what a primary, or a mirror of it, sends; nothing is verified here.

Nothing here tries again by itself: UpstreamUnavailable is raised at once, so that the caller
can say so, wait as it sees fit, and go on. Keepalive on both ends finds dead connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import grpc

from node.endpoint import Endpoint
from node.tls import CHANNEL_OPTIONS, READ_IN_PLACE, Identity, channel_credentials
from registry.batch import Batch
from registry.errors import LimitError, MalformedError
from registry.limits import HASH_BYTES
from registry.root import MAX_ROOTS
from registry.tiles import TileId
from registry.wire.v1 import replication_pb2 as pb
from registry.wire.v1.replication_pb2_grpc import ReplicationStub

CALL_SECONDS: Final = 10.0
# A request's tiles, 2 MiB or a few, on a slow line.
TILES_SECONDS: Final = 60.0
# A snapshot takes as many attempts as it needs, each from where the last one ended.
SNAPSHOT_SECONDS: Final = 600.0
RECONNECT_MS: Final = 500
# Mirrors one behind the other; each costs a transaction in etcd, so more make no sense.
MAX_PATH: Final = 16


class UpstreamError(Exception):
    """The upstream did not give what was asked for."""


class UpstreamUnavailable(UpstreamError):  # noqa: N818 - named for what happened
    """It cannot be reached, is busy, or broke off; try again."""


class UpstreamRefused(UpstreamError):  # noqa: N818 - named for what happened
    """It will not serve this node, or not like this: a person has to look."""


class UpstreamLacks(UpstreamError):  # noqa: N818 - named for what happened
    """It does not have that (any more): ask for something else."""


@dataclass(frozen=True, slots=True)
class FreshnessNote:
    """A checkpoint with a freshness cosignature, as sent."""

    note: bytes


@dataclass(frozen=True, slots=True)
class NeedSnapshot:
    """This node lacks too much: it should read the snapshot. No name: it is still being made."""

    name: str
    bytes: int
    size: int


@dataclass(frozen=True, slots=True)
class ForkClaim:
    """What this node holds is no beginning of the upstream's log, it says.

    `checkpoint` is its signed checkpoint; `root` its root hash at the size this node holds,
    empty if its log is shorter.
    """

    checkpoint: bytes
    root: bytes


Event = Batch | FreshnessNote | NeedSnapshot | ForkClaim


class Upstream:
    """A connection to one upstream; any thread may use it."""

    def __init__(self, endpoint: Endpoint, authority: bytes, identity: Identity) -> None:
        """Prepare; nothing is sent yet. `authority` is the PEM of the registry's own CA."""
        # Whoever calls waits between attempts; the channel's own delays would come on top.
        reconnect = ("grpc.max_reconnect_backoff_ms", RECONNECT_MS)
        options = [*CHANNEL_OPTIONS, reconnect, READ_IN_PLACE]
        credentials = channel_credentials(authority, identity)
        self._channel = grpc.secure_channel(str(endpoint), credentials, options=options)
        self._stub = ReplicationStub(self._channel)

    # The nodes between the primary and this one, as the upstream last said; nothing proves it.
    path: tuple[str, ...] = ()

    def close(self) -> None:
        """End every call and the connection."""
        self._channel.close()

    def newest_checkpoint(self) -> bytes:
        """The note of its newest signed checkpoint."""
        try:
            response = self._stub.GetCheckpoint(pb.GetCheckpointRequest(), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            _fail(error)
        self.path = tuple(response.path[:MAX_PATH])
        return response.checkpoint

    def report_cosignature(self, key: str, note: bytes) -> None:
        """Tell the primary what this mirror cosigned; UpstreamRefused if it does not take it."""
        request = pb.ReportCosignatureRequest(key=key, checkpoint=note)
        try:
            self._stub.ReportCosignature(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            _fail(error)

    def roots(self, after: int) -> list[bytes]:
        """The board's roots of later versions than `after`, as they were signed."""
        notes: list[bytes] = []
        try:
            while True:
                request = pb.GetRootsRequest(after=after + len(notes))
                some = self._stub.GetRoots(request, timeout=CALL_SECONDS).roots
                if not some or len(notes) + len(some) > MAX_ROOTS:
                    return notes
                notes += some
        except grpc.RpcError as error:
            _fail(error)

    def subscribe(self, size: int, root: bytes) -> Subscription:
        """The events behind the log of this size and root hash: `with ... as events`."""
        request = pb.SubscribeRequest(size=size, root_hash=root)
        return Subscription(self._stub.Subscribe(request))

    def read_snapshot(self, name: str, offset: int) -> Iterator[bytes]:
        """The snapshot file's bytes from `offset` on; UpstreamLacks if it is gone."""
        request = pb.ReadSnapshotRequest(name=name, offset=offset)
        try:
            for response in self._stub.ReadSnapshot(request, timeout=SNAPSHOT_SECONDS):
                yield response.data
        except grpc.RpcError as error:
            _fail(error)

    def entry_bundle(self, index: int, width: int) -> bytes:
        """Consecutive entries, as a C2SP entry bundle; UpstreamLacks if it does not have them."""
        request = pb.GetEntryBundleRequest(index=index, width=width)
        try:
            response = self._stub.GetEntryBundle(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            _fail(error)
        return response.bundle

    def read_tiles(self, tiles: Sequence[TileId]) -> Iterator[bytes]:
        """The tiles' hashes, in the order asked for; the primary takes 1,024 at a time.

        MalformedError if one is not what was asked for.
        """
        wanted = [pb.TileId(level=t.level, index=t.index, width=t.width) for t in tiles]
        request = pb.ReadTilesRequest(tiles=wanted)
        given = 0
        try:
            for tile, expected in zip(
                self._stub.ReadTiles(request, timeout=TILES_SECONDS), wanted, strict=False
            ):
                if tile.id != expected or len(tile.hashes) != expected.width * HASH_BYTES:
                    raise MalformedError("another tile than was asked for")
                given += 1
                yield tile.hashes
        except grpc.RpcError as error:
            _fail(error)
        if given < len(wanted):
            raise MalformedError(f"{given} tiles of {len(wanted)} that were asked for")


class Subscription:
    """A stream of events; `cancel`, from any thread, ends the iteration."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._cancelled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    def cancel(self) -> None:
        """End the stream."""
        self._cancelled = True
        self._call.cancel()

    def __iter__(self) -> Iterator[Event]:
        """The events as they come.

        MalformedError or LimitError: not an event the protocol allows. UpstreamUnavailable or
        UpstreamRefused when the stream breaks.
        """
        try:
            for response in self._call:
                event = _event(response)
                if event is not None:
                    yield event
        except grpc.RpcError as error:
            if not self._cancelled:
                _fail(error)
        else:
            if not self._cancelled:
                raise UpstreamUnavailable("the upstream ended the stream")


def _event(response: pb.SubscribeResponse) -> Event | None:
    """The event in a response; None if this software does not know it."""
    match response.WhichOneof("event"):
        case "batch":
            return Batch.from_message(response.batch)
        case "freshness":
            return FreshnessNote(response.freshness.checkpoint)
        case "need_snapshot":
            needed = response.need_snapshot
            return NeedSnapshot(needed.name, needed.bytes, needed.size)
        case "fork":
            return ForkClaim(response.fork.checkpoint, response.fork.root_hash)
        case _:
            return None


_LACKS: Final = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OUT_OF_RANGE)
_REFUSALS: Final = (
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
)


def _fail(error: grpc.RpcError) -> NoReturn:
    # What calls raise is also a grpc.Call, which the types of grpc do not say.
    code, text = error.code(), f"{error.details()}"
    if code is grpc.StatusCode.INTERNAL and "deserializing" in text:
        raise MalformedError("the upstream sent what is no message") from error
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        raise LimitError(f"the upstream sent more than a message may hold: {text}") from error
    if code in _LACKS:
        raise UpstreamLacks(text) from error
    if code in _REFUSALS:
        raise UpstreamRefused(text) from error
    raise UpstreamUnavailable(text) from error
