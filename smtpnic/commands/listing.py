"""Lists in pages, for every command that lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, TypeVar

import typer

from smtpnic.output import Output, Values
from smtpnic.views import Page

MAX_PAGE_SIZE = 1000

PageSize = Annotated[int, typer.Option(min=1, max=MAX_PAGE_SIZE, help="Lines of a page.")]
PageToken = Annotated[str, typer.Option(help="Go on after the page that gave this token.")]
AllPages = Annotated[bool, typer.Option("--all", help="All pages, one after another.")]

T = TypeVar("T")


def all_pages_of(read: Callable[[str], Page[T]], token: str = "") -> Iterator[Page[T]]:
    """The pages from the token's on."""
    while True:
        page = read(token)
        yield page
        token = page.next_token
        if not token:
            return


def list_pages(
    output: Output,
    name: str,
    read: Callable[[str], Page[T]],
    values: Callable[[T], Values],
    token: str,
    *,
    all_pages: bool,
) -> None:
    """Prints one page, or all from it on."""
    pages = all_pages_of(read, token) if all_pages else iter([read(token)])
    output.pages(name, (Page(tuple(map(values, page.items)), page.next_token) for page in pages))
