"""Replication from a primary that runs as a process, over mutual TLS; and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from primary.pki import Authority, Names
from registry.batch import outline_slot
from registry.board import Board
from registry.checkpoint import freshness_time, open_checkpoint
from registry.entry import Entry
from registry.kinds import Kind
from registry.merkle import EMPTY_ROOT, CompactRange, leaf_hash, verify_inclusion
from registry.replay import Replay
from registry.snapshot import SnapshotReader
from registry.state_tree import StateTree
from registry.tiles import TILE_WIDTH, TileId, compact_range, decode_bundle, inclusion_path
from registry.wire.v1 import registration_pb2
from registry.wire.v1 import replication_pb2 as pb
from registry.wire.v1.replication_pb2_grpc import ReplicationStub
from tests.support.primaries import RunningPrimary, running_primary
from tests.support.registrant import RPC_SECONDS, Registrant, addresses
from tests.support.wait import wait_until

STREAM_SECONDS = 60.0
# Small, so that a few registrations make a snapshot necessary.
STREAM_LIMIT = 40
ENVIRONMENT = {
    "SMTPNIC_PRIMARY_STREAM_LIMIT": str(STREAM_LIMIT),
    "SMTPNIC_PRIMARY_FRESHNESS_SECONDS": "0.2",
    # So few that whoever does not read loses its buffer.
    "SMTPNIC_PRIMARY_NODES__BUFFERED_EVENTS": "4",
}


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPrimary]:
    with running_primary(tmp_path_factory.mktemp("replication"), ENVIRONMENT) as running:
        with running.public_channel() as channel:
            registrant = Registrant(channel)
            registrant.create_holder()
            for address in list(_take(STREAM_LIMIT)):
                registrant.register(address)
        yield running


@pytest.fixture(scope="module")
def node(primary: RunningPrimary) -> Iterator[ReplicationStub]:
    with primary.node_channel() as channel:
        yield ReplicationStub(channel)


_SOURCE = addresses("198.19")


def _take(count: int) -> Iterator[str]:
    return (next(_SOURCE) for _ in range(count))


def _code(error: BaseException) -> grpc.StatusCode:
    assert isinstance(error, grpc.Call)
    return error.code()


def _empty_replay(primary: RunningPrimary) -> Replay:
    return Replay(Board.begin(primary.keys), CompactRange.empty(), StateTree(), 0)


def _start(stub: ReplicationStub, replay: Replay) -> Iterator[pb.SubscribeResponse]:
    request = pb.SubscribeRequest(size=replay.size, root_hash=replay.root)
    return iter(stub.Subscribe(request, timeout=STREAM_SECONDS))


def _advance(replay: Replay, batch: bytes) -> None:
    replay.advance(replay.verify(batch))


def _read_snapshot(stub: ReplicationStub, name: str, offset: int = 0) -> bytes:
    request = pb.ReadSnapshotRequest(name=name, offset=offset)
    return b"".join(part.data for part in stub.ReadSnapshot(request, timeout=STREAM_SECONDS))


def _need_snapshot(stub: ReplicationStub) -> pb.NeedSnapshot:
    """What a subscriber is told that holds nothing, once the snapshot is there."""

    def told() -> pb.NeedSnapshot | None:
        request = pb.SubscribeRequest(size=0, root_hash=EMPTY_ROOT)
        (response,) = stub.Subscribe(request, timeout=STREAM_SECONDS)
        assert "need_snapshot" == response.WhichOneof("event")
        return response.need_snapshot if response.need_snapshot.name else None

    needed = wait_until(told, seconds=STREAM_SECONDS, what="a snapshot")
    assert needed is not None
    return needed


def _load(primary: RunningPrimary, stub: ReplicationStub) -> Replay:
    """A replica from a snapshot, verified."""
    reader = SnapshotReader([_read_snapshot(stub, _need_snapshot(stub).name)])
    position = reader.header.open(primary.keys)
    tree = StateTree.build(outline_slot(change.encoded)[2] for change in reader)
    assert (position.state.state_root, position.state.live_keys) == (tree.root, tree.live)
    return Replay(
        Board.begin(primary.keys), position.compact_range, tree, position.state.zone_serial
    )


def test_a_new_replica_begins_with_a_snapshot_and_follows_the_stream(
    primary: RunningPrimary, node: ReplicationStub
) -> None:
    """Too far behind for the stream; then old batches, live ones and freshness, all verified."""
    replay = _load(primary, node)
    events = _start(node, replay)
    with primary.public_channel() as channel:
        registrant = Registrant(channel)
        registrant.create_holder()
        done = [registrant.register(address) for address in _take(3)]
    seen: set[str | None] = set()
    while replay.size <= done[-1].index or "freshness" not in seen:
        event = next(events)
        seen.add(event.WhichOneof("event"))
        if event.HasField("batch"):
            _advance(replay, event.batch.SerializeToString())
        elif event.HasField("freshness"):
            note = event.freshness.checkpoint
            assert open_checkpoint(note, primary.keys).size <= replay.size
            assert freshness_time(note, primary.keys) > 0
    answer = node.GetCheckpoint(pb.GetCheckpointRequest(), timeout=RPC_SECONDS)
    latest = open_checkpoint(answer.checkpoint, primary.keys)
    assert (replay.size, replay.root) == (latest.size, latest.root)


def test_a_subscriber_that_lost_its_buffer_reads_the_log(
    primary: RunningPrimary, node: ReplicationStub
) -> None:
    """It holds nobody up while it does not read, and then misses nothing."""
    replay = _load(primary, node)
    events = _start(node, replay)
    with primary.public_channel() as channel:
        registrant = Registrant(channel)
        registrant.create_holder()
        answers = list(registrant.stub.Submit(_many(registrant), timeout=STREAM_SECONDS))
    wait_until(
        lambda: primary.metric("smtpnic_subscriber_overflows_total"), seconds=10, what="overflow"
    )
    while replay.size <= answers[-1].outcomes[-1].index:
        event = next(events)
        if event.HasField("batch"):
            _advance(replay, event.batch.SerializeToString())


def _many(registrant: Registrant) -> Iterator[registration_pb2.SubmitRequest]:
    """More than any window of the transport holds."""
    for _ in range(10):
        yield registration_pb2.SubmitRequest(
            changes=[
                registration_pb2.Change(
                    register=registration_pb2.RegisterRequest(
                        holder_id=registrant.holder_id,
                        management_key=registrant.management_key,
                        address=address,
                        host="mail.example.org",
                        domain="example.org",
                    )
                )
                for address in _take(600)
            ]
        )


def test_one_node_does_not_take_every_place(primary: RunningPrimary, node: ReplicationStub) -> None:
    """A certificate's name counts, however many streams it opens."""
    replay = _load(primary, node)
    request = pb.SubscribeRequest(size=replay.size, root_hash=replay.root)
    streams: list[Any] = [node.Subscribe(request, timeout=STREAM_SECONDS) for _ in range(20)]

    def refused() -> list[str | None]:
        return [each.details() for each in streams if each.done()]

    told = wait_until(lambda: refused() or None, seconds=RPC_SECONDS, what="a refusal")
    for stream in streams:
        stream.cancel()
    assert told
    assert all("as many as a node may" in (text or "") for text in told)


