"""A primary at work: all its parts on one event loop, begun in order and ended in order."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from node.feed import Feed, FeedLimits
from node.listener import Handlers, Listener
from node.log_http import LogServer
from node.logging import get_logger
from node.replication_service import ReplicationService, Sources
from node.root_expiry import tell_of_expiry
from node.snapshot_files import SnapshotFiles
from node.snapshot_maker import SnapshotMaker
from node.stream_events import batch_event
from node.tile_files import TileFiles
from node.tls import read_certificates
from node.workers import READ_THREADS, Workers
from primary import pki
from primary.board_room import BoardRoom
from primary.changes import Change
from primary.clock import clock_ms
from primary.cosigner_keys import CosignerKeys
from primary.desk.office import Office
from primary.freshness import Freshness
from primary.head import Head
from primary.intake import Intake
from primary.listening import open_listeners
from primary.metrics import PrimaryMetrics
from primary.proposals import Proposals
from primary.public_log import PublicLog
from primary.published_log import PrimaryLog
from primary.registering.asking import check_direct, take_any
from primary.sequencer import Committed, Sequencer
from primary.services.administration import About, AdministrationService
from primary.services.backlog import Backlog
from primary.services.board_service import BoardService
from primary.services.bulk import BulkSubmission
from primary.services.cosignature_reports import CosignatureReports, ReportSources
from primary.services.queries import Queries
from primary.services.registering import RegisteringService
from primary.services.registry_service import RegistryService
from primary.settings import PrimarySettings
from primary.signing_keys import SigningKeys
from primary.store.errors import FencedError, StoreUnavailableError
from primary.store.store import Store
from primary.tile_keeper import TileKeeper

# From the end of the last commit until streams that do not end are cut.
STREAMS_SECONDS: Final = 2.0

_log = get_logger("primary")


@dataclass(frozen=True, slots=True)
class Opened:
    """What was opened, and found to fit together, before the event loop runs."""

    settings: PrimarySettings
    # The snapshot process reads it again.
    settings_file: Path
    keys: SigningKeys
    store: Store
    sequencer: Sequencer
    tile_files: TileFiles
    metrics: PrimaryMetrics


class Primary:
    """The parts of one primary, on the running event loop."""

    def __init__(self, opened: Opened) -> None:
        settings, reader, head = opened.settings, opened.store.reader, opened.sequencer.head
        self._opened = opened
        self._metrics = opened.metrics
        self._pool = Workers("read", READ_THREADS)
        self._log = PublicLog(head, Feed(head.size, _feed_limits(settings)))
        self._intake = Intake(opened.sequencer, settings.intake.waiting_changes, self._announce)
        self._tiles = TileKeeper(opened.tile_files, reader.leaf_hashes, self._pool)
        self._snapshots = SnapshotMaker(
            SnapshotFiles(settings.snapshots_dir),
            [sys.executable, "-m", "primary.snapshot_process", str(opened.settings_file)],
            settings.snapshot_every,
            self._metrics.snapshot_seconds.set,
        )
        self._freshness = Freshness(self._log, opened.keys.freshness, self._is_newest)
        self._log_server = LogServer(
            settings.log.listen,
            PrimaryLog(self._log, opened.tile_files, reader),
            connections=settings.log.connections,
            per_client=settings.log.connections_per_client,
        )
        self._room = BoardRoom(
            opened.keys.log,
            Proposals(settings.proposals_dir),
            self._intake,
            reader=reader,
            pool=self._pool,
        )
        self._office = Office(
            settings, self._intake.submit, clock_ms, self._metrics.lapses_held_back.set
        )
        # Anyone, and this machine's owner, who is trusted.
        self._bulks = [
            BulkSubmission(
                self._intake,
                self._metrics,
                settings.intake.bulk_requests,
                settings.public.idle_seconds,
                admit=admit,
            )
            for admit in (_public_gate(settings), take_any)
        ]
        self._listeners = self._make_listeners()
        self._watch()

    async def run(self, stop: asyncio.Event, set_phase: Callable[[str], None]) -> None:
        """Serves until `stop`, then drains; raises what is fatal to any part.

        `set_phase` is told why it cannot serve, and "" while it can.
        """
        set_phase("the tiles are being brought up to the log")
        head = self._log.head
        lost = await self._pool.run(self._opened.store.reader.first_size)
        await self._pool.run(self._tiles.catch_up, head.size, head.root, lost)
        for listener in self._listeners:
            await listener.start()
        self._log_server.start()
        set_phase("")
        _log.info("primary.ready", origin=self._opened.settings.origin, size=head.size)
        parts = [
            asyncio.create_task(part)
            for part in (
                stop.wait(),
                self._intake.wait_stopped(),
                self._tiles.run(),
                self._freshness.run(self._opened.settings.freshness_seconds),
                self._align(stop),
                self._office.run(),
            )
        ]
        try:
            await _first_of(parts)
            set_phase("the primary is stopping")
            await self._drain()
        finally:
            await self._end(parts)

    def _announce(self, committed: Committed) -> None:
        """Called in the loop for every commit, before those who asked for it are answered."""
        self._metrics.commit_seconds.observe(committed.seconds)
        if committed.batch is None:
            return
        head = committed.head
        self._metrics.batches.inc()
        self._show(head)
        self._log.grow(head, batch_event(committed.batch))
        self._tiles.offer(committed.batch.start, committed.leaf_hashes)
        self._snapshots.log_grew(head.size)

    async def _align(self, stop: asyncio.Event) -> None:
        """What the board ordered before the last start is done now; then nothing, until `stop`."""
        await self._room.align_all()
        await stop.wait()

    async def _is_newest(self) -> bool:
        """Whether the head is the log's still; FencedError when another primary wrote since.

        An idle primary would not notice, and would go on to call an old checkpoint the newest.
        """
        head, was_idle = self._log.head, self._intake.waiting == 0
        try:
            stored = await self._pool.run(self._opened.store.reader.head)
        except StoreUnavailableError as error:
            _log.warning("freshness.withheld", error=str(error))
            return False
        is_idle = was_idle and self._intake.waiting == 0 and head is self._log.head
        if is_idle and (stored.size, stored.root) != (head.size, head.root):
            raise FencedError(
                f"the database stands at size {stored.size}, not at {head.size}: another primary "
                "writes it; this one stops"
            )
        return True

    async def _drain(self) -> None:
        """Answers what was taken, tells streams to go elsewhere, and cuts what is left."""
        _log.info("primary.draining", waiting=self._intake.waiting)
        for listener in self._listeners:
            await listener.announce_stop()
        for bulk in self._bulks:
            bulk.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._opened.settings.drain_seconds):
                await self._intake.close()
        self._log.feed.close()
        await asyncio.gather(*(one.stop(STREAMS_SECONDS) for one in self._listeners))

    async def _end(self, parts: list[asyncio.Task[Any]]) -> None:
        await asyncio.gather(*(listener.stop(0) for listener in self._listeners))
        await asyncio.to_thread(self._log_server.close)
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        await self._snapshots.close()
        await self._tiles.close()
        self._office.close()
        self._pool.close()

    def _make_listeners(self) -> list[Listener]:
        settings, reader = self._opened.settings, self._opened.store.reader
        queries = Queries(reader, self._log, self._pool)
        backlog = Backlog(
            self._log,
            reader,
            self._opened.keys.log,
            self._pool,
            tiles=self._tiles,
            snapshots=self._snapshots,
            stream_limit=settings.stream_limit,
        )
        signer = self._opened.keys.log
        sources = Sources(
            self._log,
            backlog,
            self._tiles,
            self._snapshots.files,
            self._pool,
            lambda: signer.chain,
        )
        about = About(version("smtp-registry"), settings.origin, self._opened.store.kind)
        public, trusted = (
            RegistryService(self._intake, queries, bulk, self._metrics, admit=admit).service()
            for bulk, admit in zip(self._bulks, (_public_gate(settings), take_any), strict=True)
        )
        board = BoardService(self._room, reader, self._pool).service()
        return open_listeners(
            settings,
            public=[
                public,
                board,
                RegisteringService(self._office.desk, self._metrics).service(),
            ],
            nodes=[ReplicationService(sources, self._reports()).service()],
            local=[
                AdministrationService(about, self._log, self._snapshots).service(),
                trusted,
                board,
            ],
        )

    def _reports(self) -> Handlers:
        settings, signer = self._opened.settings, self._opened.keys.log
        sources = ReportSources(
            self._log,
            self._tiles,
            self._pool,
            CosignerKeys(settings.cosigners_dir, settings.origin),
            lambda: signer.chain,
            settings.data_dir,
            self._metrics,
        )
        return {"ReportCosignature": CosignatureReports(sources, self._log.cosignatures).handler()}

    def _watch(self) -> None:
        settings, head = self._opened.settings, self._log.head
        self._show(head)
        certificate = read_certificates(settings.tls.certificate)
        self._metrics.certificate_expires.set(pki.expires(certificate).timestamp())
        self._metrics.watch_root(lambda: self._opened.keys.log.chain.current)
        tell_of_expiry(self._opened.keys.log.chain.current)
        self._metrics.watch_queue(lambda: self._intake.waiting)
        self._metrics.watch_tiles(lambda: self._tiles.files.size)
        self._metrics.watch_feed(self._log.feed)
        self._metrics.watch_cosignatures(self._log.cosignatures)

    def _show(self, head: Head) -> None:
        self._metrics.log_size.set(head.size)
        self._metrics.live_keys.set(head.state.live_keys)


def _public_gate(settings: PrimarySettings) -> Callable[[Change], None]:
    """What anyone may have without showing anything."""
    return check_direct if settings.asks_proofs else take_any


def _feed_limits(settings: PrimarySettings) -> FeedLimits:
    nodes = settings.nodes
    return FeedLimits(
        nodes.subscribers, nodes.subscribers_per_node, nodes.buffered_events, nodes.buffered_bytes
    )


async def _first_of(parts: Sequence[asyncio.Task[Any]]) -> None:
    """Returns when one part has ended well; raises what ended it otherwise."""
    done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    for part in done:
        part.result()
