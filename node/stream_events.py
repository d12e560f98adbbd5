"""What a subscriber is sent: encoded once, so that all of them share the bytes."""

from __future__ import annotations

from node.feed import Event
from node.snapshot_files import SnapshotFile
from registry.batch import Batch
from registry.wire.v1.replication_pb2 import (
    Fork,
    Freshness,
    NeedSnapshot,
    SubscribeResponse,
)


def batch_event(batch: Batch) -> Event:
    """The event that makes the log grow by this batch."""
    data = SubscribeResponse(batch=batch.to_message()).SerializeToString()
    return Event(batch.start, batch.size, data)


def freshness_event(size: int, note: bytes) -> Event:
    """The event that says the checkpoint at `size` is still the newest."""
    data = SubscribeResponse(freshness=Freshness(checkpoint=note)).SerializeToString()
    return Event(size, size, data)


def need_snapshot(snapshot: SnapshotFile | None) -> bytes:
    """Says that the subscriber lacks too much; None: what it needs is still being made."""
    needed = NeedSnapshot()
    if snapshot is not None:
        needed = NeedSnapshot(name=snapshot.name, bytes=snapshot.bytes, size=snapshot.size)
    return SubscribeResponse(need_snapshot=needed).SerializeToString()


def fork(checkpoint: bytes, root: bytes) -> bytes:
    """Says that the subscriber's log is not this one; no root when this one is shorter."""
    return SubscribeResponse(fork=Fork(checkpoint=checkpoint, root_hash=root)).SerializeToString()