def test_a_snapshot_is_read_on_from_any_offset(node: ReplicationStub) -> None:
    """A download that broke off goes on where it was."""
    needed = _need_snapshot(node)
    whole = _read_snapshot(node, needed.name)
    assert needed.bytes == len(whole)
    assert whole[1000:] == _read_snapshot(node, needed.name, 1000)
    assert b"" == _read_snapshot(node, needed.name, needed.bytes)
    with pytest.raises(grpc.RpcError) as beyond:
        _read_snapshot(node, needed.name, needed.bytes + 1)
    assert grpc.StatusCode.OUT_OF_RANGE == _code(beyond.value)
    with pytest.raises(grpc.RpcError) as unknown:
        _read_snapshot(node, "../primary.toml")
    assert grpc.StatusCode.NOT_FOUND == _code(unknown.value)


@pytest.mark.parametrize("held", ["another root", "a longer log", "another root within a batch"])
def test_another_log_is_told_so(primary: RunningPrimary, node: ReplicationStub, held: str) -> None:
    """A subscriber with entries that are not of this log gets the evidence, and no batch (P5)."""
    now = open_checkpoint(
        node.GetCheckpoint(pb.GetCheckpointRequest(), timeout=RPC_SECONDS).checkpoint,
        primary.keys,
    )
    size, root, ours = {
        "another root": (now.size, bytes(32), now.root),
        "a longer log": (now.size + 1000, now.root, b""),
        "another root within a batch": (2, bytes(32), None),
    }[held]
    request = pb.SubscribeRequest(size=size, root_hash=root)
    (response,) = node.Subscribe(request, timeout=RPC_SECONDS)
    assert "fork" == response.WhichOneof("event")
    assert open_checkpoint(response.fork.checkpoint, primary.keys).size >= now.size
    if ours is not None:
        assert ours == response.fork.root_hash


