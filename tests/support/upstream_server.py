"""Replication over real gRPC and mutual TLS, of a builder's log, by whoever holds a certificate.

It is honest until it is told otherwise: what a registry's key did not sign can come from any
upstream, for mirrors can be chained.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc

from node.tls import SERVER_OPTIONS, Identity
from primary.pki import Authority, Names, authority_digest
from registry.merkle import CompactRange, leaf_hash
from registry.root_chain import later_roots
from registry.snapshot import snapshot_name
from registry.tiles import TILE_WIDTH, encode_bundle
from registry.wire.v1 import replication_pb2 as pb
from tests.support.boards import chain_of, pin_file
from tests.support.log_builder import LogBuilder

SERVICE = "smtpnic.v1.Replication"
POLL_SECONDS = 0.05
CHUNK_BYTES = 500
THREADS = 8
# More than any test's log; a subscriber that lacks more entries is sent to a snapshot.
NO_LIMIT = 1 << 30
Handler = Callable[[Any, grpc.ServicerContext], Any]


class UpstreamServer:
    """Serves `log`; everything may be changed at any time within `changing`."""

    def __init__(self, log: LogBuilder, authority: Authority, address: str, port: int = 0) -> None:
        """Listens at a port of this address, a free one at first, and answers at once."""
        self.log = log
        self._authority = authority_digest(authority.identity.certificate)
        # What a subscriber is sent at the end of the log, or when it has another, each time.
        self.lie = b""
        self.is_away = False
        self.stream_limit = NO_LIMIT
        # In place of the honest checkpoint, and the honest snapshot file.
        self.checkpoint = b""
        self.snapshot = b""
        # How often it was asked for anything.
        self.calls = 0
        # After the honest roots.
        self.roots: list[bytes] = []
        # After so many bytes each reading of a snapshot breaks off; and where they began.
        self.break_after: int | None = None
        self.offsets: list[int] = []
        self.bytes_sent = 0
        self._condition = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(THREADS, "upstream"), options=SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers((self._handlers(),))
        identity = authority.issue_server(Names.parse([], [address]), datetime.now(UTC))
        port = self._server.add_secure_port(f"{address}:{port}", _credentials(authority, identity))
        self.endpoint = f"{address}:{port}"
        self._server.start()

    def close(self) -> None:
        """Ends every stream."""
        self._server.stop(None).wait()

    @contextmanager
    def changing(self) -> Iterator[UpstreamServer]:
        """Nobody is served meanwhile; everybody is served what it then is."""
        with self._condition:
            yield self
            self._condition.notify_all()

    def needed_snapshot(self, data: bytes = b"") -> pb.NeedSnapshot:
        """The announcement of the snapshot of the log, in these bytes or the honest ones."""
        name = snapshot_name(self.log.size, self.log.state.state_root)
        return pb.NeedSnapshot(
            name=name, bytes=len(data or self.log.snapshot()), size=self.log.size
        )

    def _handlers(self) -> grpc.GenericRpcHandler:
        def stream(handler: Handler, request: Any) -> grpc.RpcMethodHandler[Any, Any]:
            return grpc.unary_stream_rpc_method_handler(handler, request.FromString, bytes)

        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Subscribe": stream(self._subscribe, pb.SubscribeRequest),
                "ReadSnapshot": stream(self._read_snapshot, pb.ReadSnapshotRequest),
                "ReadTiles": stream(self._read_tiles, pb.ReadTilesRequest),
                "GetRoots": grpc.unary_unary_rpc_method_handler(
                    self._get_roots, pb.GetRootsRequest.FromString, bytes
                ),
                "GetCheckpoint": grpc.unary_unary_rpc_method_handler(
                    self._get_checkpoint, pb.GetCheckpointRequest.FromString, bytes
                ),
                "GetEntryBundle": grpc.unary_unary_rpc_method_handler(
                    self._get_entry_bundle, pb.GetEntryBundleRequest.FromString, bytes
                ),
            },
        )

    def _subscribe(
        self, request: pb.SubscribeRequest, context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        position = _Position(request.size, request.root_hash)
        while context.is_active():
            with self._condition:
                self._check(context)
                event = self._next(position)
                if not event:
                    self._condition.wait(POLL_SECONDS)
            if event:
                yield event

    def _next(self, position: _Position) -> bytes:
        """What is sent next; nothing while there is nothing to say."""
        log = self.log
        root = self._root_at(position.size) if position.size <= log.size else b""
        if root != position.root or position.size == log.size:
            event = self.lie or (b"" if root == position.root else self._fork(root))
            if event == position.told:
                return b""
            position.told = event
            return event
        if log.size - position.size > self.stream_limit:
            needed = self.needed_snapshot(self.snapshot)
            return pb.SubscribeResponse(need_snapshot=needed).SerializeToString()
        for batch in log.batches:
            if batch.start == position.size:
                position.size, position.root = batch.size, self._root_at(batch.size)
                return response(batch.encode())
        return b""

    def _fork(self, root: bytes) -> bytes:
        fork = pb.Fork(checkpoint=self.log.checkpoint, root_hash=root)
        return pb.SubscribeResponse(fork=fork).SerializeToString()

    def _get_roots(self, request: pb.GetRootsRequest, context: grpc.ServicerContext) -> bytes:
        with self._condition:
            self._check(context)
            roots = later_roots(
                chain_of(self.log.signer, self.log.cosigner, self._authority), request.after
            )
            lies = self.roots if not roots else []
        return pb.GetRootsResponse(roots=[*roots, *lies]).SerializeToString()

    def _get_checkpoint(
        self, _request: pb.GetCheckpointRequest, context: grpc.ServicerContext
    ) -> bytes:
        with self._condition:
            self._check(context)
            note = self.checkpoint or self.log.checkpoint
        return pb.GetCheckpointResponse(checkpoint=note).SerializeToString()

    def _read_snapshot(
        self, request: pb.ReadSnapshotRequest, context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        with self._condition:
            self._check(context)
            data = self.snapshot or self.log.snapshot()
            self.offsets.append(request.offset)
        end = len(data) if self.break_after is None else request.offset + self.break_after
        for start in range(request.offset, min(end, len(data)), CHUNK_BYTES):
            piece = data[start : min(start + CHUNK_BYTES, end)]
            self.bytes_sent += len(piece)
            yield pb.ReadSnapshotResponse(data=piece).SerializeToString()
        if end < len(data):
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken off")

    def _read_tiles(
        self, request: pb.ReadTilesRequest, context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        for tile in request.tiles:
            with self._condition:
                self._check(context)
                under = TILE_WIDTH**tile.level
                first = tile.index * TILE_WIDTH
                hashes = b"".join(
                    self._range(number * under, (number + 1) * under).root()
                    for number in range(first, first + tile.width)
                )
            yield pb.Tile(id=tile, hashes=hashes).SerializeToString()

    def _get_entry_bundle(
        self, request: pb.GetEntryBundleRequest, context: grpc.ServicerContext
    ) -> bytes:
        first = request.index * TILE_WIDTH
        with self._condition:
            self._check(context)
            logged = self.log.logged[first : first + request.width]
        if len(logged) < request.width:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "beyond the log")
        bundle = encode_bundle(each.entry for each in logged)
        return pb.GetEntryBundleResponse(bundle=bundle).SerializeToString()

    def _check(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        if self.is_away:
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")

    def _root_at(self, size: int) -> bytes:
        return self._range(0, size).root()

    def _range(self, start: int, end: int) -> CompactRange:
        leaves = [leaf_hash(logged.entry) for logged in self.log.logged[start:end]]
        return CompactRange.empty().extend(leaves)


class _Position:
    """Where a subscriber stands, and what it was told there last."""

    def __init__(self, size: int, root: bytes) -> None:
        self.size = size
        self.root = root
        self.told = b""


def response(batch: bytes) -> bytes:
    """The SubscribeResponse whose field `batch` is these bytes, whatever they are."""
    return b"\x0a" + _varint(len(batch)) + batch


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _credentials(authority: Authority, identity: Identity) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(identity.key, identity.certificate)],
        root_certificates=authority.identity.certificate,
        require_client_auth=True,
    )


def write_secondary(
    directory: Path,
    log: LogBuilder,
    authority: Authority,
    *,
    upstream: str,
    address: str,
    etcd: str | None,
) -> None:
    """What `smtpnic-primary enroll` writes for a node, for one that follows `upstream`."""
    directory.mkdir()
    names = Names.parse([], [address])
    identity = authority.issue_node("mirror", names, datetime.now(UTC))
    (directory / "ca.pem").write_bytes(authority.identity.certificate)
    (directory / "node.pem").write_bytes(identity.certificate)
    (directory / "node.key").write_bytes(identity.key)
    (directory / "node.key").chmod(0o600)
    digest = authority_digest(authority.identity.certificate)
    lines = [
        'name = "mirror"',
        f'root_file = "{pin_file(log, directory, digest)}"',
        f'upstream = "{upstream}"',
        *_table("follower", http=f"{address}:7450"),
        *_table("dns", listen=f"{address}:5353", http=f"{address}:7451"),
        *_table("whois", listen=f"{address}:4343", http=f"{address}:7452"),
        *_table("mirror", listen=f"{address}:7443"),
        *_table("log", listen=f"{address}:7445"),
        "[etcd]",
        f"endpoints = {[etcd] if etcd else []}",
    ]
    (directory / "secondary.toml").write_text("\n".join(lines) + "\n")


def _table(name: str, **values: str) -> Sequence[str]:
    return [f"[{name}]", *(f'{key} = "{value}"' for key, value in values.items())]
