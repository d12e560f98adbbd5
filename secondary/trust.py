"""The board's roots as a reader knows them, and what they make of a cursor in etcd."""

from __future__ import annotations

from secondary.cursor import Cursor, open_freshness
from secondary.roots import Roots
from secondary.view import Standing


class Trust:
    """Opens cursors; for use by one thread at a time."""

    def __init__(self, roots: Roots) -> None:
        self.roots = roots
        # The last freshness note and its time: most batches come between two of them.
        self._freshness = b""
        self._fresh_s = 0.0

    def learn(self, notes: list[bytes]) -> None:
        """Know these roots too; VerificationError if they do not follow from those known."""
        self.roots.take(notes)

    def open(self, value: bytes) -> Standing:
        """The standing that an encoded cursor proves.

        VerificationError, as in `Cursor.open` and `open_freshness`, if it does not.
        """
        cursor = Cursor.decode(value)
        position = cursor.open(self.roots)
        return Standing(position, max(position.time_ms / 1000, self._fresh(cursor.freshness)))

    def _fresh(self, note: bytes) -> float:
        if note != self._freshness:
            freshness = open_freshness(note, self.roots, self.roots)
            self._freshness, self._fresh_s = note, float(freshness.time_s)
        return self._fresh_s
