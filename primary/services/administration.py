"""Administration, on a UNIX socket that only its owner can open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import grpc

from node.errors import StorageError
from node.grpc_calls import Context
from node.listener import Service
from node.snapshot_files import SnapshotFile
from node.snapshot_maker import SnapshotMaker
from primary.membership.own_certificate import OwnCertificate
from primary.public_log import PublicLog
from primary.rotation.keeper import Keeper
from registry.wire.v1 import administration_pb2 as pb

NAME: Final[str] = pb.DESCRIPTOR.services_by_name["Administration"].full_name


@dataclass(frozen=True, slots=True)
class About:
    """What a primary says of itself: its version, its log's origin, its kind of store."""

    version: str
    origin: str
    store: str


@dataclass(frozen=True, slots=True)
class Lapses:
    """How many registrations would lapse, and may not; what the board has decided about that.

    `vantage_points` are the mirrors that look for the primary.
    """

    held_back: int
    decided: str
    vantage_points: Sequence[str]


class AdministrationService:
    """smtpnic.v1.Administration."""

    def __init__(
        self,
        about: About,
        log: PublicLog,
        snapshots: SnapshotMaker,
        *,
        certificate: OwnCertificate,
        lapses: Callable[[], Lapses],
        keeper: Keeper,
    ) -> None:
        self._keeper = keeper
        self._certificate = certificate
        self._about = about
        self._log = log
        self._snapshots = snapshots
        self._lapses = lapses

    def service(self) -> Service:
        """The handlers."""
        return Service(
            NAME,
            {
                "GetStatus": grpc.unary_unary_rpc_method_handler(
                    self._get_status,
                    pb.GetPrimaryStatusRequest.FromString,
                    pb.PrimaryStatus.SerializeToString,
                ),
                "MakeSnapshot": grpc.unary_unary_rpc_method_handler(
                    self._make_snapshot,
                    pb.MakeSnapshotRequest.FromString,
                    pb.MakeSnapshotResponse.SerializeToString,
                ),
            },
        )

    async def _get_status(
        self, _request: pb.GetPrimaryStatusRequest, _context: Context
    ) -> pb.PrimaryStatus:
        head, lapses = self._log.head, self._lapses()
        return pb.PrimaryStatus(
            version=self._about.version,
            origin=self._about.origin,
            size=head.size,
            checkpoint=head.checkpoint,
            checkpoint_ms=head.committed_ms,
            live_keys=head.state.live_keys,
            zone_serial=head.state.zone_serial,
            store=self._about.store,
            lapses_held_back=lapses.held_back,
            lapses_decided=lapses.decided,
            vantage_points=lapses.vantage_points,
            members=[
                pb.SetMember(
                    name=name,
                    operator=one.announced.operator,
                    region=one.announced.region,
                    addresses=map(str, one.announced.addresses),
                    draining=self._keeper.draining(name),
                    places=one.places,
                    reason=self._keeper.reasons.get(name, ""),
                )
                for name, one in sorted(self._keeper.members.items())
            ],
            subscribers=[
                pb.Subscriber(name=one.name, peer=one.peer, size=one.size, since_ms=one.since_ms)
                for one in self._log.feed.subscriptions
            ],
            snapshots=[_message(snapshot) for snapshot in self._snapshots.files.list()],
            certificate_ends_ms=self._certificate.ends_ms,
            certificate_problem=self._certificate.problem,
            mirrors=[
                pb.CosigningMirror(
                    name=name,
                    size=one.size,
                    cosigned_ms=one.time_s * 1000,
                    reported_ms=int(one.reported_s * 1000),
                )
                for name, one in sorted(self._log.cosignatures.vouched.items())
            ],
        )

    async def _make_snapshot(
        self, _request: pb.MakeSnapshotRequest, context: Context
    ) -> pb.MakeSnapshotResponse:
        try:
            made = await self._snapshots.make()
        except StorageError as error:
            await context.abort(grpc.StatusCode.INTERNAL, str(error))
        return pb.MakeSnapshotResponse(snapshot=_message(made))


def _message(snapshot: SnapshotFile) -> pb.Snapshot:
    return pb.Snapshot(name=snapshot.name, size=snapshot.size, bytes=snapshot.bytes)
