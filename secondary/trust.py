"""The board's roots and decisions as a reader knows them, and what they make of a cursor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from node.logging import get_logger
from registry.batch import Record
from registry.entry import Entry
from registry.errors import VerificationError
from registry.kinds import Kind
from registry.staleness import Staleness, concerns_staleness, decided_staleness
from secondary.cursor import Cursor, open_freshness
from secondary.roots import Roots
from secondary.view import Standing

BOARD_KINDS: Final = frozenset({int(Kind.ROOT), int(Kind.DECISION)})

_log = get_logger("reader")


class Trust:
    """Opens cursors; for use by one thread at a time."""

    def __init__(self, roots: Roots) -> None:
        self.roots = roots
        # The records that say how long a register is served, by their index in the log.
        self._decided: dict[int, bytes] = {}
        self._staleness = Staleness(roots.chain.current.policies.staleness_seconds)
        # The last freshness note and its time: most batches come between two of them.
        self._freshness = b""
        self._fresh_s = 0.0

    @property
    def decided(self) -> tuple[bytes, ...]:
        """The records that say how long a register is served, in the log's order."""
        return tuple(self._decided[index] for index in sorted(self._decided))

    def learn(self, records: Iterable[bytes]) -> None:
        """Know these records of roots and decisions too.

        VerificationError if roots among them do not follow from those known.
        """
        read = [(record, Record.decode(record)) for record in records]
        entries = [(record, each.index, Entry.decode(each.entry)) for record, each in read]
        self.roots.take([entry.payload for _, _, entry in entries if entry.kind == Kind.ROOT])
        new = {index: record for record, index, entry in entries if concerns_staleness(entry)}
        if new:
            self._decided |= new
            self._staleness = self._decide()

    def open(self, value: bytes) -> Standing:
        """The standing that an encoded cursor proves.

        VerificationError, as in `Cursor.open` and `open_freshness`, if it does not.
        """
        cursor = Cursor.decode(value)
        position = cursor.open(self.roots)
        vouched_s = max(position.time_ms / 1000, self._fresh(cursor.freshness))
        return Standing(position, vouched_s, self._staleness)

    def _decide(self) -> Staleness:
        chain, records = self.roots.chain, [Record.decode(each) for each in self.decided]
        try:
            return decided_staleness(chain, [(r.index, Entry.decode(r.entry)) for r in records])
        except VerificationError as error:
            # The state root covers them, so the log has them; lookups need not suffer for it.
            _log.error("staleness.refused", reason=str(error))
            return Staleness(chain.current.policies.staleness_seconds)

    def _fresh(self, note: bytes) -> float:
        if note != self._freshness:
            freshness = open_freshness(note, self.roots, self.roots)
            self._freshness, self._fresh_s = note, float(freshness.time_s)
        return self._fresh_s
