"""Asks a running primary over its administration socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc

from node.limits import MAX_MESSAGE_BYTES
from registry.wire.v1 import administration_pb2 as pb
from registry.wire.v1.administration_pb2_grpc import AdministrationStub

STATUS_SECONDS: Final = 10.0
# Some minutes for tens of millions of records.
SNAPSHOT_SECONDS: Final = 900.0


def get_status(socket: Path) -> pb.PrimaryStatus:
    """What the primary says of itself; ConnectionError when none answers."""
    with _stub(socket) as stub:
        return stub.GetStatus(pb.GetPrimaryStatusRequest(), timeout=STATUS_SECONDS)


def make_snapshot(socket: Path) -> pb.Snapshot:
    """Has a snapshot made; ConnectionError when no primary answers, or it could not."""
    with _stub(socket) as stub:
        return stub.MakeSnapshot(pb.MakeSnapshotRequest(), timeout=SNAPSHOT_SECONDS).snapshot


@contextmanager
def _stub(socket: Path) -> Iterator[AdministrationStub]:
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    with grpc.insecure_channel(f"unix:{socket}", options) as channel:
        try:
            yield AdministrationStub(channel)
        except grpc.RpcError as error:
            # Every error of a call is a grpc.Call too; the stubs know only one of the two.
            detail = error.details() if hasattr(error, "details") else error
            raise ConnectionError(f"the primary on {socket} did not do it: {detail}") from None
