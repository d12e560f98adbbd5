"""The page's pure parts: allowances, spelling, tables, plots, keys and cookies."""

from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from primary.web.allowance import Allowance, Effort, client_network
from primary.web.plots import Point, bar_plot, line_plot, row_plot
from primary.web.spelling import spelled
from primary.web.statistics import drawn_lags
from primary.web.tables import csv_text
from primary.web.visit import HolderKey, Visit, Visits

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def test_an_allowance_is_a_minutes_worth_and_then_the_rate() -> None:
    """Two a minute: two at once, the third half a minute later; others have their own."""
    allowance = Allowance(dict.fromkeys(Effort, 2))
    waits = [allowance.take("192.0.2.1", Effort.LOOK, 100.0) for _ in range(3)]

    assert waits == [0, 0, 30]
    assert allowance.take("192.0.2.1", Effort.PAGE, 100.0) == 0
    assert allowance.take("192.0.2.2", Effort.LOOK, 100.0) == 0
    assert allowance.take("192.0.2.1", Effort.LOOK, 131.0) == 0


def test_a_network_of_ipv6_is_one_client() -> None:
    """Its subscriber has all of the addresses."""
    one, other = "2001:db8:0:1::1", "2001:db8:0:1:ffff::2"
    assert client_network(one) == client_network(other)
    assert client_network(one) != client_network("2001:db8:0:2::1")


@pytest.mark.parametrize(
    ("name", "readable", "words"),
    [
        ("mail.example.org", "mail.example.org", ""),
        ("xn--bcher-kva.example", "b\u00fccher.example", ""),
        # All Cyrillic, like "apple"; and Latin with one Cyrillic letter.
        ("xn--80ak6aa92e.com", "\u0430\u0440\u0440\u04cf\u0435.com", "look like Latin"),
        ("xn--pypal-4ve.com", "p\u0430ypal.com", "mixes Cyrillic and Latin"),
        ("xn--e1afmkfd.example", "\u043f\u0440\u0438\u043c\u0435\u0440.example", ""),
        ("xn--.example", "xn--.example", ""),
    ],
)
def test_names_that_deceive_are_pointed_out(name: str, readable: str, words: str) -> None:
    """International names are read as they are meant; what looks like another is told."""
    found = spelled(name)
    assert found.readable == readable
    assert (words in found.warning) if words else (found.warning == "")


@given(st.lists(st.lists(texts, min_size=1, max_size=4), max_size=5))
def test_no_cell_is_a_formula(rows: list[list[str]]) -> None:
    """Every cell is text, and is what it was but for an apostrophe."""
    read = list(csv.reader(io.StringIO(csv_text(rows), newline="")))
    for row, found in zip(rows, [row for row in read if row], strict=False):
        for text, cell in zip(row, found, strict=True):
            assert not cell.startswith(("=", "+", "-", "@"))
            assert cell.removeprefix("'") == text.removeprefix("'")


@given(st.lists(st.builds(Point, texts, st.integers(0, 10**9)), max_size=700))
def test_plots_are_svg_of_any_values(points: list[Point]) -> None:
    """Well-formed, within their frame, and nothing of a label is markup."""
    printable = [
        Point("".join(c for c in one.label if c.isprintable()), one.value) for one in points
    ]
    for plot in (
        line_plot("<b>title</b>", printable),
        bar_plot("title", printable[:8]),
        row_plot("title", printable[:24]),
    ):
        image = ElementTree.fromstring(plot)
        names = {element.tag for element in image.iter()}
        assert names <= {"svg", "title", "line", "text", "rect", "polygon", "polyline"}


def test_mirrors_are_drawn_by_their_lag() -> None:
    """The furthest behind first, its bar the longest; who is not behind has none, and its name."""
    assert drawn_lags([]) is None
    lags = [Point("zurich-1", 0), Point("lima-1", 40), Point("a-very-long-name-of-a-mirror", 10)]
    plot = drawn_lags(lags)
    assert plot is not None
    image = ElementTree.fromstring(plot)
    texts = [element.text for element in image.iter("text")]
    widths = [float(element.attrib["width"]) for element in image.iter("rect")]

    assert texts == ["lima-1", "40", "a-very-long-nam…", "10", "zurich-1", "0"]
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.01)
    assert widths[2] == 0


def test_a_key_is_read_as_shown_and_as_filed() -> None:
    """Both forms of it; anything else is no key."""
    key = HolderKey.generate()
    assert HolderKey.read(key.text()) == key
    assert HolderKey.read(key.file().decode()) == key
    for text in (
        "",
        "x",
        "{}",
        "[]",
        "null",
        '{"holder_id": 1}',
        key.text()[:-2],
        "00:00",
        "é" * 96,
    ):
        assert HolderKey.read(text) is None


def _request(cookie: str) -> Request:
    return Request({"type": "http", "headers": [(b"cookie", cookie.encode())]})


def test_a_cookie_comes_back_whole_and_only_ours() -> None:
    """What was kept is read again; what anybody changed, or another primary made, is nobody."""
    visits = Visits(Fernet.generate_key(), secure=True)
    visit = Visit("name", HolderKey.generate(), b"a" * 16, "192.0.2.1", unsaved=True)
    header = visits.keep(Response(), visit).headers["set-cookie"]
    cookie = header.partition(";")[0]

    assert visits.of(_request(cookie)) == visit
    assert visits.of(_request(cookie[:-4] + "AAAA")).key is None
    assert Visits(Fernet.generate_key(), secure=True).of(_request(cookie)).key is None


def test_a_form_is_of_one_visitor() -> None:
    """Another visitor's token is not taken."""
    visits = Visits(Fernet.generate_key(), secure=True)
    one, other = Visit.begin(), Visit.begin()
    assert visits.is_form_token(one, visits.form_token(one))
    assert not visits.is_form_token(other, visits.form_token(one))
    assert not visits.is_form_token(one, "é")
