"""The follower's process: follower, mirror service, housekeeping and monitoring put together."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from node.bundle_files import BundleFiles
from node.http import MonitoringServer
from node.log_http import LogServer
from node.logging import get_logger
from node.tls import Identity, read_certificates
from secondary.audience import Audience, Audiences
from secondary.background import SWITCH_SECONDS
from secondary.cosigner import MirrorCosigner
from secondary.cosigning import Cosigning
from secondary.directory_lock import DirectoryLock
from secondary.etcd import EtcdStore
from secondary.follower import Follower
from secondary.follower_status import FollowerMetrics, StatusBoard
from secondary.generations import Generations
from secondary.housekeeping import Housekeeping
from secondary.log_entries import LogEntries
from secondary.log_tiles import LogTiles
from secondary.peers import Peers
from secondary.proving import Prover
from secondary.published_log import MirrorLog
from secondary.roots import Roots
from secondary.services.mirror import MirrorServer, MirrorService
from secondary.services.relay import Relay
from secondary.settings import SecondarySettings
from secondary.upstream import Upstream
from secondary.watchdog import HeldLog, Watchdog

LOCK_SECONDS: Final = 5.0

_log = get_logger("follower")


def run(settings: SecondarySettings, config: Path) -> None:
    """Follow the log until SIGTERM or SIGINT; ConfigurationError if it cannot."""
    sys.setswitchinterval(SWITCH_SECONDS)
    with ExitStack() as stack:
        stack.enter_context(DirectoryLock(settings.data_dir / "follower.lock", LOCK_SECONDS))
        _Process(settings, config, stack).run()


class _Process:
    """Everything that the role consists of; what was started is stopped in the opposite order."""

    def __init__(self, settings: SecondarySettings, config: Path, stack: ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._identity = identity = Identity.load(settings.tls.certificate, settings.tls.key)
        self._store = EtcdStore(settings.etcd_endpoints, settings.etcd.tls)
        stack.callback(self._store.close)
        self._tiles = LogTiles(settings.tiles_dir)
        stack.callback(self._tiles.close)
        self._upstream = Upstream(settings.upstream, read_certificates(settings.tls.ca), identity)
        self._board = StatusBoard()
        self._roots = Roots.load(settings, keep=True)
        cosigner = MirrorCosigner(settings.data_dir, self._roots.name, settings.name)
        self._cosigning = self._make_cosigning(cosigner, identity)
        self._entries = LogEntries(
            BundleFiles(settings.entries_dir),
            self._tiles,
            self._upstream,
            settings.log.old_entries,
        )
        self._watchdog = self._make_watchdog()
        self._relay = self._make_relay(config)
        self._log_server = self._make_log_server(cosigner)
        stack.callback(self._log_server.close)
        self._follower = Follower(
            settings,
            self._store,
            self._upstream,
            self._tiles,
            self._board,
            roots=self._roots,
            audience=Audiences(self._audience()),
        )
        prover = Prover(self._store, self._tiles, lambda: self._follower.replica)
        service = MirrorService(settings, self._board, prover, self._roots)
        self._mirror = MirrorServer(settings.mirror, identity, service)
        metrics = CollectorRegistry()
        metrics.register(FollowerMetrics(self._board, self._roots))
        self._monitoring = MonitoringServer(settings.follower.http, metrics, self._unready_reason)
        stack.callback(self._monitoring.close)

    def _make_log_server(self, cosigner: MirrorCosigner) -> LogServer:
        settings = self._settings.log
        return LogServer(
            settings.listen,
            MirrorLog(cosigner, self._tiles, self._entries),
            connections=settings.connections,
            per_client=settings.connections_per_client,
        )

    def _audience(self) -> list[Audience]:
        always: list[Audience] = [self._cosigning, self._entries, self._watchdog]
        return always if self._relay is None else [*always, self._relay]

    def _make_relay(self, config: Path) -> Relay | None:
        settings = self._settings
        if settings.relay.listen is None:
            return None
        return Relay(
            settings.relay,
            settings.relay.listen,
            self._tiles,
            self._entries,
            snapshots_dir=settings.relayed_snapshots_dir,
            config=config,
            roots=lambda: self._roots.chain,
            path=lambda: (*self._upstream.path, settings.name),
        )

    def _start_relay(self) -> None:
        if self._relay is not None:
            authority = read_certificates(self._settings.tls.ca)
            at = self._relay.start(self._identity, authority)
            _log.info("listening", listener="relay", endpoint=str(at))

    def _make_watchdog(self) -> Watchdog:
        settings = self._settings.peers
        held = HeldLog(lambda: self._follower.replica, self._tiles)
        return Watchdog(
            Peers(lambda: settings.urls, held, self._roots),
            self._store,
            self._settings.layout,
            self._board,
            look_seconds=settings.look_seconds,
            behind_seconds=settings.behind_seconds,
        )

    def _make_cosigning(self, cosigner: MirrorCosigner, identity: Identity) -> Cosigning:
        settings = self._settings
        primary, at = self._upstream, settings.cosigning.report_to
        if at is not None:
            primary = Upstream(at, read_certificates(settings.tls.ca), identity)
            self._stack.callback(primary.close)
        return Cosigning(cosigner, self._tiles, primary, self._board)

    def run(self) -> None:
        """Until a signal."""
        ending = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ending.set())
        thread = threading.Thread(target=self._follower.run, name="follower")
        self._stack.callback(self._stop_following, thread)
        self._stack.callback(self._mirror.stop, self._settings.drain_seconds)
        housekeeping = self._housekeeping()
        self._stack.callback(housekeeping.stop)
        self._stack.callback(self._cosigning.stop)
        self._stack.callback(self._entries.stop)
        self._stack.callback(self._watchdog.stop)
        if self._relay is not None:
            self._stack.callback(self._relay.stop)
        self._start_relay()
        thread.start()
        self._cosigning.start(self._follower.freeze)
        self._mirror.start()
        self._entries.start()
        self._watchdog.start(self._follower.freeze)
        self._log_server.start()
        self._monitoring.start()
        housekeeping.start(lambda: self._follower.replica, self._follower.doubt)
        _log.info(
            "follower.started",
            name=self._settings.name,
            mirror=str(self._mirror.endpoint),
            log=str(self._log_server.endpoint),
            http=str(self._monitoring.endpoint),
        )
        while not ending.wait(1.0):
            if not thread.is_alive():
                raise RuntimeError("the follower's thread has died")
        _log.info("follower.ending")

    def _housekeeping(self) -> Housekeeping:
        return Housekeeping(
            self._store,
            Generations(self._store, self._settings.layout),
            self._roots,
            recheck_seconds=self._settings.recheck_seconds,
            old_generation_seconds=self._settings.follower.old_generation_seconds,
        )

    def _stop_following(self, thread: threading.Thread) -> None:
        self._follower.stop()
        # Ends every call that the thread may wait in.
        self._upstream.close()
        if thread.is_alive():
            thread.join()

    def _unready_reason(self) -> str:
        status = self._board.now
        return "" if status.size else f"the register is not loaded yet: {status.phase.value}"
