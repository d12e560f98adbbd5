"""A primary at work: all its parts on one event loop, begun in order and ended in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import monotonic, time
from typing import Any, Final

from node.feed import Feed
from node.identity_files import IdentityFiles
from node.listener import Handlers, Listener
from node.logging import get_logger
from node.replication_service import ReplicationService, Sources
from node.root_expiry import tell_of_expiry
from node.stream_events import batch_event
from node.tile_files import TileFiles
from node.workers import READ_THREADS, Workers
from primary.aligner import Aligner
from primary.board_room import BoardRoom
from primary.clock import clock_ms
from primary.desk.office import Office
from primary.freshness import Freshness
from primary.head import Head
from primary.intake import Intake
from primary.listening import open_listeners
from primary.membership.membership import Membership
from primary.metrics import PrimaryMetrics
from primary.parts import feed_limits, log_server, lookup_child, public_gate, snapshot_maker
from primary.proposals import Proposals
from primary.public_log import PublicLog
from primary.published_log import PrimaryLog
from primary.registering.asking import take_any
from primary.rotation.keeper import Keeper
from primary.rotation.keeper import Sources as SetSources
from primary.rotation.looking import Prober
from primary.rotation.trying import PortTrier
from primary.rotation.trying import Sources as TrySources
from primary.sequencer import Committed, Sequencer
from primary.services.administration import About, AdministrationService, Lapses
from primary.services.announcing import Announcing
from primary.services.backlog import Backlog
from primary.services.board_service import BoardService
from primary.services.bulk import BulkSubmission
from primary.services.cosignature_reports import CosignatureReports, ReportSources
from primary.services.joining import JoiningService
from primary.services.looking import LookingService
from primary.services.queries import Queries
from primary.services.registering import RegisteringService
from primary.services.registry_service import RegistryService
from primary.services.trying import Trying
from primary.settings import PrimarySettings
from primary.signing_keys import SigningKeys
from primary.store.errors import FencedError, StoreUnavailableError
from primary.store.store import Store
from primary.tile_keeper import TileKeeper
from primary.web.serving import open_page
from registry.node_name import is_node_name

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
    certificates: IdentityFiles
    metrics: PrimaryMetrics


class Primary:
    """The parts of one primary, on the running event loop."""

    def __init__(self, opened: Opened) -> None:
        settings, reader, head = opened.settings, opened.store.reader, opened.sequencer.head
        self._opened = opened
        self._metrics = opened.metrics
        self._pool = Workers("read", READ_THREADS)
        self._log = PublicLog(head, Feed(head.size, feed_limits(settings)))
        self._intake = Intake(opened.sequencer, settings.intake.waiting_changes, self._announce)
        self._tiles = TileKeeper(opened.tile_files, reader.leaf_hashes, self._pool)
        self._snapshots = snapshot_maker(settings, opened.settings_file, opened.metrics)
        self._freshness = Freshness(self._log, opened.keys.freshness, self._is_newest)
        log = PrimaryLog(self._log, opened.tile_files, reader)
        self._log_server = log_server(settings, log)
        self._membership = Membership(
            settings,
            opened.certificates,
            opened.keys.log,
            opened.metrics,
            reader=reader,
            submit=self._intake.submit,
        )
        self._aligner = Aligner(opened.keys.log, self._intake, reader=reader, pool=self._pool)
        self._room = BoardRoom(
            opened.keys.log,
            Proposals(settings.proposals_dir),
            self._intake,
            self._aligner,
            reader=reader,
            pool=self._pool,
            on_removed=self._membership.members.remove,
        )
        self._keeper = self._make_keeper()
        self._held_back = 0
        self._office = Office(
            settings,
            self._intake.submit,
            clock_ms,
            self._note_held_back,
            lambda: self._room.board,
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
            for admit in (public_gate(settings), take_any)
        ]
        self._listeners = self._make_listeners()
        self._lookup = lookup_child(settings, opened.settings_file)
        self._page = open_page(
            settings,
            office=self._office,
            intake=self._intake,
            log=self._log,
            reader=reader,
            tiles=self._tiles,
            pool=self._pool,
            keys=lambda: opened.keys.log.chain,
            admit=public_gate(settings),
        )
        self._watch()

    async def run(self, stop: asyncio.Event, set_phase: Callable[[str], None]) -> None:
        """Serves until `stop`, then drains; raises what is fatal to any part.

        `set_phase` is told why it cannot serve, and "" while it can.
        """
        set_phase("the tiles are being brought up to the log")
        head = self._log.head
        lost = await self._pool.run(self._opened.store.reader.first_size)
        await self._pool.run(self._tiles.catch_up, head.size, head.root, lost)
        await self._membership.members.refresh()
        for listener in self._listeners:
            await listener.start()
        self._log_server.start()
        if self._lookup is not None:
            self._lookup.start()
        set_phase("")
        _log.info("primary.ready", origin=self._opened.settings.origin, size=head.size)
        parts = [
            asyncio.create_task(part)
            for part in (
                stop.wait(),
                self._intake.wait_stopped(),
                self._tiles.run(),
                self._freshness.run(self._opened.settings.freshness_seconds),
                self._aligner.run(),
                self._office.run(),
                self._membership.run(),
                self._keeper.run(),
                *([self._page.run()] if self._page else []),
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
        self._metrics.batch_entries.observe(len(committed.batch.entries))
        self._show(head)
        self._log.grow(head, batch_event(committed.batch))
        self._tiles.offer(committed.batch.start, committed.leaf_hashes)
        self._snapshots.log_grew(head.size)

    def _note_held_back(self, registrations: int) -> None:
        self._held_back = registrations
        self._metrics.lapses_held_back.set(registrations)

    def _lapses(self) -> Lapses:
        """What the board is to look at, and what it has decided."""
        decided = self._room.board.lapses_at(time())
        points = self._office.points.names
        return Lapses(self._held_back, decided.line() if decided else "", points)

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
        if self._lookup is not None:
            await self._lookup.stop()
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        await self._snapshots.close()
        await self._tiles.close()
        if self._page is not None:
            self._page.close()
        self._office.close()
        self._membership.close()
        self._pool.close()

    def _make_listeners(self) -> list[Listener]:
        settings, reader = self._opened.settings, self._opened.store.reader
        queries = Queries(reader, self._log, self._pool)
        public, trusted = (
            RegistryService(self._intake, queries, bulk, self._metrics, admit=admit).service()
            for bulk, admit in zip(self._bulks, (public_gate(settings), take_any), strict=True)
        )
        board = BoardService(self._room, reader, self._pool).service()
        registering = RegisteringService(self._office.desk, self._metrics).service()
        joining = self._make_joining()
        looking = LookingService(self._office.points).service()
        return open_listeners(
            settings,
            public=[public, board, registering, joining.joining()],
            nodes=[self._make_replication().service(), joining.membership(), looking],
            local=[self._make_administration().service(), trusted, board],
            files=self._opened.certificates,
            gate=self._membership.members,
        )

    def _make_joining(self) -> JoiningService:
        announcing = Announcing(self._keeper, self._opened.settings.set.dns_port)
        trying = Trying(self._make_trier())
        return JoiningService(
            self._membership.reception, {**announcing.handlers(), **trying.handlers()}
        )

    def _make_replication(self) -> ReplicationService:
        signer = self._opened.keys.log
        backlog = Backlog(
            self._log,
            self._opened.store.reader,
            signer,
            self._pool,
            tiles=self._tiles,
            snapshots=self._snapshots,
            stream_limit=self._opened.settings.stream_limit,
        )
        sources = Sources(
            self._log,
            backlog,
            self._tiles,
            self._snapshots.files,
            self._pool,
            lambda: signer.chain,
        )
        return ReplicationService(sources, self._reports())

    def _make_administration(self) -> AdministrationService:
        origin, store = self._opened.settings.origin, self._opened.store
        return AdministrationService(
            About(version("smtp-registry"), origin, store.kind),
            self._log,
            self._snapshots,
            certificate=self._membership.own,
            lapses=self._lapses,
            keeper=self._keeper,
        )

    def _make_keeper(self) -> Keeper:
        settings = self._opened.settings
        return Keeper(
            settings.set,
            SetSources(
                self._opened.store.reader,
                self._pool,
                self._intake.submit,
                lambda: frozenset(filter(is_node_name, self._room.board.mirrors)),
                lambda: self._log.cosignatures.vouched,
                lambda: self._log.head.size,
                settings.set.zone or settings.origin,
                settings.lab,
            ),
        )

    def _make_trier(self) -> PortTrier:
        settings, files = self._opened.settings, self._opened.certificates
        find = self._membership.members.find
        sources = TrySources(
            self._opened.store.reader,
            self._pool,
            self._office.resolvers,
            self._keeper.announced,
            lambda name: node.names if (node := find(name)) else (),
            lambda: frozenset(self._room.board.mirrors),
            lambda: self._log.cosignatures.vouched,
            lambda: files.look().authority,
            settings.origin,
            settings.set.zone or settings.origin,
            settings.lab,
        )
        return PortTrier(sources, Prober(settings.set.dns_port, settings.set.probe_from), monotonic)

    def _reports(self) -> Handlers:
        settings, signer = self._opened.settings, self._opened.keys.log
        sources = ReportSources(
            self._log,
            self._tiles,
            self._pool,
            self._membership.cosigners,
            lambda: signer.chain,
            settings.data_dir,
            self._metrics,
        )
        return {"ReportCosignature": CosignatureReports(sources, self._log.cosignatures).handler()}

    def _watch(self) -> None:
        self._show(self._log.head)
        self._metrics.watch_root(lambda: self._opened.keys.log.chain.current)
        tell_of_expiry(self._opened.keys.log.chain.current)
        self._metrics.watch_queue(lambda: self._intake.waiting)
        self._metrics.watch_tiles(lambda: self._tiles.files.size)
        self._metrics.watch_feed(self._log.feed)
        self._metrics.watch_disk(self._opened.settings.data_dir)
        self._metrics.watch_cosignatures(self._log.cosignatures)
        members = self._keeper.members
        self._metrics.watch_set(
            lambda: len(members), lambda: sum(one.is_in_set for one in list(members.values()))
        )

    def _show(self, head: Head) -> None:
        self._metrics.log_size.set(head.size)
        self._metrics.checkpoint_time.set(head.committed_ms / 1000)
        self._metrics.live_keys.set(head.state.live_keys)


async def _first_of(parts: Sequence[asyncio.Task[Any]]) -> None:
    """Returns when one part has ended well; raises what ended it otherwise."""
    done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    for part in done:
        part.result()
