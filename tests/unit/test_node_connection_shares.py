"""One client's share of a gRPC server's connections, over real sockets."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from node.connection_shares import ConnectionShares

SHARE = 3


class Server:
    """Takes connections and says nothing, as a listener does before the first call."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port: int = self._listening.getsockname()[1]

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """Somebody's connection."""
        address = ("127.0.0.1", self.port)
        client = self._stack.enter_context(
            socket.create_connection(address, timeout=10, source_address=(source, 0))
        )
        self.taken = self._stack.enter_context(self._listening.accept()[0])
        return client


@pytest.fixture
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        yield Server(stack)


def is_open(client: socket.socket) -> bool:
    """Whether the other side has not ended it."""
    client.setblocking(False)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True


def test_the_newest_beyond_a_share_are_cut(server: Server) -> None:
    """Of the client that has too many; another's, and other ports', are left alone."""
    shares = ConnectionShares(server.port, SHARE)
    first = [server.connect() for _ in range(SHARE)]
    other = server.connect("127.0.0.2")
    assert 0 == shares.look()
    late = [server.connect() for _ in range(2)]
    assert 2 == shares.look()
    assert [True] * (SHARE + 1) == [is_open(each) for each in [*first, other]]
    assert [False, False] == [is_open(each) for each in late]


def test_a_place_is_free_again(server: Server) -> None:
    """Once a connection is gone another may take its place."""
    shares = ConnectionShares(server.port, 1)
    server.connect()
    assert 0 == shares.look()
    server.taken.close()
    later = server.connect()
    assert 0 == shares.look()
    assert is_open(later)


def test_it_leaves_no_descriptor_open(server: Server) -> None:
    """However often it looks."""
    shares = ConnectionShares(server.port, SHARE)
    server.connect()

    def descriptors() -> int:
        with socket.socket() as sock:
            return sock.fileno()

    before = descriptors()
    for _ in range(50):
        shares.look()
    assert before == descriptors()


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process may open so many more."""
    with socket.socket() as sock:
        first = sock.fileno()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_it_looks_where_descriptors_are_scarce(server: Server) -> None:
    """One is enough, however many connections there are: too many of those is what it is for."""
    shares = ConnectionShares(server.port, SHARE)
    clients = [server.connect() for _ in range(SHARE + 2)]
    with descriptors_left(1):
        assert 2 == shares.look()
    assert SHARE == sum(is_open(each) for each in clients)


def test_it_goes_on_after_a_look_that_failed(server: Server) -> None:
    """With no descriptor left nothing is seen; once there are some it cuts again."""

    async def run() -> None:
        client = server.connect("127.0.0.3")
        with descriptors_left(0):
            task = asyncio.create_task(ConnectionShares(server.port, 0).run())
            await asyncio.sleep(0)
            assert is_open(client)
        client.settimeout(10)
        try:
            assert b"" == await asyncio.to_thread(client.recv, 1)
            assert not task.done()
        finally:
            task.cancel()

    asyncio.run(run())


def test_it_looks_until_it_is_ended(server: Server) -> None:
    """As a task beside the server."""

    async def run() -> None:
        client = server.connect("127.0.0.3")
        task = asyncio.create_task(ConnectionShares(server.port, 0).run())
        try:
            await asyncio.wait_for(asyncio.to_thread(client.recv, 1), 10)
        finally:
            task.cancel()

    asyncio.run(run())
