"""Registering the rows of a file: chunks through a stream, settled in order, resumable.

The stream answers chunks in the order they were sent, so the settled part of the input is
always a prefix of it: a byte offset says it all.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from node.retry import Backoff
from registry.errors import MalformedError, Problem
from registry.limits import MAX_CHANGES_PER_REQUEST
from smtpnic.errors import UnreachableError
from smtpnic.journal import Counts
from smtpnic.rows import RefusedRow, Row, RowReader

# What goes into one request.
ROWS_PER_CHUNK: Final = MAX_CHANGES_PER_REQUEST
# Where each row is looked up by the registry: a person sees how it gets on.
APPLICATIONS_PER_CHUNK: Final = 32
# One chunk is committed while the next is decoded and a third is read, and one to spare.
MAX_CHUNKS_IN_FLIGHT: Final = 4
# In a row, without a chunk settled between them: some ten seconds of back-off.
MAX_RECONNECTIONS: Final = 8

# The problem's code when a registration of the address exists.
EXISTS: Final = "exists"


class Stream(Protocol):
    """Chunks of changes, answered in order (SubmitStream, ApplicationStream of smtpnic.client)."""

    def register(self, rows: Sequence[Row], /) -> None:
        """Sends a chunk of registrations."""

    def update(self, rows: Sequence[Row], /) -> None:
        """Sends a chunk of updates."""

    def receive(self) -> list[int | Problem]:
        """The outcomes of the oldest chunk not yet received."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that are sent together, those refused unsent, and where the input stands after.

    `digest` is the SHA-256 of the input's first `offset` bytes, in hexadecimal.
    """

    rows: tuple[Row, ...]
    unsent: tuple[RefusedRow, ...]
    offset: int
    line: int
    digest: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a chunk, none of which will be sent again."""

    chunk: Chunk
    counts: Counts
    refused: Sequence[RefusedRow]


def read_chunks(reader: RowReader, size: int = ROWS_PER_CHUNK) -> Iterator[Chunk]:
    """The rest of the input, so many rows at a time."""
    rows = iter(reader)
    while found := list(islice(rows, size)):
        yield Chunk(
            tuple(row for row in found if isinstance(row, Row)),
            tuple(row for row in found if isinstance(row, RefusedRow)),
            reader.offset,
            reader.line,
            reader.digest.hexdigest(),
        )


class Import:
    """One run over an input. `settle` is told of every chunk, in the order of the input.

    `open_stream` opens a stream to the primary, whose log has `log_size` entries by now. With
    `may_update` rows may change what is registered of the holder's.
    """

    def __init__(
        self,
        open_stream: Callable[[], AbstractContextManager[Stream]],
        log_size: int,
        settle: Callable[[Settled], None],
        backoff: Backoff,
        *,
        may_update: bool,
    ) -> None:
        self._open_stream = open_stream
        self._settle = settle
        self._backoff = backoff
        self._may_update = may_update
        self._newest = log_size - 1
        self._failures = 0
        # Sent, or about to be, and not settled: what a new stream has to send again.
        self._open_chunks: deque[Chunk] = deque()

    def run(self, chunks: Iterator[Chunk]) -> None:
        """Returns when all chunks are settled.

        A broken stream is opened again and goes on; UnreachableError when that does not help.
        Whatever ends it, what was settled stays settled.
        """
        while True:
            try:
                with self._open_stream() as stream:
                    self._pump(stream, chunks)
                    return
            except UnreachableError as error:
                self._failures += 1
                if not error.may_pass or self._failures > MAX_RECONNECTIONS:
                    raise
                time.sleep(self._backoff.next_delay())

    def _pump(self, stream: Stream, chunks: Iterator[Chunk]) -> None:
        for chunk in self._open_chunks:
            _send(stream, chunk)
        while True:
            for chunk in islice(chunks, MAX_CHUNKS_IN_FLIGHT - len(self._open_chunks)):
                self._open_chunks.append(chunk)
                _send(stream, chunk)
            if not self._open_chunks:
                return
            chunk = self._open_chunks[0]
            settled = self._conclude(chunk, _receive(stream, chunk.rows))
            self._open_chunks.popleft()
            self._settle(settled)
            self._failures = 0
            self._backoff.reset()

    def _conclude(self, chunk: Chunk, outcomes: Sequence[int | Problem]) -> Settled:
        registered = unchanged = updated = 0
        existing: list[Row] = []
        refused = list(chunk.unsent)
        # Of one chunk the entries may stand in the log in any order.
        known, seen = self._newest, set[int]()
        for row, outcome in zip(chunk.rows, outcomes, strict=True):
            if isinstance(outcome, Problem):
                if self._may_update and outcome.code == EXISTS:
                    existing.append(row)
                else:
                    refused.append(_refused(row, outcome))
            elif outcome > known and outcome not in seen:
                seen.add(outcome)
                registered += 1
            else:
                # A receipt of an entry that stood in the log before this row came.
                unchanged += 1
        self._newest = max(seen, default=known)
        for row, outcome in zip(existing, self._update(existing), strict=True):
            if isinstance(outcome, Problem):
                refused.append(_refused(row, outcome))
            else:
                updated += 1
        refused.sort(key=lambda row: row.line)
        return Settled(chunk, Counts(registered, updated, unchanged, len(refused)), refused)

    def _update(self, rows: Sequence[Row]) -> Sequence[int | Problem]:
        if not rows:
            return ()
        # A stream of its own: the answers of the first are those of chunks sent since.
        with self._open_stream() as stream:
            stream.update(rows)
            return _receive(stream, rows)


def _send(stream: Stream, chunk: Chunk) -> None:
    if chunk.rows:
        stream.register(chunk.rows)


def _receive(stream: Stream, rows: Sequence[Row]) -> list[int | Problem]:
    outcomes = stream.receive() if rows else []
    if len(outcomes) != len(rows):
        raise MalformedError(f"the primary answered {len(rows)} rows by {len(outcomes)} outcomes")
    return outcomes


def _refused(row: Row, problem: Problem) -> RefusedRow:
    return RefusedRow(row.line, (row.address, row.host, row.domain), problem)
