"""The follower's process: follower, mirror service, housekeeping and monitoring put together."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack
from typing import Final

from prometheus_client import CollectorRegistry

from node.http import MonitoringServer
from node.logging import get_logger
from node.tls import Identity, read_certificates
from secondary.background import SWITCH_SECONDS
from secondary.directory_lock import DirectoryLock
from secondary.etcd import EtcdStore
from secondary.follower import Follower
from secondary.follower_status import FollowerMetrics, StatusBoard
from secondary.generations import Generations
from secondary.housekeeping import Housekeeping
from secondary.log_tiles import LogTiles
from secondary.proving import Prover
from secondary.roots import Roots
from secondary.services.mirror import MirrorServer, MirrorService
from secondary.settings import SecondarySettings
from secondary.upstream import Upstream

LOCK_SECONDS: Final = 5.0

_log = get_logger("follower")


def run(settings: SecondarySettings) -> None:
    """Follow the log until SIGTERM or SIGINT; ConfigurationError if it cannot."""
    sys.setswitchinterval(SWITCH_SECONDS)
    with ExitStack() as stack:
        stack.enter_context(DirectoryLock(settings.data_dir / "follower.lock", LOCK_SECONDS))
        _Process(settings, stack).run()


class _Process:
    """Everything that the role consists of; what was started is stopped in the opposite order."""

    def __init__(self, settings: SecondarySettings, stack: ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        identity = Identity.load(settings.tls.certificate, settings.tls.key)
        self._store = EtcdStore(settings.etcd_endpoints, settings.etcd.tls)
        stack.callback(self._store.close)
        self._tiles = LogTiles(settings.tiles_dir)
        stack.callback(self._tiles.close)
        self._upstream = Upstream(settings.upstream, read_certificates(settings.tls.ca), identity)
        self._board = StatusBoard()
        self._roots = Roots.load(settings, keep=True)
        self._follower = Follower(
            settings, self._store, self._upstream, self._tiles, self._board, roots=self._roots
        )
        prover = Prover(self._store, self._tiles, lambda: self._follower.replica)
        service = MirrorService(settings, self._board, prover, self._roots)
        self._mirror = MirrorServer(settings.mirror, identity, service)
        metrics = CollectorRegistry()
        metrics.register(FollowerMetrics(self._board, self._roots))
        self._monitoring = MonitoringServer(settings.follower.http, metrics, self._unready_reason)
        stack.callback(self._monitoring.close)

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
        thread.start()
        self._mirror.start()
        self._monitoring.start()
        housekeeping.start(lambda: self._follower.replica, self._follower.doubt)
        _log.info(
            "follower.started",
            name=self._settings.name,
            mirror=str(self._mirror.endpoint),
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
