"""Compares what this mirror holds with what other mirrors publish: forks, and a stream withheld.

Peers are asked over HTTP (C2SP tlog-tiles): what they say counts only as far as the registry signed
it, so they need not be trusted, and nobody has to let anyone in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from node.errors import StorageError
from node.logging import get_logger
from registry.checkpoint import Checkpoint, CheckpointKeys, open_checkpoint
from registry.errors import ForkError, MalformedError, VerificationError
from registry.fork import check_begins
from registry.limits import HASH_BYTES, MAX_NOTE_BYTES
from registry.merkle import CompactRange
from registry.tiles import TILE_WIDTH, TileId, TileReader
from secondary.fork import check_extends
from secondary.http_fetch import FETCH_SECONDS, Deadline, FetchError, fetch

# For all that one peer is asked in a look: some tiles, one after another, and a checkpoint.
LOOK_SECONDS: Final = 15.0

# The mirrors to compare with: base URLs of their logs over HTTP.
PeerSource = Callable[[], Sequence[str]]

_log = get_logger("peers")


class Held(Protocol):
    """What this mirror holds; any thread may ask."""

    def checkpoint(self) -> bytes:
        """The signed checkpoint of all that is stored; empty while there is none."""

    def tiles(self) -> TileReader | None:
        """The log's tiles; None while some are missing."""

    def position(self, size: int) -> CompactRange | None:
        """The compact range of the log at a size that was held; None if it cannot be told."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What was last seen of a peer; `seen_s` in seconds since 1970, 0 before the first time."""

    url: str
    size: int = 0
    seen_s: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Ahead:
    """A signed checkpoint that a peer has and this mirror lacks, since a monotonic time."""

    note: bytes
    size: int
    url: str
    since: float


class PeerTiles:
    """A peer's tiles, as it gives them; a `TileReader`."""

    def __init__(self, url: str, deadline: Deadline) -> None:
        self._url = url
        self._deadline = deadline

    def read(self, tile: TileId) -> bytes:
        """The tile's hashes; a full tile's beginning where the partial one is gone. FetchError."""
        try:
            return self._get(tile)
        except FetchError:
            if tile.full:
                raise
            return self._get(replace(tile, width=TILE_WIDTH))[: tile.width * HASH_BYTES]

    def _get(self, tile: TileId) -> bytes:
        data = _fetch(f"{self._url}/{tile.path()}", tile.width * HASH_BYTES, self._deadline)
        if len(data) != tile.width * HASH_BYTES:
            raise MalformedError(f"{len(data)} bytes instead of {tile.path()}")
        return data


class Peers:
    """Looks at the peers when told to; for one thread, but for `seen` and `behind_seconds`."""

    def __init__(
        self,
        source: PeerSource,
        held: Held,
        keys: CheckpointKeys,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        seconds: float = LOOK_SECONDS,
    ) -> None:
        """`seconds` is how long a peer may take for all that it is asked in a look."""
        self._source = source
        self._held = held
        self._keys = keys
        self._wall = wall
        self._monotonic = monotonic
        self._seconds = seconds
        self._seen: dict[str, Peer] = {}
        # What each peer showed last, to be compared once this mirror is as far.
        self._shown: dict[str, bytes] = {}
        self._ahead: Ahead | None = None

    @property
    def seen(self) -> list[Peer]:
        """What was last seen of each."""
        return list(self._seen.values())

    @property
    def ahead(self) -> Ahead | None:
        """The first checkpoint that this mirror still lacks, of those that it was shown."""
        return self._ahead

    @property
    def behind_seconds(self) -> float:
        """How long this mirror has lacked something that a peer has; 0 if it lacks nothing."""
        ahead = self._ahead
        return 0.0 if ahead is None else self._monotonic() - ahead.since

    def look(self) -> None:
        """Ask each peer once. ForkError: one holds another log, and both are signed."""
        urls = list(self._source())
        self._seen = {url: self._seen.get(url, Peer(url)) for url in urls}
        self._shown = {url: note for url, note in self._shown.items() if url in self._seen}
        for url in urls:
            self._look_at(url)

    def _look_at(self, url: str) -> None:
        known, deadline = self._seen[url], Deadline(self._seconds)
        try:
            if url in self._shown:
                self._compare(url, self._shown.pop(url), deadline, is_second=True)
            note = _fetch(f"{url}/checkpoint", MAX_NOTE_BYTES, deadline)
            checkpoint = open_checkpoint(note, self._keys)
            self._seen[url] = Peer(url, max(known.size, checkpoint.size), self._wall())
            self._compare(url, note, deadline, is_second=False)
        except ForkError:
            raise
        except (FetchError, VerificationError, StorageError) as error:
            self._seen[url] = replace(self._seen[url], problem=str(error))
            if str(error) != known.problem:
                _log.warning("peer.problem", url=url, reason=str(error))

    def _compare(self, url: str, note: bytes, deadline: Deadline, *, is_second: bool) -> None:
        """Compare a checkpoint with what is held; for the second time if it was ahead before."""
        theirs, ours_note = open_checkpoint(note, self._keys), self._held.checkpoint()
        if not ours_note:
            return
        ours, tiles = open_checkpoint(ours_note, self._keys), self._held.tiles()
        self._settle(ours)
        if theirs.size > ours.size:
            self._shown[url] = note
            # The first time it may just be on its way here.
            if is_second:
                self._check_ahead(url, note, theirs, ours_note, deadline)
        elif theirs.size == ours.size:
            if theirs.root != ours.root:
                raise ForkError(ours_note, note)
        elif tiles is not None:
            check_begins(theirs, note, ours_note, ours.size, tiles)

    def _settle(self, ours: Checkpoint) -> None:
        if self._ahead is not None and ours.size >= self._ahead.size:
            self._ahead = None

    def _check_ahead(
        self, url: str, note: bytes, theirs: Checkpoint, ours: bytes, deadline: Deadline
    ) -> None:
        """It counts once the peer has proved that its log goes on from what is held.

        Somebody with a stolen key could silence every mirror otherwise. ForkError, ProofError.
        """
        position = self._held.position(open_checkpoint(ours, self._keys).size)
        if position is None:
            return
        check_extends(ours, position, note, PeerTiles(url, deadline), self._keys)
        if self._ahead is None:
            self._ahead = Ahead(note, theirs.size, url, self._monotonic())
            _log.warning("peer.ahead", url=url, size=theirs.size, held=position.size)


def _fetch(url: str, most: int, deadline: Deadline) -> bytes:
    """As of `fetch`, within a single answer's time too."""
    if not deadline.left:
        raise FetchError(f"{url}: not asked, for {deadline.seconds:g} s are over")
    return fetch(url, most, Deadline(min(FETCH_SECONDS, deadline.left)))
