"""How many connections one client may hold open at a gRPC server, which itself counts all alike.

gRPC for Python tells of no connection before it has a call, so that one client could take every
place by connecting alone. The process looks at its own sockets instead (Linux: /proc/self/fd), and
shuts down what is beyond a client's share; gRPC then sees that the client has gone.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from node.connections import client_of
from node.logging import get_logger

# In between a client may hold more, as long as the listener takes any.
LOOK_SECONDS: Final = 1.0
# After a client had too many: it connects anew at once, and holds what others need until then.
AGAIN_SECONDS: Final = 0.2
_DESCRIPTORS: Final = "/proc/self/fd"
_SOCKET: Final = "socket:"

_log = get_logger("connections")


class ConnectionShares:
    """Keeps each client of the listener at a port to its share; for one event loop's thread."""

    def __init__(self, port: int, a_client: int) -> None:
        """`a_client` connections of one address, or of one IPv6 network of 64 bits."""
        self._port = port
        self._most = a_client
        # Each socket that is open by its name in /proc, and whose connection it is, or nobody's.
        # The oldest first: whoever is here already stays.
        self._known: dict[str, str] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            seconds = LOOK_SECONDS
            try:
                if self.look():
                    seconds = AGAIN_SECONDS
            except OSError as error:
                # No descriptor was left, for one: a moment later there may be.
                _log.warning("connections.unread", port=self._port, reason=str(error))
            await asyncio.sleep(seconds)

    def look(self) -> int:
        """Shuts down what is too much now; how many that were. OSError: it could not be seen."""
        found = _sockets()
        self._known = {name: client for name, client in self._known.items() if name in found}
        for name, number in found.items():
            if name not in self._known:
                # It may be closed by now: then it is gone at the next look.
                with suppress(OSError), _handle(number) as handle:
                    self._known[name] = _client_at(handle, self._port)
        cut = self._beyond()
        for name in cut:
            with suppress(OSError), _handle(found[name]) as handle:
                _shut(handle, name)
        for client in sorted({self._known[name] for name in cut}):
            _log.warning("connections.cut", client=client, port=self._port, most=self._most)
        return len(cut)

    def _beyond(self) -> list[str]:
        clients: defaultdict[bytes, list[str]] = defaultdict(list)
        for name, client in self._known.items():
            if client:
                clients[client_of(client)].append(name)
        return [name for names in clients.values() for name in names[self._most :]]


def _sockets() -> dict[str, int]:
    """The sockets of this process by their names, which no other has while they are open."""
    found = {}
    # Each second, of a thousand descriptors: a `Path` for each costs nearly twice as much.
    for number in os.listdir(_DESCRIPTORS):  # noqa: PTH208
        # It may be closed meanwhile.
        with suppress(OSError):
            name = os.readlink(f"{_DESCRIPTORS}/{number}")  # noqa: PTH115
            if name.startswith(_SOCKET):
                found[name] = int(number)
    return found


@contextmanager
def _handle(number: int) -> Iterator[int]:
    """Another handle of a descriptor, which nobody else closes; OSError."""
    handle = os.dup(number)
    try:
        yield handle
    finally:
        os.close(handle)


def _shut(handle: int, name: str) -> None:
    """Ends a connection, unless the descriptor is of another by now; OSError."""
    if name != f"{_SOCKET}[{os.fstat(handle).st_ino}]":
        return
    sock = socket.socket(fileno=handle)
    try:
        sock.shutdown(socket.SHUT_RDWR)
    finally:
        sock.detach()


def _client_at(handle: int, port: int) -> str:
    """Whose connection to the port it is, an address; empty: nobody's, or to another port."""
    # `detach` leaves the handle open.
    sock = socket.socket(fileno=handle)
    try:
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
            return ""
        if sock.getsockname()[1] != port:
            return ""
        host = str(sock.getpeername()[0])
    except OSError:
        return ""
    finally:
        sock.detach()
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
