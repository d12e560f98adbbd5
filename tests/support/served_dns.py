"""Our DNS server in this process, by either implementation, over a table that can be replaced."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from node.endpoint import Endpoint
from secondary.dns.batched_udp import FastAnswers, batched_listeners
from secondary.dns.compiled.table import CompiledTable
from secondary.dns.cookies import ServerCookies
from secondary.dns.identity import Identity
from secondary.dns.implementation import Implementation
from secondary.dns.pure.answering import FastPath
from secondary.dns.pure.udp import pure_listeners
from secondary.dns.rate_limit import RateLimiter, RateLimits
from secondary.dns.responder import Responder
from secondary.dns.server import DnsServer, LimitedAnswers
from secondary.dns.table import DictTable
from secondary.notice import Condition
from tests.support.fast_path import LIMITER_KEY, LISTED_ADDRESSES, UNLIMITED
from tests.support.responding import COOKIES, three_zones
from tests.support.views import put_registration, registration, standing

Table = CompiledTable | DictTable

SECONDS: Final = 20
THREADS: Final = 2


class Served:
    """A server over a table that can be replaced, and be worth more or less."""

    def __init__(
        self,
        implementation: Implementation,
        limits: RateLimits = UNLIMITED,
        *,
        cookies: ServerCookies = COOKIES,
        identity: Identity | None = None,
    ) -> None:
        self.implementation = implementation
        self.table: Table | None = loaded(implementation, *LISTED_ADDRESSES)
        self.condition = Condition.GOOD
        responder = Responder(
            three_zones(),
            lambda: self.table,
            cookies=cookies,
            identity=identity or Identity(),
            condition=lambda _: self.condition,
        )
        self.answers = LimitedAnswers(responder, RateLimiter(limits, LIMITER_KEY))

    def given(self) -> Any:
        """The table that the fast paths answer from now, as the role's reader gives it to them."""
        return self.table if self.condition is Condition.GOOD else None

    def server(self, endpoint: Endpoint) -> DnsServer:
        """Listens, and is not started."""
        if self.implementation is Implementation.PURE:
            path = FastPath(self.answers.responder, self.answers.limiter)
            return DnsServer([endpoint], self.answers, pure_listeners(path, self.given))
        fast = FastAnswers.before(self.answers, self.given, THREADS)
        return DnsServer([endpoint], self.answers, batched_listeners(fast))


def loaded(implementation: Implementation, *addresses: str) -> Table:
    """A table of these registrations."""
    table: Table = DictTable() if implementation is Implementation.PURE else CompiledTable()
    for address in addresses:
        put_registration(table, address, registration())
    table.advance(standing())
    return table


@contextmanager
def running(server: DnsServer) -> Iterator[None]:
    """Its event loop in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(SECONDS)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def client_of(endpoint: Endpoint, source: str = "") -> socket.socket:
    """A socket that talks to the server alone, from an address of its own if one is given."""
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.settimeout(SECONDS)
    client.bind((source, 0))
    client.connect((endpoint.host, endpoint.port))
    return client
