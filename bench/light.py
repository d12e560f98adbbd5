"""Subscribers that do what a secondary does but for etcd: they receive, verify, and note the time.

`python -m bench.light leaves DIRECTORY FILE UPSTREAM...` follows once for each upstream named.
`python -m bench.light relay DIRECTORY FILE UPSTREAM LISTEN` passes on what it verified, too.
`python -m bench.light asker HOST PORT` asks DNS for each address that it is given, a line each, and
answers with the monotonic clock when it was there.

DIRECTORY holds a node's certificate and settings. FILE gets a record for each batch verified.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import grpc
from grpc import aio

from bench.watching import Askers
from lab.cluster import Secondary
from lab.process import LabProcess
from node.bundle_files import BundleFiles
from node.endpoint import Endpoint
from node.identity_files import IdentityFiles, Paths
from node.tls import CHANNEL_OPTIONS, channel_credentials
from registry.batch import Batch
from registry.board import Board
from registry.merkle import CompactRange
from registry.replay import Replay
from registry.state_tree import StateTree
from registry.wire.v1 import replication_pb2 as pb
from registry.wire.v1.replication_pb2_grpc import ReplicationStub
from secondary.log_entries import LogEntries
from secondary.log_tiles import LogTiles
from secondary.roots import Roots
from secondary.sections import RelaySettings
from secondary.services.relay import Relay
from secondary.settings import SecondarySettings
from secondary.upstream import Upstream

# Stream, size of the log, and the monotonic clock in nanoseconds.
_RECORD: Final = struct.Struct("<IQQ")
# A relay that starts may have to wait for its upstream.
RETRY_SECONDS: Final = 0.1


class Arrival(NamedTuple):
    """That a stream had verified the log up to `size` at `seconds`, on the monotonic clock."""

    stream: int
    size: int
    seconds: float


def read_arrivals(path: Path) -> Iterator[Arrival]:
    """What is in a file so far."""
    data = path.read_bytes()
    whole = len(data) - len(data) % _RECORD.size
    for stream, size, nanoseconds in _RECORD.iter_unpack(data[:whole]):
        yield Arrival(stream, size, nanoseconds / 1e9)


def _empty_replay(roots: Roots) -> Replay:
    return Replay(Board.begin(roots.chain), CompactRange.empty(), StateTree(), 0)


def _note(file: BinaryIO, stream: int, size: int) -> None:
    file.write(_RECORD.pack(stream, size, time.monotonic_ns()))
    file.flush()


class _Node:
    """A node's certificate and what it trusts."""

    def __init__(self, directory: Path) -> None:
        self.settings = SecondarySettings.load(directory / "secondary.toml")
        tls = self.settings.tls
        self.files = IdentityFiles(Paths(tls.ca, tls.certificate, tls.key))
        self.roots = Roots.load(self.settings)


async def _follow(node: _Node, upstream: str, stream: int, file: BinaryIO) -> None:
    credentials = channel_credentials(node.files.now.authority, node.files.now.identity)
    # Each stream on a connection of its own, as from a machine of its own.
    options = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    replay = _empty_replay(node.roots)
    async with aio.secure_channel(upstream, credentials, options=options) as channel:
        while True:
            request = pb.SubscribeRequest(size=replay.size, root_hash=replay.root)
            try:
                async for response in ReplicationStub(channel).Subscribe(request):
                    if response.HasField("batch"):
                        replay.advance(replay.verify(Batch.from_message(response.batch)))
                        _note(file, stream, replay.size)
            except grpc.RpcError:
                await asyncio.sleep(RETRY_SECONDS)


async def _leaves(node: _Node, path: Path, upstreams: Sequence[str]) -> None:
    with path.open("ab") as file:
        await asyncio.gather(
            *(_follow(node, upstream, number, file) for number, upstream in enumerate(upstreams))
        )


def _relay(node: _Node, path: Path, upstream: str, listen: str) -> None:
    """As `secondary.follower` and its audience, without what is stored in etcd."""
    replay = _empty_replay(node.roots)
    with tempfile.TemporaryDirectory() as directory, path.open("ab") as file:
        following = Upstream(Endpoint.parse(upstream), node.files)
        tiles = LogTiles(Path(directory) / "tiles")
        tiles.begin(CompactRange.empty())
        entries = LogEntries(BundleFiles(Path(directory) / "entries"), tiles, following, 0)
        relay = Relay(
            RelaySettings(subscribers_per_node=128),
            Endpoint.parse(listen),
            tiles,
            entries,
            snapshots_dir=Path(directory) / "snapshots",
            config=Path(directory) / "none.toml",
            roots=lambda: node.roots.chain,
            path=lambda: ("light",),
        )
        relay.start(node.files)
        with following.subscribe(0, replay.root) as events:
            for event in events:
                if isinstance(event, Batch):
                    verified = replay.verify(event)
                    tiles.append(verified.leaf_hashes, verified.start)
                    replay.advance(verified)
                    relay.stored(event, verified)
                    _note(file, 0, replay.size)


def _ask(host: str, port: int) -> None:
    asked = Secondary("asked", host, Path(), LabProcess("none", [], Path()))
    assert asked.dns == (host, port)
    with closing(Askers([asked])) as askers:
        for line in sys.stdin:
            sys.stdout.write(f"{_seen(askers, line.strip())}\n")
            sys.stdout.flush()


def _seen(askers: Askers, address: str) -> float:
    while True:
        try:
            (seen,) = askers.wait_visible(address)
        except ConnectionRefusedError:
            # Nobody listens yet.
            time.sleep(RETRY_SECONDS)
        else:
            return seen


def main() -> None:
    if sys.argv[1] == "asker":
        _ask(sys.argv[2], int(sys.argv[3]))
        return
    kind, directory, path, *rest = sys.argv[1:]
    node = _Node(Path(directory))
    if kind == "relay":
        _relay(node, Path(path), *rest)
    else:
        asyncio.run(_leaves(node, Path(path), rest))


if __name__ == "__main__":
    main()
