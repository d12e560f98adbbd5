"""The client of Replication: what a primary, or a mirror of it, sends; nothing is verified here.

Nothing here tries again by itself: UpstreamUnavailable is raised at once, so that the caller
can say so, wait as it sees fit, and go on. Keepalive on both ends finds dead connections.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Self

import grpc

from node.endpoint import Endpoint
from node.identity_files import IdentityFiles, Material
from node.tls import CHANNEL_OPTIONS, READ_IN_PLACE, channel_credentials
from registry.address import Address
from registry.batch import Batch
from registry.errors import LimitError, MalformedError
from registry.limits import HASH_BYTES
from registry.member import Announced
from registry.root import MAX_ROOTS
from registry.tiles import TileId
from registry.wire.v1 import joining_pb2
from registry.wire.v1 import replication_pb2 as pb
from registry.wire.v1.joining_pb2_grpc import MembershipStub
from registry.wire.v1.replication_pb2_grpc import ReplicationStub
from secondary.set_values import Probe, Probed, SetStanding, Tried

CALL_SECONDS: Final = 10.0
# Every address is waited for.
TRY_SECONDS: Final = 30.0
# A request's tiles, 2 MiB or a few, on a slow line.
TILES_SECONDS: Final = 60.0
# A snapshot takes as many attempts as it needs, each from where the last one ended.
SNAPSHOT_SECONDS: Final = 600.0
RECONNECT_MS: Final = 500
KEPT_CHANNELS: Final = 2
# Mirrors one behind the other; each costs a transaction in etcd, so more make no sense.
MAX_PATH: Final = 16


_SERVICES: Final = {
    joining_pb2.TRIED_SERVICE_DNS_UDP: "DNS over UDP",
    joining_pb2.TRIED_SERVICE_DNS_TCP: "DNS over TCP",
    joining_pb2.TRIED_SERVICE_LOG: "the log over HTTP",
    joining_pb2.TRIED_SERVICE_MIRROR: "proofs over TLS",
}


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

    def __init__(self, endpoint: Endpoint, files: IdentityFiles) -> None:
        """Prepare; nothing is sent yet. A new call is made with what the files hold by then."""
        self._endpoint = endpoint
        self._files = files
        self._lock = threading.Lock()
        self._version = 0
        self._is_closed = False
        # The newest channel, and the one before, for the calls that still use it.
        self._channels: list[grpc.Channel] = []

    # The nodes between the primary and this one, as the upstream last said; nothing proves it.
    path: tuple[str, ...] = ()

    def close(self) -> None:
        """End every call and the connection."""
        with self._lock:
            self._is_closed = True
            for channel in self._channels:
                channel.close()

    @property
    def _channel(self) -> grpc.Channel:
        with self._lock:
            material = self._files.look()
            if self._is_closed:
                raise UpstreamUnavailable("stopping")
            if material.version != self._version:
                self._channels.append(self._open(material))
                self._version = material.version
                for old in self._channels[:-KEPT_CHANNELS]:
                    old.close()
                del self._channels[:-KEPT_CHANNELS]
            return self._channels[-1]

    @property
    def _stub(self) -> ReplicationStub:
        return ReplicationStub(self._channel)

    def _open(self, material: Material) -> grpc.Channel:
        # Whoever calls waits between attempts; the channel's own delays would come on top.
        reconnect = ("grpc.max_reconnect_backoff_ms", RECONNECT_MS)
        options = [*CHANNEL_OPTIONS, reconnect, READ_IN_PLACE]
        credentials = channel_credentials(material.authority, material.identity)
        return grpc.secure_channel(str(self._endpoint), credentials, options=options)

    def renew_certificate(self, certificate_request: bytes) -> bytes:
        """Another certificate (PEM) for this node's key, not checked yet; only the primary does it.

        UpstreamRefused: not for this node, or not from here.
        """
        message = joining_pb2.RenewCertificateRequest(certificate_request=certificate_request)
        try:
            answer = MembershipStub(self._channel).RenewCertificate(message, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            _fail(error)
        return answer.certificate

    def announce(
        self, announced: Announced, probed: Sequence[Probed], *, draining: bool
    ) -> tuple[SetStanding, list[Probe]]:
        """How this mirror stands in the A record set, and what it shall look at.

        UpstreamRefused: it is no mirror, or says what cannot be. MalformedError.
        """
        request = joining_pb2.AnnounceRequest(
            operator=announced.operator,
            region=announced.region,
            addresses=[one.packed for one in announced.addresses],
            nsid=announced.nsid,
            draining=draining,
            probed=[
                joining_pb2.Probed(number=one.number, answer=one.answer, problem=one.problem)
                for one in probed
            ],
        )
        try:
            answer = MembershipStub(self._channel).Announce(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            _fail(error)
        now_ms = int(time.time() * 1000)
        places = tuple(answer.places)
        standing = SetStanding(draining, answer.admitted, places, answer.reason, now_ms)
        try:
            probes = [
                Probe(one.number, Address(one.address), one.port, one.query)
                for one in answer.probes
            ]
        except ValueError as error:
            raise MalformedError(f"a probe of no address: {error}") from error
        return standing, probes

    def try_ports(self, log_port: int, mirror_port: int) -> list[Tried]:
        """What the primary sees of this mirror's ports, those of its DNS besides; 0: not looked at.

        UpstreamRefused: it is no mirror. UpstreamUnavailable: not now, or again too soon.
        """
        request = joining_pb2.TryPortsRequest(log_port=log_port, mirror_port=mirror_port)
        try:
            answer = MembershipStub(self._channel).TryPorts(request, timeout=TRY_SECONDS)
        except grpc.RpcError as error:
            _fail(error)
        return [
            Tried(_SERVICES.get(one.service, "a service"), one.at, one.problem, one.untried)
            for one in answer.tried
        ]

    def newest_checkpoint(self) -> bytes:
        """The note of its newest signed checkpoint."""
        try:
            response = self._stub.GetCheckpoint(pb.GetCheckpointRequest(), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            _fail(error)
        self.path = tuple(response.path[:MAX_PATH])
        return response.checkpoint

    def newest_freshness(self) -> bytes:
        """Its newest checkpoint with a freshness cosignature; empty if it knows of none."""
        try:
            request = pb.GetCheckpointRequest()
            return self._stub.GetCheckpoint(request, timeout=CALL_SECONDS).freshness
        except grpc.RpcError as error:
            _fail(error)

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

    def __exit__(self, *_: object) -> None:
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
