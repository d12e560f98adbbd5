"""Administration, on a UNIX socket that only its owner can open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc

from node.errors import StorageError
from node.grpc_calls import Context
from node.listener import Service
from node.snapshot_files import SnapshotFile
from node.snapshot_maker import SnapshotMaker
from primary.public_log import PublicLog
from registry.wire.v1 import administration_pb2 as pb

NAME: Final[str] = pb.DESCRIPTOR.services_by_name["Administration"].full_name


@dataclass(frozen=True, slots=True)
class About:
    """What a primary says of itself: its version, its log's origin, its kind of store."""

    version: str
    origin: str
    store: str


class AdministrationService:
    """smtpnic.v1.Administration."""

    def __init__(self, about: About, log: PublicLog, snapshots: SnapshotMaker) -> None:
        self._about = about
        self._log = log
        self._snapshots = snapshots

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
        head = self._log.head
        return pb.PrimaryStatus(
            version=self._about.version,
            origin=self._about.origin,
            size=head.size,
            checkpoint=head.checkpoint,
            checkpoint_ms=head.committed_ms,
            live_keys=head.state.live_keys,
            zone_serial=head.state.zone_serial,
            store=self._about.store,
            subscribers=[
                pb.Subscriber(name=one.name, peer=one.peer, size=one.size, since_ms=one.since_ms)
                for one in self._log.feed.subscriptions
            ],
            snapshots=[_message(snapshot) for snapshot in self._snapshots.files.list()],
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
