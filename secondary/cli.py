"""smtpnic-secondary: runs a mirror of the registry, and its parts one by one."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer

from node.exits import ExitCode, exit_code
from node.logging import configure
from registry.errors import RegistryError
from secondary.settings import SecondarySettings

EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed, 2 usage or settings, 4 no secondary or etcd answers, "
    "70 internal."
)

Config = Annotated[
    Path,
    typer.Option(
        "--config", "-c", metavar="FILE", envvar="SMTPNIC_SECONDARY_CONFIG", help="Settings."
    ),
]
DEFAULT_CONFIG: Final = Path("secondary.toml")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(
    name="smtpnic-secondary",
    help="A secondary of the SMTP registry: it follows the log, and answers DNS and WHOIS.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"smtpnic-secondary {version('smtp-registry')}")
        raise typer.Exit


@app.callback()
def smtpnic_secondary(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show it, and end."),
    ] = False,
) -> None:
    """A secondary of the SMTP registry: it follows the log, and answers DNS and WHOIS."""


@app.command(epilog=EXIT_CODES)
def run(config: Config = DEFAULT_CONFIG) -> None:
    """Runs everything on this machine until SIGTERM or SIGINT; then it drains and ends with 0.

    It starts an etcd of its own, unless the settings give endpoints, and the role processes,
    and starts again what ends.
    """
    from secondary.supervisor import run as run_supervisor  # noqa: PLC0415

    run_supervisor(_load(config), config.resolve())


@app.command(epilog=EXIT_CODES)
def follower(config: Config = DEFAULT_CONFIG) -> None:
    """Runs the role that follows the log and writes the replica in etcd."""
    from secondary.follower_role import run as run_follower  # noqa: PLC0415

    run_follower(_load(config))


@app.command(epilog=EXIT_CODES)
def dns(config: Config = DEFAULT_CONFIG) -> None:
    """Runs the role that answers DNS."""
    from secondary.dns.server import run as run_dns  # noqa: PLC0415

    run_dns(_load(config))


@app.command(epilog=EXIT_CODES)
def whois(config: Config = DEFAULT_CONFIG) -> None:
    """Runs the role that answers WHOIS."""
    from secondary.whois.server import run as run_whois  # noqa: PLC0415

    run_whois(_load(config))


@app.command(epilog=EXIT_CODES)
def status(config: Config = DEFAULT_CONFIG, *, as_json: AsJson = False) -> None:
    """Asks the running secondary how it stands, and says what to do if that is not well."""
    from secondary.services.status_client import get_status  # noqa: PLC0415
    from secondary.services.status_text import status_json, status_lines  # noqa: PLC0415

    found = get_status(SecondarySettings.load(config))
    typer.echo(
        status_json(found) if as_json else "\n".join(status_lines(found, time.time())),
    )


@app.command(epilog=EXIT_CODES)
def preflight(config: Config = DEFAULT_CONFIG) -> None:
    """Checks etcd: version, limits, alarms, room. Exits 1, saying what to change, if it won't do.

    With endpoints it asks the cluster; otherwise the installed program, and its etcd if it runs.
    """
    from secondary.preflight import Verdict, check  # noqa: PLC0415

    is_good = True
    for finding in check(SecondarySettings.load(config)):
        typer.echo(f"{finding.verdict.value:<7} {finding.text}")
        is_good = is_good and finding.verdict is not Verdict.BAD
    if not is_good:
        raise typer.Exit(ExitCode.FAILED)


def _load(config: Path) -> SecondarySettings:
    settings = SecondarySettings.load(config)
    configure(settings.log_format, settings.log_level)
    return settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    # What gRPC would log to standard error is in the errors that it raises.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # It would start threads in every child between fork and exec, and some children die of that.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        app(args=arguments, prog_name="smtpnic-secondary")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the outermost place
        return _report(error)
    return ExitCode.OK


def _report(error: Exception) -> ExitCode:
    code = exit_code(error)
    if code == ExitCode.INTERNAL:
        if not isinstance(error, RegistryError):
            traceback.print_exc()
            return code
        # A full disk: known, and said in its text.
        code = ExitCode.FAILED
    sys.stderr.write(f"smtpnic-secondary: {error}\n")
    return code
