"""A primary's status for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator

from node.printable import printable
from node.times import time_text
from registry.wire.v1 import administration_pb2 as pb


def status_lines(status: pb.PrimaryStatus) -> Iterator[str]:
    """The status, line by line."""
    # With words of mirrors among its own.
    return map(printable, _lines(status))


def _lines(status: pb.PrimaryStatus) -> Iterator[str]:
    yield f"origin       {status.origin}"
    yield f"version      {status.version}, {status.store}"
    yield f"log          {status.size} entries, {status.live_keys} live keys"
    yield f"last change  {time_text(status.checkpoint_ms)}, zone serial {status.zone_serial}"
    yield f"certificate  until {time_text(status.certificate_ends_ms)}"
    if status.certificate_problem:
        yield f"certificate  {status.certificate_problem}"
    if status.lapses_held_back:
        yield (
            f"held back    {status.lapses_held_back} would lapse, too many for a day: are the "
            "resolvers right? If so, the board decides `lapses all TIME`"
        )
    if status.lapses_decided:
        yield f"decided      {status.lapses_decided}"
    for subscriber in status.subscribers:
        behind = status.size - subscriber.size
        yield (
            f"subscriber   {subscriber.name} from {subscriber.peer}, "
            f"{behind} behind, since {time_text(subscriber.since_ms)}"
        )
    for mirror in status.mirrors:
        yield (
            f"cosigned by  {mirror.name}, {max(0, status.size - mirror.size)} behind, "
            f"at {time_text(mirror.cosigned_ms)}"
        )
    if status.vantage_points:
        yield f"look for us  {', '.join(status.vantage_points)}"
    for member in status.members:
        where = f"in at {', '.join(member.places)}" if member.places else "out"
        reason = f": {member.reason}" if member.reason else ""
        yield f"A record set {member.name}, {where}{reason}"
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
            "certificate_ends_ms": status.certificate_ends_ms,
            "certificate_problem": status.certificate_problem,
            "lapses_held_back": status.lapses_held_back,
            "lapses_decided": status.lapses_decided,
            "vantage_points": list(status.vantage_points),
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
            "set": [
                {
                    "name": one.name,
                    "operator": one.operator,
                    "region": one.region,
                    "addresses": list(one.addresses),
                    "draining": one.draining,
                    "places": list(one.places),
                    "reason": one.reason,
                }
                for one in status.members
            ],
            "snapshots": [
                {"name": one.name, "size": one.size, "bytes": one.bytes} for one in status.snapshots
            ],
        },
        indent=2,
    )
