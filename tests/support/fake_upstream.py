"""An upstream in memory that serves a builder's log, and can be told to misbehave."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from registry.merkle import CompactRange, leaf_hash
from registry.tiles import TILE_WIDTH, TileId
from secondary.upstream import (
    Event,
    ForkClaim,
    NeedSnapshot,
    Subscription,
    Upstream,
    UpstreamLacks,
    UpstreamUnavailable,
)
from tests.support.boards import chain_of
from tests.support.log_builder import LogBuilder

POLL_SECONDS = 0.05
CHUNK_BYTES = 1000


class FakeUpstream(Upstream):
    """Change `log` within `changing` only; everything else may be set at any time."""

    def __init__(self, log: LogBuilder) -> None:
        self.log = log
        self.condition = threading.Condition()
        self.is_down = False
        # Version 1 first.
        self.root_notes = chain_of(log.signer, log.cosigner).notes
        # Sent before anything else to whoever is subscribed; each may raise.
        self.injected: deque[Callable[[], Event]] = deque()
        # A subscriber that lacks more entries than this is sent to a snapshot.
        self.stream_limit = 1_000_000
        # Snapshot files by name; and after how many bytes each reading breaks off.
        self.snapshots: dict[str, bytes] = {}
        self.break_after: int | None = None
        self.offsets: list[int] = []
        self.tile_requests = 0

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def changing(self) -> Iterator[LogBuilder]:
        """The log, which subscribers see again after the block."""
        with self.condition:
            yield self.log
            self.condition.notify_all()

    def inject(self, event: Callable[[], Event]) -> None:
        """Send this next."""
        with self.condition:
            self.injected.append(event)
            self.condition.notify_all()

    def make_snapshot(self) -> NeedSnapshot:
        """Keep a snapshot of the log as it is."""
        name = f"{self.log.size}-{self.log.state.state_root.hex()}.snapshot"
        self.snapshots[name] = self.log.snapshot()
        return NeedSnapshot(name, len(self.snapshots[name]), self.log.size)

    def roots(self, after: int) -> list[bytes]:
        self.check()
        return self.root_notes[after:]

    def newest_checkpoint(self) -> bytes:
        self.check()
        with self.condition:
            return self.log.checkpoint

    def subscribe(self, size: int, root: bytes) -> Subscription:
        self.check()
        return _FakeSubscription(self, size, root)

    def read_snapshot(self, name: str, offset: int) -> Iterator[bytes]:
        self.check()
        self.offsets.append(offset)
        data = self.snapshots.get(name)
        if data is None:
            raise UpstreamLacks(f"no snapshot {name}")
        given = 0
        for start in range(offset, len(data), CHUNK_BYTES):
            if self.break_after is not None and given >= self.break_after:
                raise UpstreamUnavailable("broken off")
            yield data[start : start + CHUNK_BYTES]
            given += CHUNK_BYTES

    def read_tiles(self, tiles: Sequence[TileId]) -> Iterator[bytes]:
        self.check()
        self.tile_requests += 1
        for tile in tiles:
            with self.condition:
                yield self._tile(tile)

    def check(self) -> None:
        """UpstreamUnavailable while down."""
        if self.is_down:
            raise UpstreamUnavailable("down")

    def root_at(self, size: int) -> bytes:
        """The root of the log's first `size` leaves."""
        return CompactRange.empty().extend(self._leaves(0, size)).root()

    def _leaves(self, start: int, end: int) -> list[bytes]:
        return [leaf_hash(logged.entry) for logged in self.log.logged[start:end]]

    def _tile(self, tile: TileId) -> bytes:
        under = TILE_WIDTH**tile.level
        first = tile.index * TILE_WIDTH
        return b"".join(
            CompactRange.empty().extend(self._leaves(n * under, (n + 1) * under)).root()
            for n in range(first, first + tile.width)
        )


class _FakeSubscription(Subscription):
    def __init__(self, upstream: FakeUpstream, size: int, root: bytes) -> None:
        self._upstream = upstream
        self._size = size
        self._root = root
        self._is_over = False

    def cancel(self) -> None:
        self._is_over = True

    def __iter__(self) -> Iterator[Event]:
        upstream = self._upstream
        while not self._is_over:
            upstream.check()
            with upstream.condition:
                event = self._next()
                if event is None:
                    upstream.condition.wait(POLL_SECONDS)
            if event is not None:
                yield event

    def _next(self) -> Event | None:
        upstream, log = self._upstream, self._upstream.log
        if upstream.injected:
            return upstream.injected.popleft()()
        if self._size > log.size:
            return ForkClaim(log.checkpoint, b"")
        root = upstream.root_at(self._size)
        if root != self._root:
            return ForkClaim(log.checkpoint, root)
        if log.size - self._size > upstream.stream_limit:
            return upstream.make_snapshot()
        for batch in log.batches:
            if batch.start == self._size:
                self._size = batch.size
                self._root = upstream.root_at(batch.size)
                return batch
        return None