@pytest.mark.parametrize("size", [2**63, 2**64 - 1])
def test_a_size_that_no_log_has_is_refused(node: ReplicationStub, size: int) -> None:
    """It is the request's fault, not the primary's."""
    request = pb.SubscribeRequest(size=size, root_hash=EMPTY_ROOT)
    with pytest.raises(grpc.RpcError) as refusal:
        list(node.Subscribe(request, timeout=RPC_SECONDS))
    assert grpc.StatusCode.INVALID_ARGUMENT == _code(refusal.value)


class _Tiles:
    """Reads tiles from the primary."""

    def __init__(self, stub: ReplicationStub) -> None:
        self._stub = stub

    def read(self, tile: TileId) -> bytes:
        asked = pb.TileId(level=tile.level, index=tile.index, width=tile.width)
        (answer,) = self._stub.ReadTiles(pb.ReadTilesRequest(tiles=[asked]), timeout=RPC_SECONDS)
        assert asked == answer.id
        return answer.hashes


def test_proofs_are_computed_from_tiles(primary: RunningPrimary, node: ReplicationStub) -> None:
    """A receipt's entry is shown to be in the log that its checkpoint signs."""
    with primary.public_channel() as channel:
        registrant = Registrant(channel)
        registrant.create_holder()
        (address,) = _take(1)
        done = registrant.register(address)
    checkpoint = open_checkpoint(done.checkpoint, primary.keys)
    tiles = _Tiles(node)
    assert checkpoint.root == compact_range(checkpoint.size, tiles).root()
    bundle, offset = divmod(done.index, TILE_WIDTH)
    asked = pb.GetEntryBundleRequest(index=bundle, width=offset + 1)
    entry = decode_bundle(node.GetEntryBundle(asked, timeout=RPC_SECONDS).bundle)[offset]
    assert Kind.REGISTRATION == Entry.decode(entry).kind
    path = inclusion_path(done.index, checkpoint.size, tiles)
    verify_inclusion(done.index, checkpoint.size, leaf_hash(entry), path, checkpoint.root)


@pytest.mark.parametrize(
    ("tile", "code"),
    [
        (pb.TileId(level=0, index=99, width=256), grpc.StatusCode.OUT_OF_RANGE),
        (pb.TileId(level=7, index=0, width=1), grpc.StatusCode.OUT_OF_RANGE),
        (pb.TileId(level=0, index=0, width=0), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.TileId(level=99, index=0, width=1), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_tiles_beyond_the_log_are_refused(
    node: ReplicationStub, tile: pb.TileId, code: grpc.StatusCode
) -> None:
    """A tile that no log has, and one that this log does not have yet, are told apart."""
    with pytest.raises(grpc.RpcError) as refusal:
        list(node.ReadTiles(pb.ReadTilesRequest(tiles=[tile]), timeout=RPC_SECONDS))
    assert code == _code(refusal.value)
    asked = pb.GetEntryBundleRequest(index=tile.index, width=tile.width)
    if tile.level == 0:
        with pytest.raises(grpc.RpcError) as bundle:
            node.GetEntryBundle(asked, timeout=RPC_SECONDS)
        assert code == _code(bundle.value)


def test_only_enrolled_nodes_are_let_in(primary: RunningPrimary, tmp_path: Path) -> None:
    """No certificate, or one of another authority: the handshake fails."""
    now = datetime.now(UTC)
    stranger = Authority.create("smtpnic.org", now).issue_node(
        "mirror-1", Names.parse([], ["127.0.0.1"]), now
    )
    (tmp_path / "node.pem").write_bytes(stranger.certificate)
    (tmp_path / "node.key").write_bytes(stranger.key)
    ca = grpc.ssl_channel_credentials((primary.node_dir / "ca.pem").read_bytes())
    for channel in (
        primary.node_channel(tmp_path),
        grpc.secure_channel(primary.nodes, ca),
        grpc.insecure_channel(primary.nodes),
    ):
        with channel, pytest.raises(grpc.RpcError) as refusal:
            ReplicationStub(channel).GetCheckpoint(pb.GetCheckpointRequest(), timeout=RPC_SECONDS)
        assert grpc.StatusCode.UNAVAILABLE == _code(refusal.value)


def test_registration_is_not_offered_to_nodes_nor_replication_to_the_public(
    primary: RunningPrimary, node: ReplicationStub
) -> None:
    """Each listener offers its own service only."""
    with primary.public_channel() as channel, pytest.raises(grpc.RpcError) as public:
        ReplicationStub(channel).GetCheckpoint(pb.GetCheckpointRequest(), timeout=RPC_SECONDS)
    assert grpc.StatusCode.UNIMPLEMENTED == _code(public.value)
    with primary.node_channel() as channel, pytest.raises(grpc.RpcError) as nodes:
        Registrant(channel).create_holder()
    assert grpc.StatusCode.UNIMPLEMENTED == _code(nodes.value)
