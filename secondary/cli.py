"""smtpnic-secondary: runs a mirror of the registry, and its parts one by one."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from node.command_line import AsJson, config_option, new_program, run_program, warn_of_root
from node.exits import ExitCode
from node.logging import configure
from secondary.settings import SecondarySettings

EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed, 2 usage or settings, 4 no secondary or etcd answers, "
    "70 internal."
)

Config = Annotated[Path, config_option("SMTPNIC_SECONDARY_CONFIG")]
UpstreamOption = Annotated[
    str,
    typer.Option(
        "--upstream",
        metavar="HOST:PORT",
        help="Follow this node instead of the settings' own: the primary, or another secondary.",
    ),
]
DEFAULT_CONFIG: Final = Path("secondary.toml")

app = new_program(
    "smtpnic-secondary",
    "A secondary of the SMTP registry: it follows the log, and answers DNS and WHOIS.",
    EXIT_CODES,
)


@app.command(epilog=EXIT_CODES)
def run(config: Config = DEFAULT_CONFIG, *, upstream: UpstreamOption = "") -> None:
    """Runs everything on this machine until SIGTERM or SIGINT; then it drains and ends with 0.

    It starts an etcd of its own, unless the settings give endpoints, and the role processes,
    and starts again what ends.
    """
    from secondary.supervisor import run as run_supervisor  # noqa: PLC0415

    _follow(upstream)
    settings = _load(config)
    warn_of_root()
    run_supervisor(settings, config.resolve())


@app.command(epilog=EXIT_CODES)
def follower(config: Config = DEFAULT_CONFIG, *, upstream: UpstreamOption = "") -> None:
    """Runs the role that follows the log and writes the replica in etcd."""
    from secondary.follower_role import run as run_follower  # noqa: PLC0415

    _follow(upstream)
    run_follower(_load(config), config.resolve())


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


def _follow(upstream: str) -> None:
    """Put the option above the settings, for the role processes too."""
    if upstream:
        os.environ["SMTPNIC_SECONDARY_UPSTREAM"] = upstream


def _load(config: Path) -> SecondarySettings:
    settings = SecondarySettings.load(config)
    configure(settings.log_format, settings.log_level)
    return settings


@app.command(epilog=EXIT_CODES)
def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="To be made.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Writes what this secondary holds to files, from which a lost primary is rebuilt.

    The secondary runs meanwhile. Send DIR to the board: everything in it is public, and signed.
    """
    from secondary.export import export as export_replica  # noqa: PLC0415

    position = export_replica(SecondarySettings.load(config), directory)
    typer.echo(f"{directory}: the log at size {position.checkpoint.size}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    return run_program(app, arguments)
