"""One table served twice: `python -m tests.support.framed_server INTERFACE ADDRESS`.

At FRAMED_PORT, which takes what comes in at the interface by AF_XDP, and at SOCKET_PORT without.
Each line on standard input is answered by what was sent so far, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Final

from node.capabilities import Capability, give_up
from node.endpoint import Endpoint
from node.logging import configure
from secondary.dns.batched_udp import FastAnswers, FramedUdpListener, batched_listeners
from secondary.dns.compiled.table import CompiledTable
from secondary.dns.cookies import ServerCookies
from secondary.dns.rate_limit import RateLimiter
from secondary.dns.server import DnsServer, LimitedAnswers
from secondary.dns.xdp import XdpFront
from tests.support.fast_path import LIMITER_KEY, LISTED_ADDRESSES, MEMBERS, SECRETS, UNLIMITED
from tests.support.responding import four_zones, make_responder
from tests.support.views import put_member, put_registration, registration, standing

FRAMED_PORT: Final = 53
SOCKET_PORT: Final = 5301


def _servers(interface: str, host: str) -> list[DnsServer]:
    table = CompiledTable()
    for number, address in enumerate(LISTED_ADDRESSES):
        put_registration(table, address, registration(host=f"mail{number}.example.org"))
    for name, member in MEMBERS.items():
        put_member(table, name, member)
    table.advance(standing())
    responder = make_responder(table, zones=four_zones(), cookies=ServerCookies(SECRETS))
    answers = LimitedAnswers(responder, RateLimiter(UNLIMITED, LIMITER_KEY))
    fast = FastAnswers.before(answers, lambda: table, threads=1)
    endpoint, other = Endpoint(host, FRAMED_PORT), Endpoint(host, SOCKET_PORT)
    front = XdpFront.open(interface, endpoint)
    return [
        DnsServer([endpoint], answers, batched_listeners(fast, front)),
        DnsServer([other], answers, batched_listeners(fast)),
    ]


def _sent(servers: list[DnsServer]) -> dict[str, int]:
    """Answers by way: frames, sockets at the same port, sockets at the other."""
    found = {"framed": 0, "beside": 0, "sockets": 0}
    for server, other in zip(servers, ("beside", "sockets"), strict=True):
        for udp in server.udp:
            way = "framed" if isinstance(udp, FramedUdpListener) else other
            found[way] += sum(udp.counter.answers)
    return found


async def _serve(servers: list[DnsServer]) -> None:
    for server in servers:
        await server.start()
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(_sent(servers)), flush=True)
    for server in servers:
        await server.stop()


def main() -> None:
    configure()
    servers = _servers(*sys.argv[1:])
    give_up(Capability)
    asyncio.run(_serve(servers))


if __name__ == "__main__":
    main()
