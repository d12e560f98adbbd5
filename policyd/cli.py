"""smtpnic-policyd: tells a receiving mail server who is registered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from node.command_line import config_option, new_program, run_program, warn_of_root
from node.logging import configure
from node.receiving import Mode, OnFailure
from policyd.settings import DEFAULT_FILE, PolicydSettings

EXIT_CODES: Final = "Exit codes: 0 done, 2 usage or settings, 70 internal."

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    return run_program(app, arguments)


def _load(
    config: Path | None, mode: Mode | None, on_failure: OnFailure | None, zone: str | None
) -> PolicydSettings:
    if config is None and not DEFAULT_FILE.exists():
        settings = PolicydSettings()
    else:
        settings = PolicydSettings.load(config or DEFAULT_FILE)
    options = {"mode": mode, "on_failure": on_failure, "zone": zone}
    given = {name: value for name, value in options.items() if value is not None}
    settings = settings.model_copy(update=given)
    configure(settings.log_format, settings.log_level)
    return settings
