"""The zones of this server: which of them answers for a name (RFC 1034, 4.3.2, step 2)."""

from __future__ import annotations

from collections.abc import Iterable

from dnslib import DNSLabel

from secondary.dns.codes import Rcode, Type
from secondary.dns.fast_path import FastZone
from secondary.dns.records import wire_name
from secondary.dns.reply import Reply
from secondary.dns.table import NameTable
from secondary.dns.zone import Zone


class Zones:
    """Some zones, each with an origin of its own; one may lie within another."""

    def __init__(self, zones: Iterable[Zone]) -> None:
        """ValueError when two have one origin."""
        # The longest origin that matches answers.
        self._zones = sorted(zones, key=lambda zone: len(zone.labels), reverse=True)
        origins = {zone.labels for zone in self._zones}
        if len(origins) != len(self._zones):
            raise ValueError("two zones have one origin")
        # Names between an origin and the zone around it: they exist, for it stands below them.
        self._above = {origin[at:] for origin in origins for at in range(1, len(origin))} - origins

    @property
    def all(self) -> list[Zone]:
        """All of them, the longest origin first."""
        return self._zones

    def fast(self) -> list[FastZone]:
        """All of them, the longest origin first."""
        return [zone.fast() for zone in self._zones]

    def above(self) -> list[bytes]:
        """Names, as in a query, that exist only because an origin stands below them."""
        return [wire_name(labels) for labels in self._above if self.holding(labels)]

    def holding(self, labels: tuple[bytes, ...]) -> Zone | None:
        """The zone that lower-case `labels` are in; None for names that are not ours."""
        for zone in self._zones:
            if zone.holds(labels):
                return zone
        return None

    def find(
        self, zone: Zone, labels: tuple[bytes, ...], owner: DNSLabel, type_: int, table: NameTable
    ) -> Reply:
        """The answer for lower-case `labels` in `zone`, which holds them; see `Zone.find`."""
        if type_ == Type.DS and labels == zone.labels:
            # RFC 4035, 3.1.4.1: whether a zone is signed is known above it.
            parent = self.holding(labels[1:])
            return (parent or zone).absent(Rcode.NOERROR, owner, table)
        reply = zone.find(labels, owner, type_, table)
        if reply.rcode is Rcode.NXDOMAIN and labels in self._above:
            # RFC 8020, 2.
            return zone.absent(Rcode.NOERROR, owner, table)
        return reply
