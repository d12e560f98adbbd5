"""The registry's keys as this secondary pins them, and what they make of a cursor in etcd."""

from __future__ import annotations

from registry.note import CosignatureVerifier, Verifier
from secondary.cursor import Cursor, open_freshness
from secondary.view import Standing


class Trust:
    """Opens cursors; for use by one thread at a time."""

    def __init__(self, verifier: Verifier, freshness_verifier: CosignatureVerifier) -> None:
        self._verifier = verifier
        self._freshness_verifier = freshness_verifier
        # The last freshness note and its time: most batches come between two of them.
        self._freshness = b""
        self._fresh_s = 0.0

    def open(self, value: bytes) -> Standing:
        """The standing that an encoded cursor proves.

        VerificationError, as in `Cursor.open` and `open_freshness`, if it does not.
        """
        cursor = Cursor.decode(value)
        position = cursor.open(self._verifier)
        return Standing(position, max(position.time_ms / 1000, self._fresh(cursor.freshness)))

    def _fresh(self, note: bytes) -> float:
        if note != self._freshness:
            freshness = open_freshness(note, self._verifier, self._freshness_verifier)
            self._freshness, self._fresh_s = note, float(freshness.time_s)
        return self._fresh_s
