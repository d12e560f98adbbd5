"""The files beside an input: the journal of an import, and the report of its refused rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from node.errors import ConfigurationError, StorageError
from smtpnic.importing import Settled
from smtpnic.journal import Journal
from smtpnic.rows import REPORT_COLUMNS, RefusedRow, RowReader, encode_cells

# A small synced file costs a millisecond; this bounds the rows that a crash has sent twice.
JOURNAL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Paths:
    """The report of refused rows, and the journal; None for an input that cannot be resumed."""

    report: Path
    journal: Path | None

    @classmethod
    def beside(cls, name: str) -> Paths:
        """Those of an input file; `-` is standard input, which nothing is beside of."""
        if name == "-":
            return cls(Path("stdin.refused.csv"), None)
        return cls(Path(name + ".refused.csv"), Path(name + ".journal"))


class Ledger:
    """Writes down what is settled: refused rows at once, the journal from time to time.

    On leaving its `with` the journal is exact; after a crash it may lag behind the registry,
    never run ahead of it.
    """

    def __init__(self, paths: Paths, journal: Journal) -> None:
        self.journal = journal
        self.paths = paths
        self._report: BinaryIO | None = None
        self._saved_at = time.monotonic()

    def __enter__(self) -> Self:
        if self.journal.report_bytes:
            self._report = self._open_report(self.journal.report_bytes)
        elif self.paths.report.exists():
            # Somebody may be mending the report of an earlier import.
            self.paths.report.replace(self.paths.report.with_name(self.paths.report.name + "~"))
        # Before any row is sent, so that a directory that cannot be written to is noticed.
        self._save()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._report is not None:
            self._report.close()
        is_resumable = kind is not None and self.journal.line > 0
        if is_resumable:
            self._save()
        elif self.paths.journal is not None:
            self.paths.journal.unlink(missing_ok=True)

    def settle(self, settled: Settled) -> None:
        """Takes down what became of the next chunk."""
        if settled.refused:
            self._write_report(settled.refused)
        chunk = settled.chunk
        self.journal = replace(
            self.journal,
            offset=chunk.offset,
            line=chunk.line,
            prefix_sha256=chunk.digest,
            report_bytes=self._report.tell() if self._report is not None else 0,
            counts=self.journal.counts + settled.counts,
        )
        if time.monotonic() - self._saved_at >= JOURNAL_SECONDS:
            self._save()

    def _save(self) -> None:
        if self.paths.journal is not None:
            self.journal.save(self.paths.journal)
        self._saved_at = time.monotonic()

    def _write_report(self, refused: Sequence[RefusedRow]) -> None:
        if self._report is None:
            self._report = self._open_report(0)
            self._report.write(encode_cells([REPORT_COLUMNS]))
        self._report.write(
            encode_cells(
                [*row.cells, str(row.line), row.problem.code, str(row.problem)] for row in refused
            )
        )
        self._report.flush()

    def _open_report(self, length: int) -> BinaryIO:
        try:
            file = self.paths.report.open("r+b" if length else "wb")
            file.truncate(length)
            file.seek(length)
        except OSError as error:
            raise StorageError(
                f"cannot write {self.paths.report}: {error.strerror or error}"
            ) from error
        return file


def resume(journal: Journal, reader: RowReader, primary: str, holder: str) -> None:
    """Reads the settled part of the input; ConfigurationError if it is not the same any more."""
    if (journal.primary, journal.holder) != (primary, holder):
        raise ConfigurationError(
            f"this file was begun for holder {journal.holder} at {journal.primary}: go on with "
            "those, or import with --restart to start anew"
        )
    reader.skip_to(journal.offset, journal.line)
    if reader.offset != journal.offset or reader.digest.hexdigest() != journal.prefix_sha256:
        raise ConfigurationError(
            "the part of the file that was imported already has changed since: "
            "import with --restart to start anew (rows that are registered stay as they are)"
        )
