"""What DNS said, for as long as it said so; bounded."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from node.finding import Finding
from registry.address import Address


@dataclass(frozen=True, slots=True)
class Found:
    """A finding, and until when it holds on the monotonic clock."""

    finding: Finding
    until: float


class Cache:
    """The newest findings, at most `size`; who was asked about longest ago goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._found: OrderedDict[Address, Found] = OrderedDict()

    def get(self, address: Address, now: float) -> Finding | None:
        """The finding, if one holds still."""
        found = self._found.get(address)
        if found is None:
            return None
        if found.until <= now:
            del self._found[address]
            return None
        self._found.move_to_end(address)
        return found.finding

    def put(self, address: Address, found: Found) -> None:
        """Keeps it in the place of what was kept of this address."""
        self._found[address] = found
        self._found.move_to_end(address)
        if len(self._found) > self._size:
            self._found.popitem(last=False)

    def __len__(self) -> int:
        return len(self._found)
