"""What a mirror makes of what its peers publish: forks are proved, lags measured, lies ignored."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event, Thread

import pytest

from node.endpoint import Endpoint
from node.log_http import LogServer
from registry.checkpoint import open_checkpoint
from registry.errors import ForkError
from registry.fork import ForkEvidence
from registry.merkle import CompactRange
from registry.tiles import TILE_WIDTH, TileId, TileReader, compact_range
from secondary import http_fetch
from secondary.http_fetch import Deadline, FetchError, fetch
from secondary.peers import Peers
from tests.support.logs import NumberedLog

ORIGIN = "registry.example"
LOG = NumberedLog(ORIGIN)
VERIFIER = LOG.signer.verifier()
NOW_S = 1_700_000_000.0


class Held:
    """A mirror that holds so much of a log."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.has_tiles = True

    def checkpoint(self) -> bytes:
        return LOG.note(self.size) if self.size else b""

    def tiles(self) -> TileReader | None:
        return LOG if self.has_tiles else None

    def position(self, size: int) -> CompactRange | None:
        return compact_range(size, LOG)


class Published:
    """A peer that shows so much of a log, with the tiles of that log or of another."""

    def __init__(self, log: NumberedLog, size: int) -> None:
        self.log, self.size = log, size
        self.tiles: NumberedLog | None = log
        self.note = b""
        self.keeps_partial = True

    def checkpoint(self) -> bytes:
        return self.note or self.log.note(self.size)

    def tile(self, tile: TileId) -> bytes | None:
        is_there = self.tiles is not None and (tile.full or self.keeps_partial)
        return self.tiles.read(tile) if self.tiles is not None and is_there else None

    def bundle(self, index: int, width: int) -> bytes | None:
        return None


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """Peers over real HTTP."""

    def __init__(self, held: Held, stack: ExitStack) -> None:
        self.held, self._stack = held, stack
        self.clock, self.urls = Clock(), list[str]()
        self.peers = Peers(lambda: self.urls, held, VERIFIER, lambda: NOW_S, self.clock)

    def add(self, published: Published) -> str:
        server = LogServer(Endpoint("127.0.0.1", 0), published, connections=8, per_client=8)
        server.start()
        self._stack.callback(server.close)
        self.urls.append(f"http://{server.endpoint}")
        return self.urls[-1]

    def look_twice(self) -> None:
        self.peers.look()
        self.peers.look()


@pytest.fixture
def held() -> Held:
    return Held(300)


@pytest.fixture
def watched(held: Held) -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(held, stack)


@pytest.mark.parametrize("size", [1, 256, 299, 300])
def test_peers_of_the_same_log(watched: Watched, size: int) -> None:
    """As far or behind: nothing is wrong, and what was seen is shown."""
    url = watched.add(Published(LOG, size))
    watched.look_twice()
    (peer,) = watched.peers.seen
    assert (url, size, NOW_S, "") == (peer.url, peer.size, peer.seen_s, peer.problem)
    assert 0.0 == watched.peers.behind_seconds


@pytest.mark.parametrize("size", [200, 256, 300, 301, 700])
def test_a_fork_is_proved(watched: Watched, size: int) -> None:
    """A smaller, an equal and a larger log of the same key that is another log."""
    published = Published(NumberedLog(ORIGIN, forked=100), size)
    published.keeps_partial = False
    watched.add(published)
    with pytest.raises(ForkError) as caught:
        watched.look_twice()
    fork = ForkEvidence.of(caught.value).verify(VERIFIER)
    assert {300, size} == {fork.smaller.size, fork.larger.size}


def test_how_long_it_is_behind(watched: Watched, held: Held) -> None:
    """From when a peer proved that it holds more, until this mirror holds that."""
    published = Published(LOG, 500)
    url = watched.add(published)
    watched.look_twice()
    watched.clock.now = 100.0
    published.size = 600
    watched.peers.look()
    ahead = watched.peers.ahead
    assert ahead is not None
    assert (500, url, 100.0) == (ahead.size, ahead.url, watched.peers.behind_seconds)
    assert 500 == open_checkpoint(ahead.note, VERIFIER).size
    held.size = 550
    watched.peers.look()
    # The peer has more by now, since this look.
    assert 0.0 == watched.peers.behind_seconds


def test_a_checkpoint_that_goes_by_is_no_lag(watched: Watched, held: Held) -> None:
    """A mirror that keeps up is never behind for long, however fast the log grows."""
    published = Published(LOG, 310)
    watched.add(published)
    for step in range(10):
        held.size, published.size = 300 + 10 * step, 310 + 10 * step
        watched.clock.now = 10.0 * step
        watched.peers.look()
        assert watched.peers.behind_seconds <= 10.0


