"""Plots as SVG, drawn here: no script, no colours of their own. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Final

from markupsafe import Markup, escape

WIDTH: Final = 640
HEIGHT: Final = 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 28
_GRID_LINES: Final = 4
_SMALL: Final = 20
# More points than pixels only cost bytes.
MAX_POINTS: Final = 320
_BAR_SHARE: Final = 0.7
# Of a plot of rows: what a name may take, where the numbers stand, how high one is.
_NAME_WIDTH, _NUMBER_WIDTH, _ROW_HEIGHT = 180, 96, 30
_NAME_CHARACTERS: Final = 16
# The least that is seen of a bar that is there.
_MIN_BAR: Final = 2


@dataclass(frozen=True, slots=True)
class Point:
    """A value, and what it is of, in few letters."""

    label: str
    value: int


def line_plot(title: str, points: Sequence[Point]) -> Markup:
    """A line over an area; `title` says what it shows, to who cannot see it."""
    shown = _thinned(points)
    top = _round_up(max((point.value for point in shown), default=0))
    steps = max(len(shown) - 1, 1)
    places = [
        (_LEFT + number * _inner_width() / steps, _height_of(point.value, top))
        for number, point in enumerate(shown)
    ]
    if len(places) == 1:
        places.append((WIDTH - _RIGHT, places[0][1]))
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    ground = HEIGHT - _BOTTOM
    drawn = [
        f'<polygon class="area" points="{_LEFT},{ground} {way} {places[-1][0]:.1f},{ground}"/>',
        f'<polyline class="line" points="{way}"/>',
        _text(_LEFT, HEIGHT - 8, shown[0].label, "start"),
        _text(WIDTH - _RIGHT, HEIGHT - 8, shown[-1].label, "end"),
    ]
    return _framed(title, top, drawn)


def bar_plot(title: str, points: Sequence[Point]) -> Markup:
    """A bar for each value."""
    top = _round_up(max((point.value for point in points), default=0))
    room = _inner_width() / max(len(points), 1)
    drawn = []
    for number, point in enumerate(points):
        y = _height_of(point.value, top)
        x = _LEFT + room * (number + (1 - _BAR_SHARE) / 2)
        drawn.append(
            f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{room * _BAR_SHARE:.1f}" '
            f'height="{HEIGHT - _BOTTOM - y:.1f}" rx="3"/>'
        )
        drawn.append(_text(x + room * _BAR_SHARE / 2, HEIGHT - 8, point.label, "middle"))
    return _framed(title, top, drawn)


def row_plot(title: str, points: Sequence[Point]) -> Markup:
    """A bar lying in a row of its own for each value, beside its name and number."""
    top = max((point.value for point in points), default=0) or 1
    room = WIDTH - _NAME_WIDTH - _NUMBER_WIDTH
    drawn = []
    for number, point in enumerate(points):
        y = number * _ROW_HEIGHT
        middle = y + _ROW_HEIGHT / 2
        height = _ROW_HEIGHT * _BAR_SHARE
        width = max(room * point.value / top, _MIN_BAR if point.value else 0)
        drawn += [
            f'<line class="grid" x1="{_NAME_WIDTH}" x2="{_NAME_WIDTH}" y1="{y}" '
            f'y2="{y + _ROW_HEIGHT}"/>',
            _text(_NAME_WIDTH - 8, middle + 4, _clipped(point.label), "end"),
            f'<rect class="bar" x="{_NAME_WIDTH}" y="{middle - height / 2:.1f}" '
            f'width="{width:.1f}" height="{height:.1f}" rx="3"/>',
            _text(_NAME_WIDTH + width + 8, middle + 4, f"{point.value:,}", "start"),
        ]
    return _image(title, max(len(points), 1) * _ROW_HEIGHT, "".join(drawn))


def _clipped(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}…"


def _framed(title: str, top: int, drawn: Sequence[str]) -> Markup:
    lines = []
    for number in range(_GRID_LINES + 1):
        value = top * number / _GRID_LINES
        y = _height_of(value, top)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        lines.append(_text(_LEFT - 8, y + 4, _short(value), "end"))
    return _image(title, HEIGHT, "".join([*lines, *drawn]))


def _image(title: str, height: int, body: str) -> Markup:
    return Markup(  # noqa: S704 - every text in it is escaped, all else are numbers
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Up to MAX_POINTS of them, the last one always."""
    if not points:
        return [Point("", 0)]
    step = ceil(len(points) / MAX_POINTS)
    return [*points[:-1:step], points[-1]]


def _inner_width() -> int:
    return WIDTH - _LEFT - _RIGHT


def _height_of(value: float, top: int) -> float:
    return round(HEIGHT - _BOTTOM - value / top * (HEIGHT - _TOP - _BOTTOM), 1)


def _round_up(value: int) -> int:
    """The next number that the grid divides well: 4, 8, 12, 16, 20, 40, 80, 100, 200..."""
    if value <= _SMALL:
        return max(ceil(value / _GRID_LINES), 1) * _GRID_LINES
    unit = int(10 ** int(log10(value)))
    return next(
        unit * factor // 10 for factor in (20, 40, 80, 100, 200) if unit * factor // 10 >= value
    )


def _short(value: float) -> str:
    for size, letter in ((1_000_000, "M"), (1000, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
