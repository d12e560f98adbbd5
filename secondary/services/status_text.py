"""A secondary's status for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator

from node.printable import printable
from node.times import time_text
from registry.wire.v1 import mirror_pb2 as pb


def status_lines(status: pb.MirrorStatus, now_s: float) -> Iterator[str]:
    """The status, line by line; `now_s` is in seconds since 1970."""
    # With words of peers and of the upstream among its own.
    return map(printable, _lines(status, now_s))


def _lines(status: pb.MirrorStatus, now_s: float) -> Iterator[str]:
    lag = max(0, status.upstream_size - status.size)
    yield f"name         {status.name}, version {status.version}"
    yield f"phase        {status.phase}"
    yield f"log          {status.size} entries, {lag} behind {status.upstream}"
    if status.path:
        way = " > ".join(["primary", *status.path])
        yield f"place        {len(status.path)} below the primary: {way}"
    yield f"records      {status.live_keys}, zone serial {status.zone_serial}"
    yield f"last change  {_when(status.checkpoint_ms, now_s)}"
    yield f"vouched for  {_when(status.freshness_ms, now_s)}"
    yield f"cosigned     {status.cosigned_size} entries, {_when(status.cosigned_ms, now_s)}"
    if status.cosigning_problem:
        yield f"cosigning    {status.cosigning_problem}"
    yield f"certificate  until {time_text(status.certificate_ends_ms)}"
    if status.certificate_problem:
        yield f"certificate  {status.certificate_problem}"
    for peer in status.peers:
        shown = peer.problem or f"{peer.size} entries"
        yield f"peer         {peer.url}, {shown}, seen {_when(peer.seen_ms, now_s)}"
    yield from _set_lines(status.set, now_s)
    if status.out_of_rotation:
        yield f"out of rotation: {status.out_of_rotation}"
    if status.advice:
        yield f"advice       {status.advice}"


def _set_lines(standing: pb.SetStanding, now_s: float) -> Iterator[str]:
    if standing.draining:
        yield "drained      nobody shall be sent here, until 'smtpnic-secondary undrain'"
    if not standing.heard_ms and not standing.reason:
        return
    where = f"in it at {', '.join(standing.places)}" if standing.places else "out of it"
    yield f"A record set {where}, heard {_when(standing.heard_ms, now_s)}"
    if standing.reason:
        yield f"A record set {standing.reason}"


def status_json(status: pb.MirrorStatus) -> str:
    """The same under plain keys."""
    return json.dumps(
        {
            "name": status.name,
            "version": status.version,
            "phase": status.phase,
            "advice": status.advice,
            "size": status.size,
            "upstream": status.upstream,
            "upstream_size": status.upstream_size,
            "live_keys": status.live_keys,
            "zone_serial": status.zone_serial,
            "checkpoint": status.checkpoint.decode(),
            "checkpoint_ms": status.checkpoint_ms,
            "freshness_ms": status.freshness_ms,
            "cosigned_size": status.cosigned_size,
            "cosigned_ms": status.cosigned_ms,
            "cosigning_problem": status.cosigning_problem,
            "certificate_ends_ms": status.certificate_ends_ms,
            "certificate_problem": status.certificate_problem,
            "path": list(status.path),
            "out_of_rotation": status.out_of_rotation,
            "set": {
                "draining": status.set.draining,
                "admitted": status.set.admitted,
                "places": list(status.set.places),
                "reason": status.set.reason,
                "heard_ms": status.set.heard_ms,
            },
            "peers": [
                {
                    "url": one.url,
                    "size": one.size,
                    "seen_ms": one.seen_ms,
                    "problem": one.problem,
                }
                for one in status.peers
            ],
        },
        indent=2,
    )


def _when(milliseconds: int, now_s: float) -> str:
    if not milliseconds:
        return "never"
    return f"{time_text(milliseconds)}, {max(0.0, now_s - milliseconds / 1000):.0f} s ago"