def test_a_peer_that_proves_nothing_does_not_count(watched: Watched) -> None:
    """A longer log without tiles that lead there may be a thief's: it silences nobody."""
    without, other = Published(LOG, 500), Published(NumberedLog(ORIGIN, forked=100), 500)
    without.tiles, other.tiles = None, LOG
    watched.add(without)
    watched.add(other)
    watched.look_twice()
    assert 0.0 == watched.peers.behind_seconds
    assert all(peer.problem and peer.seen_s == NOW_S for peer in watched.peers.seen)


@pytest.mark.parametrize(
    "note",
    [b"nonsense", NumberedLog("other.example").note(9), b"x" * 70_000],
    ids=["no note", "another log's", "too long"],
)
def test_what_is_no_checkpoint_of_this_log(watched: Watched, note: bytes) -> None:
    """It is a problem of that peer, and of nobody else."""
    bad = Published(LOG, 9)
    bad.note = note
    watched.add(bad)
    watched.add(Published(LOG, 300))
    watched.look_twice()
    assert [True, False] == [bool(peer.problem) for peer in watched.peers.seen]


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-nothing of the kind\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
    ids=["no HTTP", "cut off", "no chunk", "many headers"],
)
def test_a_peer_that_breaks_http(watched: Watched, reply: bytes) -> None:
    """Those behind it in the list are looked at all the same."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        watched.urls.append(f"http://127.0.0.1:{listening.getsockname()[1]}")
        watched.add(Published(LOG, 300))
        answering = Thread(target=_answer_once, args=(listening, reply))
        answering.start()
        watched.peers.look()
        answering.join()
    assert [True, False] == [bool(peer.problem) for peer in watched.peers.seen]
    assert [0, 300] == [peer.size for peer in watched.peers.seen]


def _answer_once(listening: socket.socket, reply: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(reply)


def test_a_peer_that_is_away(watched: Watched) -> None:
    """It proves nothing; what it showed before is remembered."""
    url = watched.add(Published(LOG, 300))
    watched.urls.append("http://127.0.0.1:1")
    watched.look_twice()
    assert [(url, 300, False), ("http://127.0.0.1:1", 0, True)] == [
        (peer.url, peer.size, bool(peer.problem)) for peer in watched.peers.seen
    ]
    watched.urls.clear()
    watched.peers.look()
    assert [] == watched.peers.seen


def test_a_mirror_that_holds_nothing_judges_nothing(watched: Watched, held: Held) -> None:
    """Before the first checkpoint there is nothing to compare."""
    held.size = 0
    watched.add(Published(LOG, TILE_WIDTH))
    watched.look_twice()
    assert 0.0 == watched.peers.behind_seconds


@pytest.mark.parametrize(
    ("scheme", "head"),
    [
        ("http", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("http", b"HTTP/1.1 200 OK\r\nX: "),
        # A handshake record (RFC 8446, 5.1) of the largest size, which never becomes whole.
        ("https", bytes((22, 3, 3, 0x40, 0x00))),
    ],
    ids=["body", "headers", "handshake"],
)
def test_a_peer_that_drips(scheme: str, head: bytes) -> None:
    """Byte by byte, handshake, headers or body: all has one deadline, and it is kept."""
    ended = Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        dripping = Thread(target=_drip, args=(listening, head, ended))
        dripping.start()
        url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/checkpoint"
        with pytest.raises(FetchError, match=r"within 0\.3 s"):
            fetch(url, 1000, Deadline(0.3))
        # The connection was closed under the one who drips.
        assert ended.wait(20)
        dripping.join()


def _drip(listening: socket.socket, head: bytes, ended: Event) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(head)
        while not ended.wait(0.02):
            try:
                connection.sendall(b"x")
            except OSError:
                ended.set()


def test_a_name_that_is_never_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver may hang: it is not waited for beyond the deadline, and threads that
    hang are few."""
    released = Event()

    def hang(*_: object, **__: object) -> list[object]:
        released.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        for _ in range(http_fetch.MAX_RESOLVING):
            with pytest.raises(FetchError, match="within"):
                fetch("http://mirror.example:7445/checkpoint", 1000, Deadline(0.01))
        with pytest.raises(FetchError, match="too many names"):
            fetch("http://mirror.example:7445/checkpoint", 1000, Deadline(5))
    finally:
        released.set()


def test_all_that_a_peer_is_asked_in_a_look_has_one_deadline(held: Held) -> None:
    """However many tiles it takes: those behind it in the list are looked at all the same."""
    with ExitStack() as stack:
        watched = Watched(held, stack)
        watched.peers = Peers(
            lambda: watched.urls, held, VERIFIER, lambda: NOW_S, watched.clock, seconds=0.0
        )
        watched.add(Published(LOG, 300))
        watched.look_twice()
    (peer,) = watched.peers.seen
    assert (0, True) == (peer.size, "not asked" in peer.problem)
