"""Rows of CSV and JSON lines: strict in, safe out, and where each one ends."""

from __future__ import annotations

import csv
import hashlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import ConfigurationError
from smtpnic.rows import (
    FORMULA_STARTS,
    MAX_LINE_BYTES,
    Format,
    RefusedRow,
    Row,
    RowReader,
    encode_cells,
    encode_rows,
    format_of,
    guard,
    unguard,
)

HEADER = b"address,host,domain\n"
LINE = b"192.0.2.1,mx.example.org,example.org\n"


def read(data: bytes, form: Format = Format.CSV) -> list[Row | RefusedRow]:
    return list(RowReader(io.BytesIO(data), form))


def test_the_header_says_which_column_is_which() -> None:
    """Any order, any case, other columns between, a byte order mark, CRLF, blank lines."""
    data = b"\xef\xbb\xbfDomain,note, HOST ,address\r\n\r\nexample.org,x,mx.example.org,::1\r\n"
    assert read(data) == [Row(3, "::1", "mx.example.org", "example.org")]


def test_semicolons_separate_when_the_header_has_them() -> None:
    """As spreadsheets write CSV in half of Europe."""
    data = HEADER.replace(b",", b";") + b"192.0.2.1;mx.example.org;example.org\n"
    assert read(data) == [Row(2, "192.0.2.1", "mx.example.org", "example.org")]


@pytest.mark.parametrize("header", [b"", b"address,host\n", LINE, b"\xff\n"])
def test_a_header_that_lacks_a_column_is_refused(header: bytes) -> None:
    """Nothing can be read without it."""
    with pytest.raises(ConfigurationError, match="must name the columns"):
        read(header)


def test_quoted_cells_may_hold_the_delimiter() -> None:
    """RFC 4180, section 2.6."""
    assert read(HEADER + b'"192.0.2.1","a,""b",c\n') == [Row(2, "192.0.2.1", 'a,"b', "c")]


@pytest.mark.parametrize(
    "line",
    [
        b"192.0.2.1,mx.example.org\n",
        b'192.0.2.1,"mx.example.org,example.org\n',
        b"192.0.2.1,\xff,example.org\n",
        b"192.0.2.1,mx\x00.example.org,example.org\n",
        b"192.0.2.1," + b"x" * 2000 + b",example.org\n",
        b"x" * (MAX_LINE_BYTES * 2) + b"\n",
    ],
)
def test_a_bad_line_spoils_itself_alone(line: bytes) -> None:
    """It is refused with its number; the next is read as if it were not there."""
    first, second = read(HEADER + line + LINE)
    assert isinstance(first, RefusedRow)
    assert (first.line, first.problem.code) == (2, "row")
    assert second == Row(3, "192.0.2.1", "mx.example.org", "example.org")


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"7",
        b'{"address":"192.0.2.1","host":"mx.example.org"}',
        b'{"address":"192.0.2.1","host":"mx.example.org","domain":null}',
        b'{"address":"192.0.2.1","host":"\\ud800","domain":"example.org"}',
        b"[" * 30000,
    ],
)
def test_a_bad_json_line_is_refused(line: bytes) -> None:
    """An object with three texts, no more is asked for."""
    (row,) = read(line + b"\n", Format.JSONL)
    assert isinstance(row, RefusedRow)


@given(st.lists(st.binary(max_size=80)), st.sampled_from(Format))
def test_any_bytes_can_be_read(lines: list[bytes], form: Format) -> None:
    """No input breaks the reader; it ends at the end, with the digest of all."""
    data = (HEADER if form is Format.CSV else b"") + b"\n".join(lines)
    reader = RowReader(io.BytesIO(data), form)
    for row in reader:
        assert isinstance(row, Row | RefusedRow)
    assert reader.offset == len(data)
    assert reader.digest.digest() == hashlib.sha256(data).digest()


@given(st.lists(st.sampled_from([LINE, b"bad\n", b"\n", b'"open\n']), max_size=12), st.data())
def test_reading_goes_on_where_it_stopped(lines: list[bytes], data: st.DataObject) -> None:
    """Offset, line and digest after a row are all that a second reader needs."""
    content = HEADER + b"".join(lines)
    first = RowReader(io.BytesIO(content), Format.CSV)
    stops = [(0, first.offset, first.line, first.digest.hexdigest())]
    found = []
    for row in first:
        found.append(row)
        stops.append((len(found), first.offset, first.line, first.digest.hexdigest()))
    taken, offset, line, digest = data.draw(st.sampled_from(stops))
    second = RowReader(io.BytesIO(content), Format.CSV)
    second.skip_to(offset, line)
    assert second.digest.hexdigest() == digest
    assert [row.line for row in second] == [row.line for row in found[taken:]]


@given(st.text())
def test_no_cell_is_written_that_a_spreadsheet_would_run(cell: str) -> None:
    """A formula gets an apostrophe, which reading takes off again."""
    assert not guard(cell).startswith(FORMULA_STARTS)
    if not cell.startswith("'"):
        assert unguard(guard(cell)) == cell


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_cells_make_one_line_of_csv(cells: list[str]) -> None:
    """Whatever they hold: one line, as many cells, none of them a formula."""
    text = encode_cells([cells]).decode()
    (found,) = csv.reader(io.StringIO(text, newline=""))
    assert len(found) == len(cells)
    assert not any(cell.startswith(FORMULA_STARTS) for cell in found)


@pytest.mark.parametrize("form", list(Format))
def test_a_row_that_was_written_can_be_read(form: Format) -> None:
    """With further columns beside the three."""
    values = {
        "address": "192.0.2.1",
        "host": "mx.example.org",
        "domain": "example.org",
        "reason": "=1+1",
    }
    header = encode_cells([list(values)]) if form is Format.CSV else b""
    (row,) = read(header + encode_rows([values], form), form)
    assert isinstance(row, Row)
    assert (row.address, row.host, row.domain) == tuple(list(values.values())[:3])


def test_json_lines_keep_values_as_they_are() -> None:
    """No apostrophe where no spreadsheet looks."""
    assert json.loads(encode_rows([{"a": "=1", "b": 2}], Format.JSONL)) == {"a": "=1", "b": 2}


def test_the_suffix_tells_the_format() -> None:
    """Unless one is chosen; an unknown suffix is an error that names the option."""
    assert format_of("a/b.CSV", None) is Format.CSV
    assert format_of("b.ndjson", None) is Format.JSONL
    assert format_of("b.txt", Format.JSONL) is Format.JSONL
    with pytest.raises(ConfigurationError, match="--format"):
        format_of("-", None)


def test_a_cell_tells_a_terminal_nothing() -> None:
    """Whoever looks at a report with `cat` sees text: no escapes, and one line."""
    written = encode_cells([["\x1b]0;owned\x07\nrow", "mail.example.org"]])

    assert written == b" ]0;owned  row,mail.example.org\n"
