"""smtpnic doctor: what is wrong with the node on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from node.command_line import Ntp
from node.errors import ConfigurationError
from node.exits import ExitCode
from smtpnic.session import Session

# By the name of its settings, the program that a node is; and where the units have it.
PROGRAMS: Final = {"secondary.toml": "smtpnic-secondary", "primary.toml": "smtpnic-primary"}
STATE: Final = Path("/var/lib")

SettingsFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]",
        help="secondary.toml or primary.toml; default: that of this directory, or of the service.",
    ),
]


def doctor(context: typer.Context, file: SettingsFile = None, *, ntp: Ntp = "") -> None:
    """Look for what is wrong with the mirror or the primary on this machine, and say what to do.

    Clock, disk, ports, names, certificate, root, forks; a mirror's upstream, etcd, follower and
    DNS; a primary's log, keys, resolvers, mail and mirrors. The node may run or not. It is best
    run as the node's user: sudo -u smtpnic-secondary smtpnic doctor.

    Exit code 1: something has to be mended.
    """
    session: Session = context.obj
    found = file or _find()
    name = PROGRAMS.get(found.name)
    if name is None:
        names = " or ".join(PROGRAMS)
        raise ConfigurationError(f"{found}: expected a file named {names}")
    # The programs know their nodes; this one talks to them over the wire only.
    command = [str(Path(sys.executable).with_name(name)), "doctor", "--config", str(found)]
    command += ["--ntp", ntp] if ntp else []
    command += ["--json"] if session.output.as_json else []
    try:
        code = subprocess.run(command, check=False).returncode  # noqa: S603 - ours, see above
    except OSError as error:
        raise ConfigurationError(f"cannot run {command[0]}: {error.strerror}") from error
    raise typer.Exit(code if code >= 0 else ExitCode.INTERNAL)


def _find() -> Path:
    """The settings in the working directory, else those of an installed service."""
    for file, program in PROGRAMS.items():
        for path in (Path(file), STATE / program / file):
            if path.is_file():
                return path
    raise ConfigurationError(
        f"which node? No {' or '.join(PROGRAMS)} here or below {STATE}: name its settings file"
    )
