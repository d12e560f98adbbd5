"""Follows the log: verifies what the upstream sends, and brings the replica in etcd behind it.

One thread runs it; any may stop it. It ends for no other reason: what goes wrong becomes a
phase and a piece of advice on the status board, and is tried again, except a fork.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from node.errors import ConfigurationError, StorageError
from node.failpoints import failpoint
from node.logging import get_logger
from node.root_expiry import tell_of_expiry
from registry.batch import Batch
from registry.checkpoint import open_checkpoint
from registry.errors import ForkError, VerificationError
from registry.replay import VerifiedBatch
from registry.root import Root
from secondary.audience import Audience
from secondary.background import run_in_background
from secondary.cursor import open_freshness
from secondary.etcd import EtcdStore
from secondary.etcd_values import EtcdError, EtcdFull, EtcdUnavailable, FenceLost
from secondary.follower_status import Phase, StatusBoard
from secondary.fork import UpstreamTiles, judge
from secondary.generations import KEEP_SECONDS, Generations
from secondary.log_tiles import LogTiles
from secondary.replica import Replica, ReplicaDamagedError, Stored
from secondary.replica_opening import Opened, ReplicaOpener
from secondary.roots import Roots
from secondary.setbacks import Setbacks
from secondary.settings import SecondarySettings
from secondary.snapshot_loader import SnapshotLoader
from secondary.upstream import (
    MAX_PATH,
    Event,
    ForkClaim,
    FreshnessNote,
    NeedSnapshot,
    Subscription,
    Upstream,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)

_log = get_logger("follower")


class Follower:
    """The one writer of a replica. What it holds may be asked for by any thread."""

    def __init__(
        self,
        settings: SecondarySettings,
        store: EtcdStore,
        upstream: Upstream,
        tiles: LogTiles,
        board: StatusBoard,
        *,
        roots: Roots,
        audience: Audience | None = None,
        check_authority: Callable[[Root], None] = lambda _: None,
    ) -> None:
        """`audience` hears what is stored; it may not keep the follower waiting.

        `check_authority` says whether the upstream is known by whom a root names;
        ConfigurationError if not.
        """
        self._check_authority = check_authority
        self._settings = settings
        self._audience = audience or Audience()
        self._store = store
        self._upstream = upstream
        self._tiles = tiles
        self._board = board
        self._verifier = self._freshness_verifier = self._roots = roots
        self._generations = Generations(store, settings.layout)
        self._opener = ReplicaOpener(store, self._generations, self._verifier)
        self._snapshots = SnapshotLoader(settings, store, self._generations, upstream, roots)
        self._setbacks = Setbacks(settings, board)
        self._stopping = threading.Event()
        self._reopen = threading.Event()
        self._opened: Opened | None = None
        self._fork: ForkError | None = None
        self._subscription: Subscription | None = None
        self._kept = 0.0

    @property
    def replica(self) -> Replica | None:
        """What is held; None while it is being loaded."""
        opened = self._opened
        return opened.replica if opened else None

    def run(self) -> None:
        """Follow until `stop`."""
        while not self._stopping.is_set():
            self._wait(self._attempt())

    def stop(self) -> None:
        """End after the batch at hand."""
        self._stopping.set()
        self._break_off()

    def doubt(self, error: ReplicaDamagedError) -> None:
        """Read the replica again: somebody found that it is damaged."""
        self._board.refuse(error)
        self._reopen.set()
        self._break_off()

    def reconnect(self) -> None:
        """Begin the stream anew: this node shows another certificate from now on."""
        self._break_off()

    def freeze(self, fork: ForkError) -> None:
        """End following: somebody found that the log has forked."""
        self._fork = fork
        self._break_off()

    def _break_off(self) -> None:
        subscription = self._subscription
        if subscription is not None:
            subscription.cancel()

    def _attempt(self) -> float:
        """Open what is not open, and follow until something happens; seconds to wait then."""
        try:
            opened = self._open()
            if self._fork is not None:
                raise self._fork
            self._follow(opened)
        except ForkError as error:
            self._audience.forked(error)
            return self._setbacks.forked(error)
        except (ReplicaDamagedError, StorageError, EtcdError) as error:
            self._opened = None
            return self._setbacks.failed_here(error)
        except UpstreamError as error:
            return self._setbacks.failed_upstream(error)
        except ConfigurationError as error:
            return self._setbacks.misconfigured(error)
        except VerificationError as error:
            return self._setbacks.distrusted(error)
        return 0.0

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopping.is_set():
            rest = deadline - time.monotonic()
            if rest <= 0:
                return
            self._stopping.wait(min(rest, KEEP_SECONDS))
            self._keep_claim()

    def _keep_claim(self) -> None:
        """Say, from time to time, that the generation that is being made is still wanted."""
        opened, now = self._opened, time.monotonic()
        if opened is None or opened.pending is None or now - self._kept < KEEP_SECONDS:
            return
        try:
            self._generations.keep(opened.pending.claim)
            self._kept = now
        except EtcdError as error:
            self._setbacks.claim_not_kept(error)

    def _open(self) -> Opened:
        if self._opened is not None and not self._reopen.is_set():
            return self._opened
        self._reopen.clear()
        self._opened = None
        self._board.enter(Phase.LOADING)
        opened = run_in_background(self._opener.open)
        self._hold(opened)
        return opened

    def _hold(self, opened: Opened) -> None:
        """Follow with this replica from now on."""
        replica = opened.replica
        self._tiles.begin(replica.compact_range)
        self._opened = opened
        self._audience.opened(replica)
        self._setbacks.etcd_answered()
        if replica.stored is not None:
            position = replica.stored.position
            self._show(replica, position.time_ms, position.state.zone_serial)
            fresh_ms = self._fresh_s(replica.stored) * 1000
            self._board.set(freshness_ms=max(self._board.now.freshness_ms, fresh_ms))

    def _show(self, replica: Replica, time_ms: int, zone_serial: int) -> None:
        self._board.set(
            size=replica.size,
            checkpoint=replica.checkpoint,
            checkpoint_ms=time_ms,
            zone_serial=zone_serial,
            live_keys=replica.live_keys,
        )
        self._board.saw_upstream(replica.size)

    def _follow(self, opened: Opened) -> None:
        """Take events until the stream breaks, or the replica is another."""
        replica = opened.replica
        # Before any checkpoint: they say who may sign one.
        self._roots.take(self._upstream.roots(self._roots.wanted_after))
        # And before anything else: who names the upstream is for them to say.
        self._check_authority(self._roots.chain.current)
        replica.know_roots()
        tell_of_expiry(self._roots.chain.current)
        self._see(replica, self._upstream.newest_checkpoint())
        self._board.set(path=self._place())
        with self._upstream.subscribe(replica.size, replica.root) as events:
            self._subscription = events
            # `stop` and `freeze` may have looked for a subscription before there was one.
            if self._stopping.is_set() or self._fork is not None:
                return
            self._board.enter(Phase.FOLLOWING)
            for event in events:
                self._take(opened, event)
                self._setbacks.streamed()
                self._keep_claim()
                if self._opened is not opened:
                    return

    def _place(self) -> tuple[str, ...]:
        """The nodes from the primary to this one; UpstreamRefused if they lead in a circle."""
        name, path = self._settings.name, self._upstream.path
        if name in path or len(path) >= MAX_PATH:
            raise UpstreamRefused(
                f"it follows {' and '.join(path)}: choose another upstream for {name}"
            )
        return (*path, name)

    def _see(self, replica: Replica, note: bytes) -> None:
        """Take notice of a checkpoint that the upstream shows; ForkError: it is of another log."""
        checkpoint = open_checkpoint(note, self._verifier)
        if checkpoint.size == replica.size and checkpoint.root != replica.root:
            raise ForkError(replica.checkpoint, note)
        self._board.saw_upstream(checkpoint.size)

    def _take(self, opened: Opened, event: Event) -> None:
        match event:
            case Batch():
                self._apply(opened, event)
            case FreshnessNote():
                self._freshen(opened.replica, event.note)
                self._fetch_tiles(opened.replica)
            case NeedSnapshot():
                self._load(opened, event)
            case ForkClaim():
                ours, position = opened.replica.checkpoint, opened.replica.compact_range
                tiles = self._tiles if self._tiles.is_complete else None
                theirs = UpstreamTiles(self._upstream)
                judge(event, ours, position, self._verifier, tiles=tiles, upstream=theirs)

    def _apply(self, opened: Opened, batch: Batch) -> None:
        replica = opened.replica
        verified = replica.verify(batch)
        opened.check(verified)
        self._board.saw_upstream(verified.size)
        failpoint("apply.before_tiles")
        self._tiles.append(verified.leaf_hashes, verified.start)
        failpoint("apply.before_transaction")
        if not self._store_batch(replica, verified):
            return
        failpoint("apply.after_transaction")
        replica.advance(verified)
        self._show(replica, verified.time_ms, verified.state.zone_serial)
        self._audience.stored(batch, verified)
        if opened.pending is not None and opened.pending.is_due(replica.size):
            served = self._generations.flip(opened.pending.claim, opened.pending.served)
            replica.guard = served.guard
            self._opened = Opened(replica)

    def _store_batch(self, replica: Replica, verified: VerifiedBatch) -> bool:
        """Store it, however long etcd is away; False if this follower is to end first."""
        while not self._stopping.is_set():
            try:
                self._store_once(replica, verified)
            except (EtcdUnavailable, EtcdFull) as error:
                self._setbacks.etcd_failed(error)
                self._wait(self._setbacks.etcd_delay())
            else:
                self._setbacks.stored()
                return True
        return False

    def _store_once(self, replica: Replica, verified: VerifiedBatch) -> None:
        try:
            replica.apply(verified)
        except FenceLost:
            # Another follower of this replica was first: see how far it is, and go on from there.
            replica.catch_up()
            replica.apply(verified)

    def _freshen(self, replica: Replica, note: bytes) -> None:
        freshness = open_freshness(note, self._verifier, self._freshness_verifier)
        checkpoint = freshness.checkpoint
        self._see(replica, note)
        if checkpoint.size != replica.size or not self._is_news(replica, freshness.time_s):
            return
        self._board.set(freshness_ms=freshness.time_s * 1000)
        self._audience.fresh(note, checkpoint)
        try:
            replica.freshen(note)
        except FenceLost:
            replica.catch_up()
        except (EtcdUnavailable, EtcdFull) as error:
            # The next one comes in seconds.
            self._setbacks.etcd_failed(error)
        else:
            self._setbacks.stored()

    def _is_news(self, replica: Replica, time_s: int) -> bool:
        """Whether nothing newer was seen, and nothing as new is in etcd."""
        seen_ms, stored = self._board.now.freshness_ms, replica.stored
        return time_s * 1000 >= seen_ms and (stored is None or time_s > self._fresh_s(stored))

    def _fresh_s(self, stored: Stored) -> int:
        return stored.cursor.fresh_s(self._verifier, self._freshness_verifier)

    def _fetch_tiles(self, replica: Replica) -> None:
        self._tiles.fetch(self._upstream, lambda: replica.compact_range)

    def _load(self, opened: Opened, needed: NeedSnapshot) -> None:
        """Take the snapshot in place of a log that this replica lacks too much of."""
        if not needed.name:
            raise UpstreamUnavailable("a snapshot is still being made")
        self._check_announced(opened, needed)
        self._board.enter(Phase.LOADING, f"a snapshot of {needed.bytes} bytes is being read")
        replica = self._snapshots.load(opened, needed, lambda _: self._check_stopping())
        if opened.pending is not None:
            self._generations.give_up(opened.pending.claim)
        self._hold(Opened(replica))
        _log.info("snapshot.served", size=replica.size, records=replica.live_keys)

    def _check_announced(self, opened: Opened, needed: NeedSnapshot) -> None:
        if needed.size > self._board.now.upstream_size:
            # The log may have grown since it was last seen.
            self._see(opened.replica, self._upstream.newest_checkpoint())
        self._snapshots.check(opened, needed, self._board.now.upstream_size)

    def _check_stopping(self) -> None:
        if self._stopping.is_set():
            raise UpstreamUnavailable("stopping")
