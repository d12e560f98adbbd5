"""How many connections a server of the public holds open, in all and for one client."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

# The least a network is given (RFC 6177): an IPv6 client can have every address of a /64.
_IPV6_CLIENT_BYTES: Final = 8
# It is asked several times of every connection.
CLIENTS_KEPT: Final = 1024


@dataclass(slots=True)
class ConnectionLimits:
    """Counts open connections; for use by one thread (an event loop).

    Addresses that are `shared` stand for many clients, as those of proxies do.
    """

    in_all: int
    a_client: int
    shared: frozenset[str] = frozenset()
    _open: Counter[bytes] = field(default_factory=Counter)

    def admit(self, host: str) -> bool:
        """Whether one more from the address `host` may stay; if so, `release` it at its end."""
        if self.open >= self.in_all or self.has_its_share(host):
            return False
        self._open[client_of(host)] += 1
        return True

    def has_its_share(self, host: str) -> bool:
        """Whether the client at `host` has as many as a client may."""
        return host not in self.shared and self._open[client_of(host)] >= self.a_client

    def is_one_client(self, host: str, other: str) -> bool:
        """Whether these are addresses of one client."""
        return client_of(host) == client_of(other)

    def release(self, host: str) -> None:
        """An admitted connection from `host` has ended."""
        client = client_of(host)
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]

    @property
    def open(self) -> int:
        """Connections open now."""
        return self._open.total()


@lru_cache(CLIENTS_KEPT)
def client_of(host: str) -> bytes:
    """What stands for the client at an address: an IPv4 address, or the network of an IPv6 one."""
    packed = ipaddress.ip_address(host.partition("%")[0]).packed
    return packed if len(packed) == ipaddress.IPV4LENGTH // 8 else packed[:_IPV6_CLIENT_BYTES]
