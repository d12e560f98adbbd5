"""A builder's log over HTTP, as another mirror publishes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from node.endpoint import Endpoint
from node.log_http import LogServer
from registry.merkle import CompactRange, leaf_hash
from registry.tiles import TILE_WIDTH, TileId
from tests.support.log_builder import LogBuilder


class PeerLog:
    """A `PublishedLog`; `log` may be exchanged at any time."""

    def __init__(self, log: LogBuilder) -> None:
        self.log = log

    def checkpoint(self) -> bytes:
        return self.log.checkpoint

    def tile(self, tile: TileId) -> bytes | None:
        under, first = TILE_WIDTH**tile.level, tile.index * TILE_WIDTH
        if (first + tile.width) * under > self.log.size:
            return None
        return b"".join(
            self._root(number * under, (number + 1) * under)
            for number in range(first, first + tile.width)
        )

    def bundle(self, index: int, width: int) -> bytes | None:
        return None

    def _root(self, start: int, end: int) -> bytes:
        leaves = [leaf_hash(logged.entry) for logged in self.log.logged[start:end]]
        return CompactRange.empty().extend(leaves).root()


@contextmanager
def serving_peer(log: LogBuilder) -> Iterator[tuple[PeerLog, str]]:
    """The peer, and its URL."""
    peer = PeerLog(log)
    server = LogServer(Endpoint("127.0.0.1", 0), peer, connections=16, per_client=16)
    server.start()
    try:
        yield peer, f"http://{server.endpoint}"
    finally:
        server.close()
