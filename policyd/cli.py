"""smtpnic-policyd: tells a receiving mail server who is registered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from node.command_line import config_option, new_program, run_program, warn_of_root
from node.logging import configure
from node.receiving import Mode, OnFailure
from policyd.settings import DEFAULT_FILE, PolicydSettings

EXIT_CODES: Final = "Exit codes: 0 done, 2 usage or settings, 4 unreachable, 70 internal."

Config = Annotated[Path | None, config_option("SMTPNIC_POLICYD_CONFIG")]

ModeOption = Annotated[
    Mode | None, typer.Option("--mode", help="What happens to mail of the unregistered.")
]
OnFailureOption = Annotated[
    OnFailure | None, typer.Option(help="What happens to mail while DNS fails.")
]
ZoneOption = Annotated[str | None, typer.Option(help="The registry's zone.")]

app = new_program(
    "smtpnic-policyd",
    "Tells a receiving mail server which of its clients are registered mail servers.",
    EXIT_CODES,
)


@app.command(epilog=EXIT_CODES)
def run(
    config: Config = None,
    *,
    mode: ModeOption = None,
    on_failure: OnFailureOption = None,
    zone: ZoneOption = None,
) -> None:
    """Serves Postfix: check_policy_service, and a before-queue filter if one is set.

    Takes its settings from FILE, else from /etc/smtpnic/policyd.toml if there is one; its
    sockets from systemd, if it was started by a socket unit.
    """
    from policyd.service import run as run_service  # noqa: PLC0415 - --help loads no DNS

    settings = _load(config, mode, on_failure, zone)
    warn_of_root()
    run_service(settings)


@app.command(epilog=EXIT_CODES)
def opensmtpd(
    config: Config = None,
    *,
    mode: ModeOption = None,
    on_failure: OnFailureOption = None,
    zone: ZoneOption = None,
) -> None:
    """Serves the OpenSMTPD that started it as a filter, on standard input and output."""
    from policyd.service import run_opensmtpd  # noqa: PLC0415

    run_opensmtpd(_load(config, mode, on_failure, zone))


@app.command(epilog=EXIT_CODES)
def check(config: Config = None) -> None:
    """Reads the settings as the service would, and shows what it would do; it starts nothing."""
    settings = _load(config)
    shown = settings.model_dump(include={"mode", "on_failure", "zone", "own_networks", "listen"})
    shown |= {"list_zone": settings.list_name, "register_at": settings.registration}
    for name, value in shown.items():
        typer.echo(f"{name}: {' '.join(value) if isinstance(value, tuple) else value}")


@app.command(epilog=EXIT_CODES)
def ask(
    address: Annotated[str, typer.Argument(help="A client's IP address.")],
    config: Config = None,
    *,
    recipient: Annotated[str, typer.Option(help="Whom its message is for.")] = "",
) -> None:
    """Asks the running service as Postfix would, and shows what Postfix would be told to do.

    DUNNO is no objection; whoever is exempt, or has no address to look up, meets none.
    """
    from policyd.asking import ask_service  # noqa: PLC0415 - the service needs none of it

    typer.echo(ask_service(_load(config), address, recipient))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    return run_program(app, arguments)


def _load(
    config: Path | None,
    mode: Mode | None = None,
    on_failure: OnFailure | None = None,
    zone: str | None = None,
) -> PolicydSettings:
    if config is None:
        # The environment is checked in the same way where there is no file.
        config = DEFAULT_FILE if DEFAULT_FILE.exists() else Path(os.devnull)
    settings = PolicydSettings.load(config)
    options = {"mode": mode, "on_failure": on_failure, "zone": zone}
    given = {name: value for name, value in options.items() if value is not None}
    settings = settings.model_copy(update=given)
    configure(settings.log_format, settings.log_level)
    return settings
