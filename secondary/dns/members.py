"""The addresses of the A record set, by its names, as the log's members give them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from registry.address import Address
from registry.kinds import Kind
from registry.member import MAX_ADDRESSES_PER_PLACE, Member

_MEMBER: Final = int(Kind.MEMBER)


class Members:
    """Takes members from the log; any number of threads may ask while one writes."""

    def __init__(self) -> None:
        self._members: dict[bytes, Member] = {}
        # Replaced as a whole.
        self._addresses = MappingProxyType[str, tuple[Address, ...]]({})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Members) and self._members == other._members

    __hash__ = None  # type: ignore[assignment]

    def put(self, state_key: bytes, payload: bytes) -> None:
        """Takes a member's newest entry; other kinds are nothing to it. MalformedError."""
        if state_key[0] == _MEMBER:
            self._members[state_key] = Member.decode(payload)
            self._gather()

    def remove(self, state_key: bytes) -> None:
        """Forgets a member; one that is not there is no error."""
        if self._members.pop(state_key, None) is not None:
            self._gather()

    def addresses(self, place: str, family: int) -> tuple[Address, ...]:
        """The addresses of one family that stand under a name of the set."""
        of_family = [one for one in self._addresses.get(place, ()) if one.family == family]
        return tuple(of_family[:MAX_ADDRESSES_PER_PLACE])

    def _gather(self) -> None:
        gathered: dict[str, set[Address]] = {}
        for member in self._members.values():
            for place in member.places:
                gathered.setdefault(place, set()).update(member.announced.addresses)
        # In order, so that all servers say the same.
        self._addresses = MappingProxyType(
            {
                place: tuple(sorted(addresses, key=lambda one: one.packed))
                for place, addresses in gathered.items()
            }
        )
