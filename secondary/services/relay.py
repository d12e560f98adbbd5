"""Replication, as a secondary offers it to others: in a thread and an event loop of its own."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc

from node.admission import by_certificate
from node.endpoint import Endpoint
from node.feed import FeedLimits
from node.grpc_calls import Context
from node.identity_files import IdentityFiles
from node.listener import Capacity, Listener
from node.logging import get_logger
from node.replication_service import ReplicationService, Sources
from node.snapshot_files import SnapshotFiles
from node.snapshot_maker import SnapshotMaker
from node.tls import renewed_server_credentials
from node.workers import READ_THREADS, Workers
from registry.batch import Batch
from registry.checkpoint import Checkpoint
from registry.kinds import Kind
from registry.merkle import CompactRange
from registry.removed_key import removed_state_key
from registry.replay import VerifiedBatch, VerifiedChange
from registry.root_chain import RootChain
from registry.wire.v1 import replication_pb2 as pb
from secondary.audience import Audience
from secondary.log_entries import LogEntries
from secondary.log_tiles import LogTiles
from secondary.relay_gate import RelayGate, Removals
from secondary.relay_log import RelayHistory, RelayLog, RelayTiles
from secondary.replica import Replica
from secondary.sections import RelaySettings

# As the primary grants a node.
CALLS_PER_NODE: Final = 32
# Snapshots are made when somebody needs one, never otherwise.
NEVER: Final = 1 << 62
START_SECONDS: Final = 10.0
STOP_SECONDS: Final = 5.0

_log = get_logger("relay")


class Relay(Audience):
    """Hears what the follower stores, and passes it on."""

    def __init__(
        self,
        settings: RelaySettings,
        endpoint: Endpoint,
        tiles: LogTiles,
        entries: LogEntries,
        *,
        snapshots_dir: Path,
        config: Path,
        roots: Callable[[], RootChain],
        path: Callable[[], tuple[str, ...]],
    ) -> None:
        """`config` is this node's settings file; `path` the nodes from the primary to this one.

        `roots` tells the board's roots that are known here.
        """
        self._settings = settings
        self._at = endpoint
        self._tiles = tiles
        self._entries = entries
        self._snapshots_dir = snapshots_dir
        self._config = config
        self._roots = roots
        limits = FeedLimits(
            settings.subscribers,
            settings.subscribers_per_node,
            settings.buffered_events,
            settings.buffered_bytes,
        )
        self.log = RelayLog(limits, settings.kept_bytes, path)
        self._gate = RelayGate(_clock_ms)
        # Of the replica that is followed with, and as the gate was told; None: nothing is held.
        self._holds: Callable[[bytes], bool] = lambda _: False
        self._removals: Mapping[str, int] | None = None
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._listening: list[Endpoint | BaseException] = []
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self, files: IdentityFiles) -> Endpoint:
        """Listen and answer; where. ConfigurationError if it cannot."""
        self._files = files
        self._thread.start()
        self._started.wait(START_SECONDS)
        found = self._listening[0] if self._listening else TimeoutError("the relay did not start")
        if isinstance(found, BaseException):
            raise found
        return found

    def stop(self) -> None:
        """End every stream; who follows goes elsewhere, or comes again."""
        self._tell(self._ending.set)
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def opened(self, replica: Replica) -> None:
        """Go on from what is held now."""
        self._holds = replica.holds
        self._removals = replica.board.removals if replica.size else None
        self._tell_removals()
        self._tell(self._replace, replica.compact_range, replica.checkpoint)

    def stored(self, batch: Batch, verified: VerifiedBatch) -> None:
        """Pass the batch on, unless to whom it removes."""
        names = verified.board.removals if verified.board is not None else {}
        if names is not self._removals or any(map(_is_of_a_key, verified.changes)):
            self._removals = names
            self._tell_removals()
        self._tell(self.log.grow, batch, verified.compact_range.root())

    def fresh(self, note: bytes, checkpoint: Checkpoint) -> None:
        """Pass that on."""
        self._tell(self._freshen, note, checkpoint.size)

    def _tell_removals(self) -> None:
        names = self._removals
        if names is None:
            self._tell(self._gate.know, None)
            return
        holds = self._holds
        self._tell(self._gate.know, Removals(names, lambda key: holds(removed_state_key(key))))

    def _replace(self, position: CompactRange, checkpoint: bytes) -> None:
        self.log.replace(position, checkpoint)

    def _freshen(self, note: bytes, size: int) -> None:
        if size == self.log.size:
            self.log.freshen(note)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        # After its end the loop takes nothing any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(partial(function, *arguments))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:  # noqa: BLE001 - raised by `start`, or said here
            if self._started.is_set():
                _log.exception("relay.failed")
            self._listening.append(error)
            self._started.set()
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        settings, pool = self._settings, Workers("read", READ_THREADS)
        snapshots = SnapshotMaker(
            SnapshotFiles(self._snapshots_dir),
            [sys.executable, "-P", "-m", "secondary.snapshot_process", str(self._config)],
            NEVER,
            lambda _: None,
        )
        history = RelayHistory(self.log, self._tiles, self._entries, snapshots, pool)
        sources = Sources(
            self.log, history, RelayTiles(self._tiles), snapshots.files, pool, self._roots
        )
        service = ReplicationService(sources, {"ReportCosignature": _no_reports()}).service()
        capacity = Capacity(
            settings.connections, settings.calls, CALLS_PER_NODE, settings.connections_per_client
        )
        listener = Listener([service], capacity, by_certificate, self._gate)
        at = listener.bind(self._at, renewed_server_credentials(self._files, mutual=True))
        await listener.start()
        self._listening.append(at)
        self._started.set()
        await self._ending.wait()
        self.log.feed.close()
        await listener.stop(0.5)
        await snapshots.close()
        pool.close()


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


def _is_of_a_key(change: VerifiedChange) -> bool:
    return change.entry.kind == Kind.REMOVED_KEY


def _no_reports() -> grpc.RpcMethodHandler[
    pb.ReportCosignatureRequest, pb.ReportCosignatureResponse
]:
    async def refuse(_request: pb.ReportCosignatureRequest, context: Context) -> NoReturn:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            "this is a mirror: set cosigning.report_to to the primary's listener for nodes",
        )

    return grpc.unary_unary_rpc_method_handler(
        refuse,
        pb.ReportCosignatureRequest.FromString,
        pb.ReportCosignatureResponse.SerializeToString,
    )
