"""smtpnic receiver: for those who run a receiving mail server."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from node.endpoint import Endpoint
from node.errors import ConfigurationError, StorageError
from node.exits import ExitCode
from node.receiving import Mode, OnFailure
from registry.address import Address
from smtpnic.commands.lookup import Servers, Zone, answer_values, dns_servers
from smtpnic.errors import EXIT_CODES
from smtpnic.output import Output
from smtpnic.progress import progress_bar
from smtpnic.receiving.server_kinds import ServerKind, detect, kind_named
from smtpnic.session import Session
from smtpnic.settings import Settings

if TYPE_CHECKING:
    from smtpnic.receiving.list_entries import ListEntry
    from smtpnic.receiving.mail_log import Delivery
    from smtpnic.receiving.report import Row

DEFAULT_DAYS: Final = 30
MAX_DAYS: Final = 366
LOOPBACK: Final = ("127.0.0.1", "::1")
# The rest of a long tail is in the CSV file.
SHOWN_ROWS: Final = 25
# Between two looks of the guard: one lost packet is no reason to stop enforcing.
SECOND_LOOK_SECONDS: Final = 5.0

Kind = Annotated[
    str | None,
    typer.Option(
        "--server-kind",
        metavar="NAME",
        help="sendmail, postfix, postfix-policyd, exim, opensmtpd, rspamd, spamassassin "
        "(default: what runs).",
    ),
]

app = typer.Typer(
    help="Set up a receiving mail server, try it, and see whom it would refuse.",
    no_args_is_help=True,
)


def _kind(name: str | None) -> ServerKind:
    return detect() if name is None else kind_named(name)


def _resolver(settings: Settings) -> Endpoint:
    return dns_servers(settings)[0]


@app.command(epilog=EXIT_CODES)
def setup(
    context: typer.Context,
    *,
    server_kind: Kind = None,
    mode: Annotated[Mode, typer.Option(help="What to do with the unregistered.")] = Mode.ADVISE,
    on_failure: Annotated[
        OnFailure, typer.Option(help="What to do while DNS fails, when enforcing.")
    ] = OnFailure.ACCEPT,
    write: Annotated[bool, typer.Option("--write", help="Write the lines, with a backup.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Put back what was before.")] = False,
    server: Servers = None,
    zone: Zone = None,
) -> None:
    """Show the lines for the mail server that runs here, and where they go; or write them.

    What was written is checked by the server itself, and undone if it does not pass; then the
    list's test entries are asked through this machine's resolver. The server is not restarted:
    the command that does it is shown.
    """
    from smtpnic.receiving import installation  # noqa: PLC0415

    session: Session = context.obj
    output = session.output
    kind = _kind(server_kind)
    if undo:
        restored = installation.undo(kind)
        output.values({"server": kind.title, "restored": [str(path) for path in restored]})
        output.note(f"now run: {' '.join(kind.reload)}")
        return
    settings = session.settings(dns_servers=server or None, zone=zone)
    if write:
        installation.refuse_twice(kind)
    edits = kind.edits(kind.variant(mode, on_failure), settings.zone)
    if not write:
        files = [{"where": edit.where, "lines": edit.lines} for edit in edits]
        if output.as_json:
            output.table("files", files, server=kind.title)
        for edit in [] if output.as_json else edits:
            typer.echo(f"# {edit.where}\n{edit.lines}")
        output.note("with --write, they are put there, with a backup")
        return
    installation.install(kind, edits)
    entries = _entries(settings)
    output.table(
        "entries",
        [_entry_values(entry) for entry in entries],
        server=kind.title,
        written=[str(edit.path) for edit in edits],
    )
    now = "; ".join(" ".join(command) for command in (*kind.services, kind.reload))
    output.note(f"written and checked by {kind.title}; now run: {now}")
    if not all(entry.is_right for entry in entries):
        output.note("this machine's resolver does not give the registry's list as it is")
        raise typer.Exit(ExitCode.FAILED)


@app.command("test", epilog=EXIT_CODES)
def try_sessions(
    context: typer.Context,
    recipient: Annotated[str, typer.Argument(help="An address that the server takes mail for.")],
    *,
    address: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="ADDRESS", help="A client's address. May be repeated."),
    ] = None,
    smtp: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The mail server.")
    ] = "127.0.0.1:25",
    server: Servers = None,
    zone: Zone = None,
) -> None:
    """Show what clients of these addresses see, up to RCPT: no message is sent.

    For an address that this machine does not have, Exim plays the session; with others it is not
    tried, and said so. Without any, the machine's own addresses speak for themselves.
    """
    from smtpnic.receiver import ask  # noqa: PLC0415
    from smtpnic.receiving.smtp_session import NOT_TRIED, hold, play  # noqa: PLC0415

    session: Session = context.obj
    settings = session.settings(dns_servers=server or None, zone=zone)
    try:
        endpoint = Endpoint.parse(smtp)
    except ValueError as error:
        raise ConfigurationError(f"--smtp: {error}") from None
    resolver = _resolver(settings)
    rows = []
    for text in address or [endpoint.host]:
        source = Address.parse(text)
        answer = ask(resolver, source, settings.zone, settings.timeout)
        seen = hold(endpoint, str(source), recipient, settings.timeout)
        if seen.outcome == NOT_TRIED and (command := _playing(endpoint)):
            seen = play(command, str(source), recipient)
        rows.append(
            {
                "address": str(source),
                "registry": str(answer_values(answer)["finding"]),
                "outcome": seen.outcome,
                "played": seen.is_played,
                "reply": seen.reply.splitlines(),
                "greeting": seen.greeting.splitlines(),
            }
        )
    session.output.table("sessions", rows)
    if any(row["outcome"] in ("failed", "cut off") for row in rows):
        raise typer.Exit(ExitCode.UNREACHABLE)


def _playing(endpoint: Endpoint) -> tuple[str, ...]:
    """The command by which the server at the endpoint, if it is this machine's, plays a session."""
    if endpoint.host not in LOOPBACK:
        return ()
    try:
        return detect().play
    except ConfigurationError:
        return ()


