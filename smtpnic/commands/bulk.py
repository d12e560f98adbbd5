"""smtpnic import, export: many mail servers at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from node.errors import ConfigurationError, StorageError
from node.exits import ExitCode
from node.retry import Backoff
from smtpnic.commands.listing import MAX_PAGE_SIZE, all_pages_of
from smtpnic.commands.registrations import Mine, Of, holder_filter
from smtpnic.errors import NotFoundError
from smtpnic.holder_key import HolderKey
from smtpnic.importing import (
    APPLICATIONS_PER_CHUNK,
    ROWS_PER_CHUNK,
    Import,
    Settled,
    Stream,
    read_chunks,
)
from smtpnic.journal import Journal
from smtpnic.ledger import Ledger, Paths, resume
from smtpnic.output import Output
from smtpnic.presentation import REGISTRATION_COLUMNS, registration_values
from smtpnic.progress import progress_bar
from smtpnic.rows import Format, RowReader, encode_cells, encode_rows, format_of
from smtpnic.session import Session

if TYPE_CHECKING:
    from smtpnic.client import Primary, Registering

STANDARD_STREAM = "-"

FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for the stream.")]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Else the file's suffix tells it.")
]
Updating = Annotated[
    bool, typer.Option("--update", help="Rows may change registrations that exist.")
]
Restart = Annotated[bool, typer.Option("--restart", help="Forget where an earlier run stopped.")]


def import_(
    context: typer.Context,
    file: FileArgument,
    *,
    form: FormatOption = None,
    update: Updating = False,
    restart: Restart = False,
) -> None:
    """Register the rows of a CSV or JSON lines file.

    CSV begins with a line that names the columns address, host and domain; others are
    ignored. A row that is registered already, with the same names, is unchanged.

    Where the registry asks for proofs each row is applied for, as by `register`, and may leave
    host and domain empty. For whole networks show the reverse zone (docs/registering.md); then
    the rows are registered as they are. What is left to do of others stands beside them.

    FILE.refused.csv tells which rows were refused and why: mend it and import it. When the
    import is interrupted, FILE.journal remembers where, and the same command goes on there.

    Exit code 1: some rows were refused.
    """
    session: Session = context.obj
    paths = Paths.beside(file)
    settings = session.settings()
    key = session.holder_key(settings)
    begun = Journal(str(settings.require_primary()), key.holder_id.hex())
    started = time.monotonic()
    with (
        _open_input(file) as stream,
        session.primary(settings) as primary,
        session.registering(settings) as desk,
    ):
        reader = RowReader(stream, format_of(file, form))
        journal = _journal(paths, begun, reader, restart=restart)
        log_size = primary.statistics().log_size
        open_stream, size = _way(primary, desk, key)
        backoff = Backoff(Random())  # noqa: S311 - jitter is no secret
        with (
            _resumable(session.output, paths, journal) as ledger,
            progress_bar(session.output.progress_console, "importing", _length(file)) as progress,
        ):
            settle = _settler(ledger, progress)
            Import(open_stream, log_size, settle, backoff, may_update=update).run(
                read_chunks(reader, size)
            )
    _report(session.output, ledger, journal, time.monotonic() - started)


def _way(
    primary: Primary, desk: Registering, key: HolderKey
) -> tuple[Callable[[], AbstractContextManager[Stream]], int]:
    """How the rows reach this registry, and how many at a time."""
    from smtpnic.client import ApplicationStream  # noqa: PLC0415

    if not desk.asks_for_proofs():
        return lambda: primary.submit(key), ROWS_PER_CHUNK
    try:
        primary.get_holder(key.holder_id)
    except NotFoundError:
        raise ConfigurationError(
            "this holder has no mail server yet: register the first with its contact (`smtpnic "
            "register ADDRESS --name ...`), and import the others then"
        ) from None
    return lambda: ApplicationStream(primary, desk, key), APPLICATIONS_PER_CHUNK


def _settler(ledger: Ledger, progress: Callable[[int, int], None]) -> Callable[[Settled], None]:
    def settle(settled: Settled) -> None:
        ledger.settle(settled)
        progress(settled.chunk.offset, ledger.journal.counts.rows)

    return settle


def _journal(paths: Paths, begun: Journal, reader: RowReader, *, restart: bool) -> Journal:
    found = None if restart or paths.journal is None else Journal.load(paths.journal)
    if found is None:
        return begun
    resume(found, reader, begun.primary, begun.holder)
    return found


@contextmanager
def _resumable(output: Output, paths: Paths, journal: Journal) -> Iterator[Ledger]:
    if journal.line:
        output.note(f"Going on after line {journal.line}, where the last run stopped.")
    ledger = Ledger(paths, journal)
    try:
        with ledger:
            yield ledger
    except BaseException:
        if paths.journal is not None and ledger.journal.line:
            output.note(
                f"Stopped after line {ledger.journal.line}; the same command goes on from there."
            )
        raise


def _report(output: Output, ledger: Ledger, begun: Journal, seconds: float) -> None:
    counts = ledger.journal.counts
    rows = counts.rows - begun.counts.rows
    output.values(
        {
            "rows": counts.rows,
            **asdict(counts),
            "report": str(ledger.paths.report) if counts.refused else "",
            "seconds": round(seconds, 3),
            "rows_per_second": round(rows / seconds) if seconds else 0,
        }
    )
    if counts.refused:
        raise typer.Exit(ExitCode.FAILED)


def export(
    context: typer.Context,
    file: FileArgument,
    *,
    form: FormatOption = None,
    of: Of = "",
    mine: Mine = False,
) -> None:
    """Write registrations to a CSV or JSON lines file, which `import` can read.

    Cells that a spreadsheet would take for a formula get an apostrophe before them.
    """
    session: Session = context.obj
    settings = session.settings()
    file_format = format_of(file, form)
    holder_id = holder_filter(session, of, mine=mine)
    with session.primary(settings) as primary, _open_output(file) as stream:
        total = None if holder_id else primary.statistics().registrations
        if file_format is Format.CSV:
            stream.write(encode_cells([REGISTRATION_COLUMNS]))
        rows = 0
        with progress_bar(session.output.progress_console, "exporting", total) as progress:
            for page in all_pages_of(
                lambda token: primary.registrations(MAX_PAGE_SIZE, token, holder_id)
            ):
                stream.write(encode_rows(map(registration_values, page.items), file_format))
                rows += len(page.items)
                progress(rows, rows)
    if file != STANDARD_STREAM:
        session.output.values({"file": file, "rows": rows})


def _open_input(name: str) -> BinaryIO:
    if name == STANDARD_STREAM:
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise ConfigurationError(f"cannot read {name}: {error.strerror or error}") from error


def _length(name: str) -> int | None:
    return None if name == STANDARD_STREAM else Path(name).stat().st_size


@contextmanager
def _open_output(name: str) -> Iterator[BinaryIO]:
    """The stream to write to; the file appears under its name when it is whole."""
    if name == STANDARD_STREAM:
        yield sys.stdout.buffer
        return
    part = Path(name + ".part")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(name)
    except OSError as error:
        raise StorageError(f"cannot write {name}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
