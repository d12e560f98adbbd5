"""What the commands print: for people, or with --json for programs.

Answers go to standard output; notes, progress and errors to standard error, so that an answer
can be piped on. All text that came from elsewhere passes through `printable`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from node import times
from registry.errors import Problem
from smtpnic.views import Page

Values = Mapping[str, object]

# Wide enough that no line of a table is broken where nobody looks at it.
PIPE_COLUMNS: Final = 4096


class Laid(Protocol):
    """What is laid out otherwise than as a table."""

    def values(self) -> Values:
        """For programs."""

    def layout(self, *, keys: bool) -> RenderableType:
        """For people; with the keys that may be pressed."""


class Output:
    """Prints answers, notes and errors, as text or as JSON."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._stdout = _console(sys.stdout)
        self.progress_console = _console(sys.stderr)

    def values(self, values: Values) -> None:
        """One answer: a JSON object, or a line for each value that there is."""
        if self.as_json:
            self._print(json.dumps(values, ensure_ascii=False, indent=2))
            return
        table = _table(("", ""))
        table.show_header = False
        for name, value in values.items():
            # Several lines are for programs, such as a checkpoint's note.
            if value not in ("", None, [], ()) and "\n" not in str(value):
                table.add_row(Text(_title(name), style="bold"), _cell(value))
        self._show(table)

    def table(self, name: str, rows: Sequence[Values], **others: object) -> None:
        """Answers of one kind: a table, or a JSON object with a list and what goes with it."""
        if self.as_json:
            self.values({name: list(rows), **others})
        elif rows:
            self._show(_filled_table(rows, show_header=True))

    def pages(self, name: str, pages: Iterable[Page[Values]]) -> None:
        """A list as it comes in: a table for each page, or one JSON object over all."""
        if self.as_json:
            self._json_pages(name, pages)
            return
        page: Page[Values] = Page((), "")
        for number, page in enumerate(pages):
            if page.items:
                self._show(_filled_table(page.items, show_header=number == 0))
            elif number == 0:
                self.note(f"no {name}")
        if page.next_token:
            self.note(f"there are more: --page-token {page.next_token} goes on, --all lists them")

    def _json_pages(self, name: str, pages: Iterable[Page[Values]]) -> None:
        separator, token = "", ""
        sys.stdout.write(f"{{{json.dumps(name)}: [")
        for page in pages:
            for item in page.items:
                sys.stdout.write(separator + "\n  " + json.dumps(item, ensure_ascii=False))
                separator = ","
            token = page.next_token
        self._print(f'], "next_page_token": {json.dumps(token)}}}')

    @property
    def console(self) -> Console:
        """Where answers go, for what moves."""
        return self._stdout

    def show(self, answer: Laid) -> None:
        """An answer that has a layout of its own."""
        if self.as_json:
            self.values(answer.values())
        else:
            self._show(answer.layout(keys=False))

    def _show(self, table: RenderableType) -> None:
        with self._stdout.capture() as shown:
            self._stdout.print(table)
        # rich fills the last column with spaces.
        sys.stdout.writelines(line.rstrip() + "\n" for line in shown.get().splitlines())

    def note(self, text: str) -> None:
        """Something a person may want to know; not part of the answer."""
        if not self.as_json:
            sys.stderr.write(printable(text) + "\n")

    def error(self, error: BaseException, exit_code: int) -> None:
        """Why the command did not do what was asked."""
        if not self.as_json:
            self._say_error(error)
            return
        values = {"message": str(error), "exit_code": int(exit_code)}
        if isinstance(error, Problem):
            values = {**values, "code": error.code, "field": error.field, "message": error.message}
        sys.stderr.write(json.dumps({"error": values}, ensure_ascii=False) + "\n")

    def _say_error(self, error: BaseException) -> None:
        for line in str(error).splitlines() or [type(error).__name__]:
            sys.stderr.write(f"smtpnic: {printable(line)}\n")

    def _print(self, text: str) -> None:
        sys.stdout.write(text + "\n")


def printable(text: str) -> str:
    """The text without control characters, which could deceive the reader of a terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def time_text(milliseconds: int) -> str:
    """A time in UTC (RFC 3339), empty for 0."""
    return times.time_text(milliseconds) if milliseconds else ""


def _console(stream: TextIO) -> Console:
    is_terminal = stream.isatty()
    return Console(
        file=stream, width=None if is_terminal else PIPE_COLUMNS, highlight=False, markup=False
    )


def _table(columns: Iterable[str], *, show_header: bool = True) -> Table:
    table = Table(box=None, pad_edge=False, show_header=show_header, header_style="bold")
    for column in columns:
        table.add_column(_title(column), overflow="fold")
    return table


def _filled_table(rows: Sequence[Values], *, show_header: bool) -> Table:
    # A column in which no row has anything tells nothing.
    columns = [name for name in rows[0] if any(row[name] not in ("", None, []) for row in rows)]
    table = _table(columns, show_header=show_header)
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    return table


def _title(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: object) -> Text:
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, (list, tuple)):
        return Text("\n".join(printable(str(part)) for part in value))
    return Text("" if value is None else printable(str(value)))
