"""A primary's status for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

from registry.wire.v1 import administration_pb2 as pb


def status_lines(status: pb.PrimaryStatus) -> Iterator[str]:
    """The status, line by line."""
    yield f"origin       {status.origin}"
    yield f"version      {status.version}, {status.store}"
    yield f"log          {status.size} entries, {status.live_keys} live keys"
    yield f"last change  {_time(status.checkpoint_ms)}, zone serial {status.zone_serial}"
    for subscriber in status.subscribers:
        behind = status.size - subscriber.size
        yield (
            f"subscriber   {subscriber.name} from {subscriber.peer}, "
            f"{behind} behind, since {_time(subscriber.since_ms)}"
        )
    for mirror in status.mirrors:
        yield (
            f"cosigned by  {mirror.name}, {max(0, status.size - mirror.size)} behind, "
            f"at {_time(mirror.cosigned_ms)}"
        )
    for snapshot in status.snapshots:
        yield f"snapshot     {snapshot.name}, {snapshot.bytes} bytes"


def status_json(status: pb.PrimaryStatus) -> str:
    """The same under plain keys."""
    return json.dumps(
        {
            "origin": status.origin,
            "version": status.version,
            "store": status.store,
            "size": status.size,
            "live_keys": status.live_keys,
            "zone_serial": status.zone_serial,
            "checkpoint": status.checkpoint.decode(),
            "checkpoint_ms": status.checkpoint_ms,
            "subscribers": [
                {"name": one.name, "peer": one.peer, "size": one.size, "since_ms": one.since_ms}
                for one in status.subscribers
            ],
            "mirrors": [
                {
                    "name": one.name,
                    "size": one.size,
                    "cosigned_ms": one.cosigned_ms,
                    "reported_ms": one.reported_ms,
                }
                for one in status.mirrors
            ],
            "snapshots": [
                {"name": one.name, "size": one.size, "bytes": one.bytes} for one in status.snapshots
            ],
        },
        indent=2,
    )


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
