"""Whose turn it is to be asked: which name server stands behind a name, and how often it is asked.

The resolvers ask, not the primary; but what they are asked for they ask of the name servers of its
zone. So turns go by the server that the zone's SOA record names first (MNAME, RFC 1035, 3.3.13): a
provider's zones, however many, have the same. Each resolver's query counts.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from node.resolving import Resolvers
from primary.registering.judging import Subject
from primary.registering.pacing import Pace
from primary.registering.proof_records import pointer_name
from registry.address import Address

# Zones that are remembered at once, and for how long.
MAX_ZONES: Final = 200_000
REMEMBER_SECONDS: Final = 24 * 3600.0
# Labels of one address in a reverse name below what one zone usually holds: a /24, a /64.
_IPV4_LABELS: Final = 1
_IPV6_LABELS: Final = 16


@dataclass(frozen=True, slots=True)
class Lookups:
    """How many names each resolver is asked for: below the reverse zone, and below the domain."""

    reverse: int
    forward: int


@dataclass(slots=True)
class Servers:
    """Gives turns for the names of a mail server. For one event loop's thread."""

    resolvers: Resolvers
    pace: Pace
    _known: OrderedDict[str, tuple[str, float]] = field(default_factory=OrderedDict)

    async def turn(self, subject: Subject, lookups: Lookups) -> bool:
        """Waits for a turn at the servers of both names; False: not now, come again later."""
        servers = await asyncio.gather(*(self._server_of(zone) for zone in _zones(subject)))
        now = asyncio.get_running_loop().time()
        waits = [
            self.pace.turn(server, self.resolvers.count * number, now)
            for server, number in zip(servers, (lookups.reverse, lookups.forward), strict=True)
        ]
        known = [wait for wait in waits if wait is not None]
        if len(known) < len(waits):
            return False
        if wait := max(known):
            await asyncio.sleep(wait)
        return True

    async def charge(self, subject: Subject, queries: int) -> None:
        """Others ask the servers of both names so much: the next turn there is as much later."""
        now = asyncio.get_running_loop().time()
        for zone in _zones(subject):
            self.pace.charge(await self._server_of(zone), queries, now)

    async def _server_of(self, zone: str) -> str:
        """The name server of a zone, or of the one that it is in; its own name if none tells."""
        now = asyncio.get_running_loop().time()
        server, until = self._known.get(zone, ("", 0.0))
        if now < until:
            return server
        server = await self.resolvers.server_of(zone) or zone
        # It was asked that, too; whoever comes next waits.
        self.pace.charge(server, 1, now)
        self._known[zone] = (server, now + REMEMBER_SECONDS)
        self._known.move_to_end(zone)
        if len(self._known) > MAX_ZONES:
            self._known.popitem(last=False)
        return server


def _zones(subject: Subject) -> tuple[str, str]:
    return _reverse_zone(subject.address), subject.domain


def _reverse_zone(address: Address) -> str:
    labels = pointer_name(address).split(".")
    return ".".join(labels[_IPV4_LABELS if address.family == 4 else _IPV6_LABELS :])
