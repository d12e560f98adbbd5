"""The listed addresses DNS answers for, in memory.

`NameTable` is what the responder asks; `DictTable` is the one that needs no compiler.
"""

from __future__ import annotations

import struct
import threading
from array import array
from bisect import bisect_left, insort
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self, TypeVar

from registry.address import Address
from registry.kinds import Kind, Status
from registry.label import dashed
from registry.registration import outline_registration
from secondary.dns.members import Members
from secondary.view import Standing

# Any other does not exist for receivers: suspended, lapsed.
LISTED: Final = frozenset({int(Status.NEW), int(Status.ACTIVE)})

# A plain number: comparing with an enumeration costs several times as much.
_REGISTRATION: Final = int(Kind.REGISTRATION)
# DNS tells the day of a registration alone; until the year 2149.
DAY_SECONDS: Final = 86400
LATEST_DAY: Final = 0xFFFF
# Status, and since what day of 1970; the host follows.
_FACTS: Final = struct.Struct("!BH")
_IPV4: Final = 4

_T = TypeVar("_T", int, bytes)


@dataclass(frozen=True, slots=True)
class Listing:
    """What DNS says of a listed address; `since_s` in seconds since 1970, a day's first."""

    status: Status
    since_s: int
    host: str


class NameTable(Protocol):
    """A loaded table; any number of threads may ask while one writes."""

    @property
    def standing(self) -> Standing:
        """How far in the log the table is."""

    @property
    def members(self) -> Members:
        """The mirrors that resolvers are sent to."""

    def find(self, address: Address) -> Listing | None:
        """What is listed of `address`; None when it is not, whatever the register holds of it."""

    def any_listed(self, first: Address, last: Address) -> bool:
        """Whether any address of their family from `first` up to and with `last` is listed."""

    def __len__(self) -> int:
        """Number of listed addresses."""


class DictTable:
    """One dict from labels to what is said of them, and the addresses in order.

    Nearly all of it is bytes, which the garbage collector does not visit. A label of an IPv4
    address takes no more memory than its four bytes would: an object's head is most of it.
    """

    def __init__(self) -> None:
        # By dashed label: the packed address, status and day, the host.
        self.facts: dict[bytes, bytes] = {}
        # A family's names are asked for by prefix. IPv6 labels are in order as addresses are.
        self._ipv4 = array("I")
        self._ipv6: list[bytes] = []
        self._ordering = threading.Lock()
        self._standing: Standing | None = None
        self.members = Members()

    @property
    def standing(self) -> Standing:
        """How far in the log the table is; RuntimeError before the first `advance`."""
        if self._standing is None:
            raise RuntimeError("the table was not loaded")
        return self._standing

    def find(self, address: Address) -> Listing | None:
        """What is listed of `address`; None when it is not, whatever the register holds of it."""
        facts = self.facts.get(label_of(address))
        if facts is None:
            return None
        status, since_day, host = outline_facts(facts, len(address.packed))
        return Listing(Status(status), since_day * DAY_SECONDS, host.decode("ascii"))

    def any_listed(self, first: Address, last: Address) -> bool:
        """Whether any address of their family from `first` up to and with `last` is listed."""
        with self._ordering:
            if first.family == _IPV4:
                low, high = int.from_bytes(first.packed), int.from_bytes(last.packed)
                return _is_any_between(self._ipv4, low, high)
            return _is_any_between(self._ipv6, label_of(first), label_of(last))

    def __len__(self) -> int:
        return len(self.facts)

    def agrees_with(self, other: Self) -> bool:
        """Whether both list the same."""
        return self.facts == other.facts and self.members == other.members

    def put(self, state_key: bytes, payload: bytes, record: bytes) -> None:  # noqa: ARG002
        """Takes a registration or a member; other kinds have no name."""
        if state_key[0] != _REGISTRATION:
            self.members.put(state_key, payload)
            return
        status, registered_ms, host = outline_registration(payload)
        if status not in LISTED:
            self.remove(state_key)
            return
        address = Address(state_key[1:])
        label = label_of(address)
        if label not in self.facts:
            with self._ordering:
                if address.family == _IPV4:
                    _insert(self._ipv4, int.from_bytes(address.packed))
                else:
                    _insert(self._ipv6, label)
        since_day = min(registered_ms // 1000 // DAY_SECONDS, LATEST_DAY)
        self.facts[label] = address.packed + _FACTS.pack(status, since_day) + host.encode("ascii")

    def remove(self, state_key: bytes) -> None:
        """Lists a registration or a member no more."""
        if state_key[0] != _REGISTRATION:
            self.members.remove(state_key)
            return
        address = Address(state_key[1:])
        label = label_of(address)
        if self.facts.pop(label, None) is None:
            return
        with self._ordering:
            if address.family == _IPV4:
                del self._ipv4[bisect_left(self._ipv4, int.from_bytes(address.packed))]
            else:
                del self._ipv6[bisect_left(self._ipv6, label)]

    def put_openings(self, state_key: bytes, record: bytes) -> None:
        """Contact is not published in DNS."""

    def remove_openings(self, state_key: bytes) -> None:
        """Contact is not published in DNS."""

    def advance(self, standing: Standing) -> None:
        """The serial that DNS shows rises with this, after the records."""
        self._standing = standing

    def retire(self) -> None:
        """Nobody keeps it for longer than a batch of questions."""


def label_of(address: Address) -> bytes:
    """The key of an address among the facts."""
    return dashed(address).encode("ascii")


def outline_facts(facts: bytes, width: int) -> tuple[int, int, bytes]:
    """Status, since what day of 1970, and host, from the facts of an address of so many bytes."""
    status, since_day = _FACTS.unpack_from(facts, width)
    return status, since_day, facts[width + _FACTS.size :]


def _is_any_between(ordered: Sequence[_T], first: _T, last: _T) -> bool:
    at = bisect_left(ordered, first)
    return at < len(ordered) and ordered[at] <= last


def _insert(ordered: MutableSequence[_T], value: _T) -> None:
    # A load comes in order.
    if not ordered or ordered[-1] < value:
        ordered.append(value)
    else:
        insort(ordered, value)
