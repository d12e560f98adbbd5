"""A thread that looks at the peers, tells the readers what they should know, and raises alarms."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import Final

from node.logging import get_logger
from registry.errors import ForkError
from registry.fork import ForkEvidence
from registry.merkle import CompactRange
from registry.tiles import TileReader, compact_range
from secondary.audience import Audience
from secondary.etcd import EtcdStore
from secondary.etcd_values import EtcdError
from secondary.follower_status import StatusBoard
from secondary.layout import Layout
from secondary.log_tiles import LogTiles
from secondary.notice import Notice
from secondary.peers import Peers
from secondary.replica import Replica

# Mirrors that started together do not ask together for ever.
JITTER: Final = 0.2
STOP_SECONDS: Final = 10.0

_log = get_logger("watchdog")


class HeldLog:
    """What a follower holds, as `secondary.peers.Held`."""

    def __init__(self, replica: Callable[[], Replica | None], tiles: LogTiles) -> None:
        self._replica = replica
        self._tiles = tiles

    def checkpoint(self) -> bytes:
        """Empty while there is none."""
        replica = self._replica()
        return replica.checkpoint if replica else b""

    def tiles(self) -> TileReader | None:
        """None while some are missing."""
        return self._tiles if self._tiles.is_complete else None

    def position(self, size: int) -> CompactRange | None:
        """None if the log was left behind there, or the tiles are not complete."""
        replica, tiles = self._replica(), self.tiles()
        held = replica.compact_range if replica else None
        if held is not None and held.size == size:
            return held
        return compact_range(size, tiles) if tiles is not None else None


class Watchdog(Audience):
    """Looks from time to time, until it is stopped."""

    def __init__(
        self,
        peers: Peers,
        store: EtcdStore,
        layout: Layout,
        board: StatusBoard,
        *,
        look_seconds: float,
        behind_seconds: float,
    ) -> None:
        """Behind its peers for longer than `behind_seconds`, this mirror should not be asked."""
        self._peers = peers
        self._store = store
        self._layout = layout
        self._board = board
        self._look_seconds = look_seconds
        self._behind_seconds = behind_seconds
        self._random = Random()  # noqa: S311 - spreads looks
        self._freeze: Callable[[ForkError], None] | None = None
        self._fork = b""
        # What etcd holds, as far as is known; None: not known.
        self._written: bytes | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self, freeze: Callable[[ForkError], None]) -> None:
        """Begin; `freeze` is told of a fork."""
        self._freeze = freeze
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def forked(self, fork: ForkError) -> None:
        """Tell the readers, with the evidence."""
        self._fork = ForkEvidence.of(fork).encode()
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            self._look()
            self._tell(self._notice())
            jitter = self._random.uniform(1 - JITTER, 1 + JITTER)
            self._wake.wait(self._look_seconds * jitter)
            self._wake.clear()

    def _look(self) -> None:
        if self._fork:
            return
        try:
            self._peers.look()
        except ForkError as fork:
            self.forked(fork)
            if self._freeze is not None:
                self._freeze(fork)
        except Exception:  # noqa: BLE001 - a watchdog must not die unseen
            _log.exception("watchdog.failed")
        self._board.set(peers=tuple(self._peers.seen))

    def _notice(self) -> Notice:
        """What readers should know now; the board is told as well."""
        if self._fork:
            self._rotate("")
            return Notice(fork=self._fork)
        ahead, seconds = self._peers.ahead, self._peers.behind_seconds
        if ahead is None or seconds < self._behind_seconds:
            self._rotate("")
            return Notice()
        self._rotate(
            f"{ahead.url} has {ahead.size} entries, which have not come here: "
            f"look at the upstream, or choose another"
        )
        return Notice(ahead=ahead.note)

    def _rotate(self, reason: str) -> None:
        if reason == self._board.now.out_of_rotation:
            return
        self._board.set(out_of_rotation=reason)
        if reason:
            _log.error("mirror.behind", advice=reason)
        else:
            _log.info("mirror.caught_up")

    def _tell(self, notice: Notice) -> None:
        value, key = notice.encode(), self._layout.notice
        if value == self._written:
            return
        try:
            self._store.txn([], [(key, value)] if value else [], [] if value else [key])
            self._written = value
        except EtcdError as error:
            _log.warning("notice.not_written", reason=str(error))
