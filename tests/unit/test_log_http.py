"""The log over HTTP: paths, types and caching as C2SP tlog-tiles has them, and bounds."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

import node.log_http
from node.endpoint import Endpoint
from node.errors import StorageError
from node.log_http import LogServer
from registry.tiles import TILE_WIDTH, TileId
from tests.support.logs import NumberedLog
from tests.support.wait import wait_until

SIZE, PER_CLIENT = 70_000, 4
LOG = NumberedLog("registry.example")


class Published:
    """A log of SIZE leaves, whose entries are there from a bundle on."""

    def __init__(self) -> None:
        self.is_away = False

    def checkpoint(self) -> bytes:
        return LOG.note(9)

    def tile(self, tile: TileId) -> bytes | None:
        if self.is_away:
            raise StorageError("away")
        is_there = tile.index * TILE_WIDTH + tile.width <= SIZE >> (8 * tile.level)
        return b"%d %d %d" % (tile.level, tile.index, tile.width) if is_there else None

    def bundle(self, index: int, width: int) -> bytes | None:
        return b"bundle %d %d" % (index, width) if index >= 2 else None


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
def server(published: Published, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setattr(node.log_http, "CONNECTION_SECONDS", 4.0)
    server = LogServer(Endpoint("127.0.0.1", 0), published, connections=8, per_client=PER_CLIENT)
    server.start()
    yield server.endpoint
    server.close()


def get(endpoint: Endpoint, path: str) -> tuple[int, bytes, str | None, str | None]:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=10)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return (
            reply.status,
            reply.read(),
            reply.getheader("Content-Type"),
            reply.getheader("Cache-Control"),
        )
    finally:
        connection.close()


def test_the_checkpoint(server: Endpoint) -> None:
    """Text, and never from a cache."""
    assert (200, LOG.note(9), "text/plain; charset=utf-8", "no-store") == get(server, "/checkpoint")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tile/0/000", b"0 0 256"),
        ("/tile/0/272", b"0 272 256"),
        ("/tile/0/273.p/112", b"0 273 112"),
        ("/tile/1/000.p/256", None),
        ("/tile/1/001.p/17", b"1 1 17"),
        ("/tile/2/000.p/1", b"2 0 1"),
        ("/tile/entries/x001/234.p/5", b"bundle 1234 5"),
        ("/tile/entries/002", b"bundle 2 256"),
    ],
)
def test_tiles_and_bundles(server: Endpoint, path: str, body: bytes | None) -> None:
    """Octets that never change; only the canonical path of a tile is one."""
    if body is None:
        assert 404 == get(server, path)[0]
    else:
        caching = "public, max-age=31536000, immutable"
        assert (200, body, "application/octet-stream", caching) == get(server, path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/tile/0/273",
        "/tile/0/0",
        "/tile/00/000",
        "/tile/0/000.p/0",
        "/tile/0/000/../001",
        "/tile/0/%30%30%30",
        "/tile/0/x000/001",
        "/tile/entries/001",
        "/tile/99/000",
        "/checkpoint/",
    ],
)
def test_what_is_not_there(server: Endpoint, path: str) -> None:
    """404, and no cache keeps that."""
    status, _, _, caching = get(server, path)
    assert (404, "no-store") == (status, caching)


def test_what_cannot_be_read_now(server: Endpoint, published: Published) -> None:
    """503: it may be there later."""
    published.is_away = True
    assert 503 == get(server, "/tile/0/000")[0]


def test_a_connection_takes_more_than_one_request(server: Endpoint) -> None:
    """HTTP/1.1 keeps it open, until it is half as old as it may get."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("GET", "/checkpoint")
        assert LOG.note(9) == connection.getresponse().read()
        assert first is connection.sock

    def is_closing() -> bool:
        connection.request("GET", "/checkpoint")
        reply = connection.getresponse()
        reply.read()
        return reply.getheader("Connection") == "close"

    wait_until(is_closing, seconds=10, what="the connection's end")
    connection.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_no_request(server: Endpoint, chunked: bool) -> None:
    """What comes behind a request as its body is not answered: a cache would mix replies up."""
    body = b"GET /tile/0/000 HTTP/1.1\r\nHost: x\r\n\r\n"
    header = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(b"GET /checkpoint HTTP/1.1\r\n" + header + b"\r\n\r\n" + body)
        received = b""
        with suppress(ConnectionResetError):
            while data := connection.recv(65536):
                received += data
    assert 1 == received.count(b"HTTP/1.1 ")


def test_nobody_takes_every_place(server: Endpoint) -> None:
    """One address has so many connections, and silent ones are cut."""
    with ExitStack() as stack:
        for _ in range(PER_CLIENT):
            stack.enter_context(socket.create_connection((server.host, server.port)))

        def is_refused() -> bool:
            try:
                get(server, "/checkpoint")
            except OSError:
                return True
            return False

        wait_until(is_refused, seconds=10, what="no more room for this address")
        wait_until(lambda: not is_refused(), seconds=10, what="room again")
