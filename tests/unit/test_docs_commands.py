"""Commands that the pages give are there: programs, subcommands and flags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import pytest
import typer

import policyd.cli
import primary.cli
import secondary.cli
import smtpnic.cli
from tests.unit.test_docs import ROOT, pages

PROGRAMS: dict[str, Any] = {
    "smtpnic": smtpnic.cli.app,
    "smtpnic-primary": primary.cli.app,
    "smtpnic-secondary": secondary.cli.app,
    "smtpnic-policyd": policyd.cli.app,
}
# A program by its name, not a user, unit, path or namespace of that name.
PROGRAM = re.compile(
    r"(?<![\w./@-])(?<!-n )(?<!generic )(?<!--re[ug]id )"
    r"(smtpnic(?:-primary|-secondary|-policyd)?)(?= |$)"
)
# Where a command ends.
END = re.compile(r"[|;<>#&)]|`| \\?$|\$\(| \{")
# A file's first line (docs/design.md).
NO_COMMAND = "smtpnic snapshot 1"
HELP = {"--help", "-h", "--install-completion", "--show-completion"}


def said(page: str) -> Iterator[str]:
    """Each line of code: blocks, lines that go on put together, and what stands in backquotes."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        yield from re.sub(r"\\\n\s*", " ", block).splitlines()
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`([^`]+)`", prose):
        if PROGRAM.match(span) and span != NO_COMMAND:
            yield re.sub(r"\s+", " ", span)


def given(line: str) -> Iterator[tuple[str, list[str]]]:
    """Each program in a line, with the words behind it."""
    found = list(PROGRAM.finditer(line))
    for one, following in zip_longest(found, found[1:]):
        end = following.start() if following else len(line)
        words = END.split(line[one.end() : end])[0]
        yield one[1], re.sub(r"[\[\]]", " ", words).split()


def fault(program: str, words: list[str]) -> str:
    """What is not there; empty if all is."""
    command: Any = typer.main.get_command(PROGRAMS[program])
    known: set[str] = set(HELP)
    while True:
        known |= {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        commands = getattr(command, "commands", None)
        if not (commands and words and words[0] not in known):
            break
        if words[0] not in commands:
            # COMMAND stands for any.
            return "" if words[0].isupper() else f"no command {words[0]}"
        command, words = commands[words[0]], words[1:]
    flags = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    missing = [flag for flag in flags if flag not in known]
    return f"no flag {missing[0]}" if missing else ""


@pytest.mark.parametrize("page", pages())
def test_commands_are_there(page: str) -> None:
    """Whoever types what a page says gets no error for it."""
    faults = [
        f"{program} {' '.join(words)}: {found}"
        for line in said(page)
        for program, words in given(line)
        if words and (found := fault(program, words))
    ]
    assert [] == faults


def test_wrong_commands_are_found() -> None:
    """The test itself: it sees what is not there."""
    ((program, words),) = given("$ smtpnic doctor -c secondary.toml | less")
    assert "no flag -c" == fault(program, words)
    assert "no command dance" == fault("smtpnic", ["dance"])
