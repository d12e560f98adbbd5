"""A progress bar on standard error, where there is a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

REFRESH_SECONDS: Final = 0.2


@contextmanager
def progress_bar(
    console: Console, title: str, total: int | None
) -> Iterator[Callable[[int, int], None]]:
    """Gives a function to be told how much of the total is done, and how many rows that is.

    `total` is in the unit of the first number; None when nobody knows it.
    """
    columns = (
        TextColumn(title),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
    )
    shown_at = 0.0
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(title, total=total, rows=0)

        def show(done: int, rows: int) -> None:
            nonlocal shown_at
            now = time.monotonic()
            if now - shown_at >= REFRESH_SECONDS:
                shown_at = now
                progress.update(task, completed=done, rows=rows)

        yield show


@contextmanager
def step_bar(console: Console, title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Gives a function to be told the name of each of `total` steps as it begins."""
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[step]}"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(title, total=total, step="")
        begun = 0

        def show(step: str) -> None:
            nonlocal begun
            progress.update(task, completed=begun, step=step)
            begun += 1

        yield show
