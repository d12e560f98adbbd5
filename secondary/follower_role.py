"""The follower's process: follower, mirror service, housekeeping and monitoring put together."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from node.authority import check_authority
from node.bundle_files import BundleFiles
from node.disk import DiskCollector
from node.errors import ConfigurationError
from node.feed_metrics import FeedCollector
from node.identity_files import IdentityFiles, Paths
from node.log_http import LogServer
from node.logging import get_logger
from node.monitoring import Monitoring, new_metrics
from node.resolving import system_resolvers
from registry.member import Announced
from registry.root import Root
from secondary.announcing import Announcing, Drain
from secondary.audience import Audience, Audiences
from secondary.background import SWITCH_SECONDS
from secondary.cosigner import MirrorCosigner
from secondary.cosigning import Cosigning
from secondary.directory_lock import DirectoryLock
from secondary.etcd import EtcdStore
from secondary.etcd_use import EtcdUse
from secondary.follower import Follower
from secondary.follower_metrics import BatchMetrics, FollowerMetrics
from secondary.follower_status import StatusBoard
from secondary.generations import Generations
from secondary.housekeeping import Housekeeping
from secondary.log_entries import LogEntries
from secondary.log_tiles import LogTiles
from secondary.own_certificate import OwnCertificate
from secondary.peers import Peers
from secondary.proving import Prover
from secondary.published_log import MirrorLog
from secondary.roots import Roots
from secondary.services.joining_client import LateRenewer
from secondary.services.looking import Looking
from secondary.services.mirror import MirrorServer, MirrorService
from secondary.services.relay import Relay
from secondary.settings import Role, SecondarySettings
from secondary.upstream import Upstream
from secondary.watchdog import HeldLog, Watchdog

LOCK_SECONDS: Final = 5.0
NOT_NAMED: Final = "ask the primary's operator for the file that the board named, and put it there"

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
        tls = settings.tls
        self._files = files = IdentityFiles(Paths(tls.ca, tls.certificate, tls.key))
        self._store = EtcdStore(settings.etcd_endpoints, settings.etcd.tls)
        stack.callback(self._store.close)
        child_quota = None if settings.etcd.endpoints else settings.etcd.quota_bytes
        self._use = EtcdUse(self._store, child_quota)
        self._tiles = LogTiles(settings.tiles_dir)
        stack.callback(self._tiles.close)
        self._upstream = self._primary = Upstream(settings.upstream, files)
        if settings.primary != settings.upstream:
            self._primary = Upstream(settings.primary, files)
            stack.callback(self._primary.close)
        self._board = StatusBoard()
        self._roots = Roots.load(settings, keep=True)
        cosigner = MirrorCosigner(settings.data_dir, self._roots.name, settings.name)
        self._cosigning = Cosigning(
            cosigner,
            self._tiles,
            self._primary if settings.cosigning.report else None,
            self._board,
        )
        self._entries = LogEntries(
            BundleFiles(settings.entries_dir),
            self._tiles,
            self._upstream,
            settings.log.old_entries,
        )
        self._watchdog = self._make_watchdog()
        self._looking = self._make_looking()
        self._relay = self._make_relay(config)
        self._metrics = new_metrics(Role.FOLLOWER.value)
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
            check_authority=self._check_authority,
        )
        prover = Prover(self._store, self._tiles, lambda: self._follower.replica)
        service = MirrorService(settings, self._board, prover, self._roots)
        self._mirror = MirrorServer(settings.mirror, files, service, self._unready_reason)
        self._show()
        self._monitoring = Monitoring(
            settings.follower.http,
            settings.follower.health,
            self._metrics,
            self._unready_reason,
        )
        stack.callback(self._monitoring.close)

    def _show(self) -> None:
        self._metrics.register(FollowerMetrics(self._board, self._roots))
        self._metrics.register(self._store.times)
        self._metrics.register(self._use)
        self._metrics.register(DiskCollector(self._settings.data_dir))
        if (relay := self._relay) is not None:
            self._metrics.register(FeedCollector(lambda: relay.log.feed))

    def _make_log_server(self, cosigner: MirrorCosigner) -> LogServer:
        settings = self._settings.log
        return LogServer(
            settings.listen,
            MirrorLog(cosigner, self._tiles, self._entries),
            connections=settings.connections,
            per_client=settings.connections_per_client,
        )

    def _audience(self) -> list[Audience]:
        counted = BatchMetrics(self._metrics)
        always: list[Audience] = [self._cosigning, self._entries, self._watchdog, counted]
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
            at = self._relay.start(self._files)
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

    def _check_authority(self, root: Root) -> None:
        authority = self._files.look().authority
        check_authority(self._settings.tls.ca, authority, root, NOT_NAMED)

    def _make_certificate(self) -> OwnCertificate:
        settings, at = self._settings, self._settings.tls.renew_ended_at
        return OwnCertificate(
            settings.name,
            self._files,
            self._primary if settings.tls.renew else None,
            self._board,
            self._follower.reconnect,
            late=LateRenewer(at, settings.name, self._files) if at else None,
        )

    def _make_looking(self) -> Looking | None:
        settings = self._settings
        # The primary asks mirrors, and no readers.
        if not (settings.look.enabled and settings.cosigning.report):
            return None
        try:
            resolvers = settings.look.resolvers or system_resolvers()
        except ConfigurationError as error:
            # A mirror serves as well without.
            _log.warning("looking.off", reason=str(error))
            return None
        return Looking(settings.primary, self._files, resolvers, settings.look.per_second)

    def _make_announcing(self) -> Announcing | None:
        settings = self._settings
        if not settings.set.addresses:
            return None
        announced = Announced(
            settings.set.operator, settings.set.region, settings.set.addresses, settings.dns.nsid
        )
        return Announcing(
            self._primary,
            announced,
            Drain(settings.drain_file),
            self._board,
            settings.set.announce_seconds,
        )

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
        certificate = self._make_certificate()
        self._stack.callback(certificate.stop)
        self._stack.callback(self._watchdog.stop)
        if self._looking is not None:
            self._stack.callback(self._looking.stop)
            self._looking.start()
        announcing = self._make_announcing()
        if announcing is not None:
            self._stack.callback(announcing.stop)
            announcing.start()
        if self._relay is not None:
            self._stack.callback(self._relay.stop)
        self._start_relay()
        thread.start()
        self._cosigning.start(self._follower.freeze)
        self._mirror.start()
        certificate.start()
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
            self._use,
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
