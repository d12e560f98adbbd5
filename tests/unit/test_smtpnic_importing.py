"""The import's run over its chunks, against a stream that does what the test says."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random

import pytest

from node.retry import Backoff
from registry.errors import MalformedError, Problem
from smtpnic.errors import UnreachableError
from smtpnic.importing import (
    MAX_CHUNKS_IN_FLIGHT,
    MAX_RECONNECTIONS,
    ROWS_PER_CHUNK,
    Import,
    Settled,
    Stream,
    read_chunks,
)
from smtpnic.journal import Counts
from smtpnic.rows import Format, Row, RowReader

Outcome = int | Problem
EXISTS = Problem("exists", "is registered with other names", "address")


class Script:
    """A primary that answers each row once by its address, and breaks when it is told to."""

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.answers: dict[str, Outcome] = {}
        self.sent: list[int] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.streams = 0
        # The stream breaks at these answers, counted over all streams.
        self.breaks: deque[int] = deque()
        self.may_pass = True
        self.omits = 0
        self._answered = 0

    @contextmanager
    def open(self) -> Iterator[Stream]:
        self.streams += 1
        self.in_flight = 0
        yield _Stream(self)

    def answer(self, rows: Sequence[Row], *, updating: bool) -> list[Outcome]:
        self._answered += 1
        if self.breaks and self.breaks[0] == self._answered:
            self.breaks.popleft()
            raise UnreachableError("gone", may_pass=self.may_pass)
        return [self._answer(row, updating=updating) for row in rows[self.omits :]]

    def _answer(self, row: Row, *, updating: bool) -> Outcome:
        known = self.answers.get(row.address)
        if updating and known is EXISTS:
            known = None
        if known is None:
            known = self.answers[row.address] = self.size
            self.size += 1
        return known


class _Stream:
    def __init__(self, script: Script) -> None:
        self._script = script
        self._chunks: deque[tuple[Sequence[Row], bool]] = deque()

    def register(self, rows: Sequence[Row], /) -> None:
        self._send(rows, updating=False)

    def update(self, rows: Sequence[Row], /) -> None:
        self._send(rows, updating=True)

    def receive(self) -> list[Outcome]:
        rows, updating = self._chunks.popleft()
        self._script.in_flight -= 1
        return self._script.answer(rows, updating=updating)

    def _send(self, rows: Sequence[Row], *, updating: bool) -> None:
        script = self._script
        script.sent.append(len(rows))
        script.in_flight += 1
        script.most_in_flight = max(script.most_in_flight, script.in_flight)
        self._chunks.append((rows, updating))


def run(script: Script, rows: int, *, may_update: bool = False) -> list[Settled]:
    lines = "".join(f"{number},h,d\n" for number in range(rows))
    reader = RowReader(io.BytesIO(f"address,host,domain\n{lines}".encode()), Format.CSV)
    settled: list[Settled] = []
    backoff = Backoff(Random(1), 0.0001, 0.0002)
    run = Import(script.open, script.size, settled.append, backoff, may_update=may_update)
    run.run(read_chunks(reader))
    return settled


def total(settled: list[Settled]) -> Counts:
    return sum((one.counts for one in settled), Counts())


def test_chunks_are_settled_in_order_with_a_bounded_number_in_flight() -> None:
    """Several are on their way, never more than the window."""
    script = Script()
    settled = run(script, ROWS_PER_CHUNK * 10 + 1)
    assert total(settled) == Counts(registered=ROWS_PER_CHUNK * 10 + 1)
    assert script.sent == [ROWS_PER_CHUNK] * 10 + [1]
    assert script.most_in_flight == MAX_CHUNKS_IN_FLIGHT
    offsets = [one.chunk.offset for one in settled]
    assert offsets == sorted(offsets)


def test_nothing_to_import_is_well() -> None:
    """An input of a header alone."""
    assert run(Script(), 0) == []


def test_receipts_of_older_entries_are_unchanged_rows() -> None:
    """An index below the log's size at the start was there before."""
    script = Script(size=100)
    script.answers = {"1": 7, "2": 99}
    assert total(run(script, 4)) == Counts(registered=2, unchanged=2)


def test_rows_that_exist_are_updated_when_asked_to() -> None:
    """Otherwise they are refused, with the registry's own words."""
    script = Script()
    script.answers = {"1": EXISTS, "3": Problem("address", "no address")}
    (settled,) = run(script, 5)
    assert settled.counts == Counts(registered=3, refused=2)
    assert [row.line for row in settled.refused] == [3, 5]
    script = Script()
    script.answers = {"1": EXISTS, "3": Problem("address", "no address")}
    (settled,) = run(script, 5, may_update=True)
    assert settled.counts == Counts(registered=3, updated=1, refused=1)


def test_a_broken_stream_sends_again_what_is_not_settled() -> None:
    """No row is lost, and none settled twice."""
    script = Script()
    script.breaks = deque([3, 4, 9])
    settled = run(script, ROWS_PER_CHUNK * 8)
    assert total(settled) == Counts(registered=ROWS_PER_CHUNK * 8)
    assert script.streams == 4
    assert script.most_in_flight == MAX_CHUNKS_IN_FLIGHT


def test_it_gives_up_when_the_stream_breaks_again_and_again() -> None:
    """Only so often without a chunk settled between."""
    script = Script()
    script.breaks = deque(range(1, 100))
    with pytest.raises(UnreachableError):
        run(script, 1)
    assert script.streams == MAX_RECONNECTIONS + 1


def test_what_waiting_cannot_mend_is_not_waited_for() -> None:
    """A certificate that is not accepted stays so."""
    script = Script()
    script.breaks, script.may_pass = deque([1]), False
    with pytest.raises(UnreachableError):
        run(script, 1)
    assert script.streams == 1


def test_too_few_outcomes_break_the_protocol() -> None:
    """Rows are never matched to answers by guessing."""
    script = Script()
    script.omits = 1
    with pytest.raises(MalformedError):
        run(script, 2)
