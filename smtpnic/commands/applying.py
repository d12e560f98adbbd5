"""How an application is shown, and gone on with until nothing is left to do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Annotated, Final

import typer

from smtpnic.errors import UnreachableError
from smtpnic.output import Output, time_text
from smtpnic.views import ApplicationView

# Name servers take seconds to minutes; a person's patience is as long.
LOOK_SECONDS: Final = 10.0

Watch = Annotated[
    bool, typer.Option("--watch", help="Look again every ten seconds until nothing is left to do.")
]


def go_on(
    output: Output,
    first: ApplicationView,
    look: Callable[[ApplicationView], ApplicationView],
    *,
    watch: bool,
) -> ApplicationView:
    """Shows what is left to do, and has the registry look again until it is granted.

    At a terminal the person says when; with `watch` it looks by itself; else once. Whoever stops
    goes on with the same command.
    """
    view = first
    shown: set[tuple[str, str, str]] = set()
    while view.receipt is None:
        if not output.as_json:
            shown = _show_news(output, view, shown)
        if watch:
            time.sleep(LOOK_SECONDS)
        elif output.as_json or not _ask_person(output):
            return view
        try:
            view = look(view)
        except UnreachableError as error:
            if not error.may_pass:
                raise
            output.note(str(error))
    if not output.as_json:
        _show_news(output, view, shown)
    return view


def application_values(view: ApplicationView, output: Output) -> dict[str, object]:
    """An application; for programs with its findings, which people have seen."""
    values: dict[str, object] = {
        "registered": view.receipt is not None,
        "application": view.application_id.hex(),
        "holder": view.holder_id.hex(),
        "address": view.address,
        "host": view.host,
        "domain": view.domain,
        "expires": time_text(view.expires_ms),
        "address_token": view.address_token,
    }
    if output.as_json:
        values["findings"] = finding_rows(view)
    return values


def finding_rows(view: ApplicationView) -> list[dict[str, object]]:
    """What is asked, and how each stands."""
    return [
        {name: getattr(finding, name) for name in finding.__dataclass_fields__}
        for finding in view.findings
    ]


def _show_news(
    output: Output, view: ApplicationView, shown: set[tuple[str, str, str]]
) -> set[tuple[str, str, str]]:
    """Shows each finding that has changed since; what is shown by now."""
    now = {(one.condition, one.verdict, one.found) for one in view.findings}
    for finding in view.findings:
        if (finding.condition, finding.verdict, finding.found) in shown:
            continue
        mark = {"held": "ok", "failed": "TO DO", "unknown": "unknown"}[finding.verdict]
        output.note(f"{mark:<8} {finding.condition:<8} {finding.found}")
        if finding.note:
            output.note(f"{'':<17} ({finding.note})")
        if finding.mend:
            output.note(f"{'':<17} expected: {finding.expected}")
            output.note(f"{'':<17} to do: {finding.mend}")
    return now


def _ask_person(output: Output) -> bool:
    """Whether the person at the terminal wants another look; nobody is there elsewhere."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        output.note("Not yet: when that is done, run the same command again, or add --watch.")
        return False
    output.note("Press Enter to look again; Ctrl-C stops, and the same command goes on later.")
    return bool(sys.stdin.readline())
