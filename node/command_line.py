"""What the programs' command lines share: options, and how an error ends a server's program."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer

from node.exits import ExitCode, exit_code
from registry.errors import RegistryError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def config_option(variable: str) -> Any:
    """The option that names the settings file; `variable` in the environment does so as well."""
    return typer.Option("--config", "-c", metavar="FILE", envvar=variable, help="Settings.")


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
    # What gRPC would log to standard error is in the errors that it raises.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # It would start threads in every child between fork and exec, and some children die of that.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    name = program.info.name
    try:
        program(args=arguments, prog_name=name)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the outermost place
        return _report(f"{name}: {error}", error)
    return ExitCode.OK


def warn_of_root() -> None:
    """Logs it where a server runs as root: nothing that it does needs that."""
    from node.logging import get_logger  # noqa: PLC0415 - short commands log nothing

    if os.geteuid() == 0:
        get_logger("process").warning(
            "process.is_root", advice="run it as a user of its own; see docs/operations.md"
        )


def _report(text: str, error: Exception) -> ExitCode:
    code = exit_code(error)
    if code == ExitCode.INTERNAL:
        if not isinstance(error, RegistryError):
            traceback.print_exc()
            return code
        # A refusal to start, a fence, a full disk: known, and said in its text.
        code = ExitCode.FAILED
    sys.stderr.write(f"{text}\n")
    return code
