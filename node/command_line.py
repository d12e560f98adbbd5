"""What the programs' command lines share: their options, and what they print."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from node.exits import ExitCode
from node.program import run_to_end

if TYPE_CHECKING:
    from node.doctor.finding import Check

# Wide enough that no line of a table is broken where nobody looks at it.
PIPE_COLUMNS: Final = 240

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ntp = Annotated[
    str, typer.Option("--ntp", metavar="HOST[:PORT]", help="Compare the clock with this server.")
]


def config_option(variable: str) -> Any:
    """The option that names the settings file; `variable` in the environment does so as well."""
    return typer.Option("--config", "-c", metavar="FILE", envvar=variable, help="Settings.")


def tell_findings(checks: Mapping[str, Check], *, as_json: bool) -> None:
    """Makes the checks, prints what they find, and exits 1 if something has to be mended."""
    from rich.console import Console  # noqa: PLC0415 - other commands need no tables

    from node.doctor.finding import examine, is_bad, show, to_json  # noqa: PLC0415

    findings = examine(checks)
    if as_json:
        typer.echo(to_json(findings))
    else:
        show(findings, Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS))
    if is_bad(findings):
        raise typer.Exit(ExitCode.FAILED)


def _show_version(context: typer.Context, value: bool) -> None:
    if value:
        typer.echo(f"{context.info_name} {version('smtp-registry')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show it, and end.")
]


def _program(*, show_version: Version = False) -> None:
    """Takes the options that stand before a command."""


def new_program(name: str, purpose: str, exit_codes: str) -> typer.Typer:
    """A server's program without commands yet; its help tells its purpose and its exit codes."""
    program = typer.Typer(
        name=name,
        help=purpose,
        epilog=exit_codes,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    program.callback()(_program)
    return program


def run_program(program: typer.Typer, arguments: Sequence[str] | None) -> int:
    """Runs one command of a server's program (None: as the process was called); its exit code."""
    name = program.info.name
    return run_to_end(name or "", lambda: program(args=arguments, prog_name=name))


def warn_of_root() -> None:
    """Logs it where a server runs as root: nothing that it does needs that."""
    from node.logging import get_logger  # noqa: PLC0415 - short commands log nothing

    if os.geteuid() == 0:
        get_logger("process").warning(
            "process.is_root", advice="run it as a user of its own; see docs/operations.md"
        )
