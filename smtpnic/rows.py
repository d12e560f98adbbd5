"""Registrations as rows of CSV or JSON lines: read strictly, written safely.

One line is one row (RFC 4180 without line breaks inside quotes), so that a row has one line
number and one byte offset, and an unclosed quote spoils its own line only.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import BinaryIO, Final

from node.errors import ConfigurationError
from registry.errors import Problem

FIELDS: Final = ("address", "host", "domain")
REPORT_COLUMNS: Final = (*FIELDS, "line", "code", "message")

# As much as a spreadsheet puts into a line; a row of three names needs a tenth of it.
MAX_LINE_BYTES: Final = 64 * 1024
# Two host names at their longest (RFC 1035, 2.3.4) and an address, with room to spare: 600
# rows stay under the 4 MiB that gRPC receives by default.
MAX_VALUES_CHARACTERS: Final = 1024

# What a spreadsheet takes for a formula at the start of a cell (OWASP, CSV injection).
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Format(StrEnum):
    """How rows are written down."""

    CSV = "csv"
    JSONL = "jsonl"


SUFFIXES: Final = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL}


@dataclass(frozen=True, slots=True)
class Row:
    """One mail server to register, as its line gave it; the registry checks the values."""

    line: int
    address: str
    host: str
    domain: str


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not registered, and why. `cells` are address, host and domain."""

    line: int
    cells: Sequence[str]
    problem: Problem


def format_of(name: str, chosen: Format | None) -> Format:
    """The format chosen, or the one of the name's suffix; ConfigurationError if none tells."""
    if chosen is not None:
        return chosen
    suffix = PurePath(name).suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    raise ConfigurationError(
        f"the name {name!r} does not tell the format: give --format csv or --format jsonl"
    )


def guard(cell: str) -> str:
    """The cell, with an apostrophe before what a spreadsheet would run as a formula."""
    return "'" + cell if cell.startswith(FORMULA_STARTS) else cell


def unguard(cell: str) -> str:
    """The cell without the apostrophe that `guard` put before it."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA_STARTS) else cell


class RowReader:
    """Iterates over the rows of a binary stream, and knows where it stands.

    After each row `offset` is the number of bytes taken so far, `line` the row's line number,
    and `digest` the SHA-256 of those bytes: what a later run needs to go on there.
    """

    def __init__(self, stream: BinaryIO, form: Format) -> None:
        self._stream = stream
        self.offset = 0
        self.line = 0
        self.digest = hashlib.sha256()
        self._cells = self._csv_cells() if form is Format.CSV else _json_cells

    def skip_to(self, offset: int, line: int) -> None:
        """Reads on to a byte offset that an earlier run reached, which ended `line`."""
        while self.offset < offset:
            data = self._stream.read(min(offset - self.offset, 1 << 20))
            if not data:
                break
            self.digest.update(data)
            self.offset += len(data)
        self.line = line

    def __iter__(self) -> Iterator[Row | RefusedRow]:
        while (text := self._next_line()) is not None:
            if isinstance(text, RefusedRow):
                yield text
            elif text and not text.isspace():
                yield self._row(text)

    def _row(self, text: str) -> Row | RefusedRow:
        try:
            address, host, domain = self._cells(text)
        except Problem as problem:
            return RefusedRow(self.line, (text[:MAX_VALUES_CHARACTERS], "", ""), problem)
        values = address + host + domain
        if len(values) <= MAX_VALUES_CHARACTERS and values.isprintable():
            return Row(self.line, address, host, domain)
        # Lone surrogates, which JSON can spell and UTF-8 cannot, are not printable either.
        cells = [cell if cell.isprintable() else "" for cell in (address, host, domain)]
        return self._refused(
            "the values are far too long or hold control characters",
            [cell[:MAX_VALUES_CHARACTERS] for cell in cells],
        )

    def _next_line(self) -> str | RefusedRow | None:
        data = self._stream.readline(MAX_LINE_BYTES)
        if not data:
            return None
        self._take(data)
        self.line += 1
        if len(data) == MAX_LINE_BYTES and not data.endswith(b"\n"):
            while (rest := self._stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                self._take(rest)
            self._take(rest)
            return self._refused(f"the line is longer than {MAX_LINE_BYTES} bytes")
        if self.line == 1:
            data = data.removeprefix(BYTE_ORDER_MARK)
        try:
            return data.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            return self._refused("the line is not UTF-8: save the file as UTF-8")

    def _take(self, data: bytes) -> None:
        self.digest.update(data)
        self.offset += len(data)

    def _refused(self, message: str, cells: Sequence[str] = ("", "", "")) -> RefusedRow:
        return RefusedRow(self.line, cells, Problem("row", message))

    def _csv_cells(self) -> Callable[[str], tuple[str, str, str]]:
        header = self._next_line()
        if not isinstance(header, str):
            header = ""
        delimiter = ";" if ";" in header and "," not in header else ","
        names = [name.strip().lower() for name in _split(header, delimiter)]
        missing = [field for field in FIELDS if field not in names]
        if missing:
            raise ConfigurationError(
                f"the first line must name the columns {', '.join(FIELDS)} "
                f"(missing: {', '.join(missing)}; other columns are ignored)",
            )
        first, second, third = (names.index(field) for field in FIELDS)
        width = max(first, second, third) + 1

        def cells(text: str) -> tuple[str, str, str]:
            found = _split(text, delimiter)
            if len(found) < width:
                raise Problem("row", f"the line has {len(found)} cells of {len(names)}")
            return (
                unguard(found[first].strip()),
                unguard(found[second].strip()),
                unguard(found[third].strip()),
            )

        return cells


def _split(text: str, delimiter: str) -> list[str]:
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader((text,), delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise Problem("row", f"the line is not CSV: {error}") from None


def _json_cells(text: str) -> tuple[str, str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Problem("row", "the line is not a JSON object") from None
    values = [found.get(field) for field in FIELDS] if isinstance(found, dict) else []
    match [value.strip() for value in values if isinstance(value, str)]:
        case [address, host, domain]:
            return address, host, domain
    raise Problem("row", f"the line must be a JSON object with the texts {', '.join(FIELDS)}")


def encode_rows(rows: Iterable[Mapping[str, object]], form: Format) -> bytes:
    """Lines of a file: CSV in the mappings' order, or JSON objects."""
    if form is Format.CSV:
        return encode_cells([str(value) for value in row.values()] for row in rows)
    lines = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows]
    return "".join(lines).encode()


def encode_cells(rows: Iterable[Sequence[str]]) -> bytes:
    """Lines of CSV, safe to open in a spreadsheet."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerows([_safe(cell) for cell in row] for row in rows)
    return lines.getvalue().encode()


def _safe(cell: str) -> str:
    if cell.isprintable():
        return guard(cell)
    # What a registry says may quote what stands in somebody's zone.
    return guard("".join(c if c.isprintable() else " " for c in " ".join(cell.splitlines())))
