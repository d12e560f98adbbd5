"""The listed addresses DNS answers for, in memory.

`NameTable` is what the responder asks; `DictTable` is the one that needs no compiler.
"""

from __future__ import annotations

import struct
import threading
from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Final, Protocol, Self

from registry.address import Address
from registry.kinds import Kind, Status
from registry.registration import outline_registration
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

    def find(self, address: Address) -> Listing | None:
        """What is listed of `address`; None when it is not, whatever the register holds of it."""

    def any_listed(self, first: Address, last: Address) -> bool:
        """Whether any address of their family from `first` up to and with `last` is listed."""

    def __len__(self) -> int:
        """Number of listed addresses."""


class DictTable:
    """One dict from packed addresses to what is said of them, and the addresses in order.

    All are bytes, which the garbage collector does not visit: a million names cost it nothing.
    """

    def __init__(self) -> None:
        self._facts: dict[bytes, bytes] = {}
        # By the length of the address; sorted, for a family's names are asked for by prefix.
        self._ordered: dict[int, list[bytes]] = {4: [], 16: []}
        self._ordering = threading.Lock()
        self._standing: Standing | None = None

    @property
    def standing(self) -> Standing:
        """How far in the log the table is; RuntimeError before the first `advance`."""
        if self._standing is None:
            raise RuntimeError("the table was not loaded")
        return self._standing

    def find(self, address: Address) -> Listing | None:
        """What is listed of `address`; None when it is not, whatever the register holds of it."""
        facts = self._facts.get(address.packed)
        if facts is None:
            return None
        status, since_day = _FACTS.unpack_from(facts)
        host = facts[_FACTS.size :].decode("ascii")
        return Listing(Status(status), since_day * DAY_SECONDS, host)

    def any_listed(self, first: Address, last: Address) -> bool:
        """Whether any address of their family from `first` up to and with `last` is listed."""
        ordered = self._ordered[len(first.packed)]
        with self._ordering:
            at = bisect_left(ordered, first.packed)
            return at < len(ordered) and ordered[at] <= last.packed

    def __len__(self) -> int:
        return len(self._facts)

    def agrees_with(self, other: Self) -> bool:
        """Whether both list the same."""
        return self._facts == other._facts

    def put(self, state_key: bytes, payload: bytes, record: bytes) -> None:  # noqa: ARG002
        """Takes a registration; other kinds have no name."""
        if state_key[0] != _REGISTRATION:
            return
        status, registered_ms, host = outline_registration(payload)
        if status not in LISTED:
            self.remove(state_key)
            return
        packed = state_key[1:]
        if packed not in self._facts:
            with self._ordering:
                _insert(self._ordered[len(packed)], packed)
        since_day = min(registered_ms // 1000 // DAY_SECONDS, LATEST_DAY)
        self._facts[packed] = _FACTS.pack(status, since_day) + host.encode("ascii")

    def remove(self, state_key: bytes) -> None:
        """Lists a registration no more."""
        packed = state_key[1:]
        if state_key[0] == _REGISTRATION and self._facts.pop(packed, None) is not None:
            ordered = self._ordered[len(packed)]
            with self._ordering:
                del ordered[bisect_left(ordered, packed)]

    def put_openings(self, state_key: bytes, record: bytes) -> None:
        """Contact is not published in DNS."""

    def remove_openings(self, state_key: bytes) -> None:
        """Contact is not published in DNS."""

    def advance(self, standing: Standing) -> None:
        """The serial that DNS shows rises with this, after the records."""
        self._standing = standing

    def retire(self) -> None:
        """Nobody keeps it for longer than a question."""


def _insert(ordered: list[bytes], packed: bytes) -> None:
    # A load comes in order.
    if not ordered or ordered[-1] < packed:
        ordered.append(packed)
    else:
        insort(ordered, packed)