@app.command(epilog=EXIT_CODES)
def report(
    context: typer.Context,
    logs: Annotated[
        list[Path] | None, typer.Argument(help="Log files (default: those of this machine).")
    ] = None,
    *,
    journal: Annotated[bool, typer.Option("--journal", help="Read systemd's journal.")] = False,
    days: Annotated[int, typer.Option(min=1, max=MAX_DAYS, help="How far back.")] = DEFAULT_DAYS,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write all rows there.")
    ] = None,
    server: Servers = None,
    zone: Zone = None,
) -> None:
    """Show whom enforcement would have refused, from the logs of Postfix, Exim and sendmail.

    Clients that had authenticated are counted apart: they are never refused. Files may be
    rotated and compressed, or systemd's own (`*.journal`). Where no file is found, the journal
    is read.
    """
    from smtpnic.receiving.report import look_up, plot, summary, tally  # noqa: PLC0415

    session: Session = context.obj
    output = session.output
    settings = session.settings(dns_servers=server or None, zone=zone)
    now = datetime.now(UTC)
    tallies = tally(_deliveries(output, logs or [], days, now, journal), now - timedelta(days=days))
    with progress_bar(output.progress_console, "looking up", len(tallies)) as show:
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            show(done, done)

        rows = look_up(tallies, _resolver(settings), settings.zone, settings.timeout, advance)
    if csv_file is not None:
        _write_csv(csv_file, rows)
    shown = rows if output.as_json else rows[:SHOWN_ROWS]
    output.table("clients", [_row_values(row) for row in shown], **summary(rows))
    if output.as_json:
        return
    for line in plot(rows, days, now.date()):
        typer.echo(line)
    output.values(summary(rows))


def _deliveries(
    output: Output, logs: list[Path], days: int, now: datetime, journal: bool
) -> Iterator[Delivery]:
    from smtpnic.receiving.log_files import (  # noqa: PLC0415
        JOURNAL_SUFFIX,
        find_logs,
        journal_lines,
        read_lines,
    )
    from smtpnic.receiving.mail_log import LogReader  # noqa: PLC0415

    paths = logs or ([] if journal else find_logs())
    if not paths:
        if not journal:
            output.note("no mail log found in files: reading systemd's journal")
        yield from LogReader(now).deliveries(journal_lines(days))
        return
    try:
        total = sum(path.stat().st_size for path in paths)
    except OSError as error:
        raise ConfigurationError(f"cannot read {error.filename}: {error.strerror}") from error
    with progress_bar(output.progress_console, "reading", total) as show:
        done = count = 0

        def advance(size: int) -> None:
            nonlocal done
            done += size
            show(done, count)

        for path in paths:
            is_journal = path.suffix == JOURNAL_SUFFIX
            lines = journal_lines(days, path) if is_journal else read_lines(path, advance)
            for delivery in LogReader(now).deliveries(lines):
                count += 1
                yield delivery


def _row_values(row: Row) -> dict[str, object]:
    return {
        "address": str(row.address),
        "messages": row.tally.messages,
        "authenticated": row.tally.authenticated,
        "refused": row.refused,
        "registry": "" if row.finding is None else str(row.finding),
    }


def _write_csv(path: Path, rows: list[Row]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["address", "messages", "authenticated", "refused", "registry"])
            writer.writerows(list(_row_values(row).values()) for row in rows)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


@app.command(epilog=EXIT_CODES)
def guard(
    context: typer.Context,
    *,
    server_kind: Kind = None,
    stop: Annotated[
        bool, typer.Option("--stop", help="Undo the set-up and reload the server when it fails.")
    ] = False,
    server: Servers = None,
    zone: Zone = None,
) -> None:
    """Check the list's test entries (RFC 5782, 5) through this machine's resolver; for cron.

    Silent while they are right. When they are not, twice in a row, it says so and ends with 1;
    with --stop, enforcing is stopped too.
    """
    session: Session = context.obj
    settings = session.settings(dns_servers=server or None, zone=zone)
    wrong = [entry for entry in _entries(settings) if not entry.is_right]
    if wrong:
        time.sleep(SECOND_LOOK_SECONDS)
        wrong = [entry for entry in _entries(settings) if not entry.is_right]
    if not wrong:
        return
    session.output.table("entries", [_entry_values(entry) for entry in wrong])
    if stop:
        _stop_enforcing(session.output, _kind(server_kind))
    raise typer.Exit(ExitCode.FAILED)


def _stop_enforcing(output: Output, kind: ServerKind) -> None:
    from smtpnic.receiving import installation  # noqa: PLC0415

    if not installation.is_installed(kind):
        output.note(f"{kind.title} is not set up here: nothing to stop")
        return
    installation.undo(kind)
    installation.reload(kind)
    output.note(f"{kind.title} enforces nothing any more; set it up again when the list is right")


def _entries(settings: Settings) -> list[ListEntry]:
    from smtpnic.receiving.list_entries import ask_entries  # noqa: PLC0415

    return ask_entries(_resolver(settings), f"list.{settings.zone}", settings.timeout)


def _entry_values(entry: ListEntry) -> dict[str, object]:
    return {
        "name": entry.name,
        "expected": str(entry.expected),
        "found": str(entry.found),
        "detail": entry.detail,
        "resolver": str(entry.resolver),
    }
