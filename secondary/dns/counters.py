"""Counts of what was answered, cheap enough to keep for every query."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from secondary.dns.codes import Rcode
from secondary.dns.reply import Transport

RCODES: Final = 16
# By the four bits in the header: BADVERS counts as NOERROR, and nothing else looks as BADCOOKIE.
_NAMES: Final = {code & 0xF: code.name for code in reversed(Rcode)}

# What receivers and resolvers ask for; whatever else a stranger thinks of is one kind.
TYPES: Final = {1: "A", 28: "AAAA", 16: "TXT", 2: "NS", 6: "SOA", 15: "MX", 12: "PTR", 255: "ANY"}
OTHER: Final = "other"
TYPE_NAMES: Final = (*TYPES.values(), OTHER)
_COLUMNS: Final = {number: column * RCODES for column, number in enumerate(TYPES)}
# Of an answer without a question too.
OTHER_COLUMN: Final = len(TYPES) * RCODES

# Of an answer's time: under 8 us, 16, 32, ... 131 ms, and beyond. The compiled module counts so.
TIME_BUCKETS: Final = 16
_FIRST_BITS: Final = 3
BUCKET_SECONDS: Final = tuple(
    (1 << _FIRST_BITS + number) / 1_000_000 for number in range(TIME_BUCKETS - 1)
)

_NAME_AT: Final = 12


def column_of(type_: int) -> int:
    """Where the counts of a type begin; the response code's is so far behind."""
    return _COLUMNS.get(type_, OTHER_COLUMN)


class AnswerCounter:
    """What one thread answered over one transport. That thread counts, any thread reads."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        # By type asked for, and in each by response code, as the header says it.
        self.answers = [0] * (len(TYPE_NAMES) * RCODES)
        # How many answers took how long, and all of them together.
        self.times = [0] * TIME_BUCKETS
        self.total_us = 0
        # Left without an answer: responses, and messages too short to be one.
        self.ignored = 0
        # Queries at which the responder itself failed.
        self.failed = 0

    def answered(self, wire: bytes) -> None:
        """Counts one answer."""
        # A label that holds a zero byte is nobody's we know: what it seems to be does no harm.
        end = wire.find(b"\0", _NAME_AT) + 1
        column = column_of(int.from_bytes(wire[end : end + 2])) if end else OTHER_COLUMN
        self.answers[column + (wire[3] & 0xF)] += 1

    def took(self, answers: int, microseconds: int) -> None:
        """Counts how long answers took that were given together."""
        bucket = min(max(microseconds.bit_length() - _FIRST_BITS, 0), TIME_BUCKETS - 1)
        self.times[bucket] += answers
        self.total_us += answers * microseconds

    def by_kind(self) -> Iterator[tuple[str, str, int]]:
        """How many answers there were by type and response code, those at zero left out."""
        for number, count in enumerate(self.answers):
            if count:
                yield TYPE_NAMES[number // RCODES], _NAMES[number % RCODES], count
