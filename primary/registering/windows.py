"""Counts what happens under many names, each in a window that begins with the first of it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

# Names that are remembered at once; beyond that the longest known are forgotten.
MAX_REMEMBERED: Final = 100_000


@dataclass(slots=True)
class Windows:
    """Counts by name. Times are in milliseconds; what is older than a window does not count."""

    _windows: OrderedDict[str, tuple[int, int]] = field(default_factory=OrderedDict)

    def count(self, name: str, now_ms: int, length_ms: int) -> int:
        """How much there was in the name's window."""
        started_ms, count = self._windows.get(name, (now_ms, 0))
        return count if now_ms - started_ms < length_ms else 0

    def add(self, name: str, now_ms: int, length_ms: int) -> None:
        """One more."""
        count = self.count(name, now_ms, length_ms)
        started_ms = self._windows[name][0] if count else now_ms
        self._windows[name] = (started_ms, count + 1)
        self._windows.move_to_end(name)
        if len(self._windows) > MAX_REMEMBERED:
            self._windows.popitem(last=False)

    def take_back(self, name: str) -> None:
        """One less, if any was counted."""
        started_ms, count = self._windows.get(name, (0, 0))
        if count:
            self._windows[name] = (started_ms, count - 1)

    def forget(self, name: str) -> None:
        """As if nothing had been."""
        self._windows.pop(name, None)
