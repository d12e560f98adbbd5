"""The small zone outside: where the name servers of the other zones are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dnslib import AAAA, RR, A, DNSLabel

from registry.address import Address
from secondary.dns.codes import Type
from secondary.dns.fast_path import ZoneKind
from secondary.dns.records import record
from secondary.dns.table import NameTable

_TYPES: Final[Mapping[int, tuple[Type, type[A] | type[AAAA]]]] = {
    4: (Type.A, A),
    6: (Type.AAAA, AAAA),
}

Labels = tuple[bytes, ...]


class ServerNames:
    """The names of the A record set, with the addresses of the mirrors that the log puts there.

    A name that nobody stands under has the addresses of the stable servers: whatever becomes of
    the set, resolvers find somebody (P3).
    """

    purpose: Final = "name servers of the register"
    kind: Final = ZoneKind.SERVERS
    fixed_text: Final = ""

    def __init__(
        self,
        origin: str,
        places: tuple[str, ...],
        stable: Mapping[str, tuple[Address, ...]],
        ttl: int,
    ) -> None:
        """`places` are the name servers of the other zones, `stable` those of this one, by name.

        Those of either that stand outside the zone are somebody else's to serve. `ttl` in
        seconds.
        """
        self._places = {
            _below(host, origin): host.partition(".")[0]
            for host in places
            if host.endswith(f".{origin}")
        }
        self._stable = {
            _below(host, origin): addresses
            for host, addresses in stable.items()
            if host.endswith(f".{origin}")
        }
        self._instead = tuple({one: None for some in stable.values() for one in some})
        owned = (*self._places, *self._stable)
        self._above = {labels[at:] for labels in owned for at in range(1, len(labels))}
        self._ttl = ttl

    def find(
        self, below: Labels, owner: DNSLabel, type_: int, table: NameTable
    ) -> tuple[RR, ...] | None:
        """See `Contents`."""
        place, stable = self._places.get(below), self._stable.get(below)
        if place is None and stable is None:
            return () if below in self._above else None
        records: list[RR] = []
        for family, (own_type, data) in _TYPES.items():
            # One record set is answer enough to ANY (RFC 8482, 4.1).
            if type_ == own_type or (type_ == Type.ANY and not records):
                found = stable if place is None else self._at(place, family, table)
                records += [
                    record(owner, own_type, self._ttl, data(tuple(one.packed)))
                    for one in found or ()
                    if one.family == family
                ]
        return tuple(records)

    def _at(self, place: str, family: int, table: NameTable) -> tuple[Address, ...]:
        members = table.members
        found = members.addresses(place, family)
        is_empty = not found and not any(members.addresses(place, each) for each in _TYPES)
        return self._instead if is_empty else found


def _below(host: str, origin: str) -> Labels:
    return tuple(host.removesuffix(f".{origin}").encode("ascii").split(b"."))
