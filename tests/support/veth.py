"""Two network namespaces on a pair of virtual Ethernet devices; needs root and iproute2."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

CLIENT_V4, SERVER_V4 = "192.0.2.1", "192.0.2.2"
CLIENT_V6, SERVER_V6 = "2001:db8::1", "2001:db8::2"
CLIENT_DEVICE, SERVER_DEVICE = "near", "far"
_CLONE_NEWNET: Final = 0x40000000
_NAMESPACES: Final = Path("/run/netns")
_numbers = count()


@dataclass(frozen=True, slots=True)
class Veth:
    """The names of the two namespaces."""

    client: str
    server: str

    def at_server(self, *command: str) -> list[str]:
        """The command, to be run where the server is."""
        return ["ip", "netns", "exec", self.server, *command]

    def client_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket where the client is."""
        with ThreadPoolExecutor(1) as other_thread:
            return other_thread.submit(self._socket, family, kind, protocol).result()

    def _socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        # A namespace is a thread's; what is opened in it stays there.
        libc = ctypes.CDLL(None, use_errno=True)
        with (_NAMESPACES / self.client).open("rb") as namespace:
            if libc.setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        return socket.socket(family, kind, protocol)


@contextmanager
def veth() -> Iterator[Veth]:
    """The pair with its addresses, gone afterwards."""
    number = f"{os.getpid()}-{next(_numbers)}"
    pair = Veth(f"client-{number}", f"server-{number}")
    ends = (
        (pair.client, CLIENT_DEVICE, CLIENT_V4, CLIENT_V6),
        (pair.server, SERVER_DEVICE, SERVER_V4, SERVER_V6),
    )
    try:
        for name in (pair.client, pair.server):
            _ip("netns", "add", name)
        _ip(
            *("link", "add", CLIENT_DEVICE, "netns", pair.client, "type", "veth"),
            *("peer", "name", SERVER_DEVICE, "netns", pair.server),
        )
        for name, device, ipv4, ipv6 in ends:
            _ip("-n", name, "address", "add", f"{ipv4}/24", "dev", device)
            _ip("-n", name, "address", "add", f"{ipv6}/64", "dev", device, "nodad")
            _ip("-n", name, "link", "set", device, "up")
        yield pair
    finally:
        for name in (pair.client, pair.server):
            subprocess.run(["ip", "netns", "delete", name], check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
