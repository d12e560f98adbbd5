"""smtpnic: the registry from the command line."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer

from node.command_line import Version
from node.exits import ExitCode
from smtpnic.commands import board, bulk, holder, proofs, receiver, registrations
from smtpnic.commands.dns_check import dns_check
from smtpnic.commands.doctor import doctor
from smtpnic.commands.lookup import lookup
from smtpnic.commands.stats import stats
from smtpnic.commands.status import status
from smtpnic.commands.top import top
from smtpnic.commands.verify import verify
from smtpnic.commands.verify_fork import verify_fork
from smtpnic.errors import EXIT_CODES, Interrupted, code_of
from smtpnic.output import Output
from smtpnic.session import Session

FLAGS: Final = frozenset({"--json"})
VALUED: Final = frozenset(
    {"--config", "--timeout", "--primary", "--ca", "--server-name", "--root", "--holder"}
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, errors too.")]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="SMTPNIC_CONFIG",
        help="Settings (default: ~/.config/smtpnic/config.toml).",
    ),
]
Timeout = Annotated[
    str | None, typer.Option(metavar="SECONDS", help="For each answer (default: 10).")
]
PrimaryOption = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="The primary's public address.")
]
Authority = Annotated[
    str | None, typer.Option("--ca", metavar="FILE", help="PEM certificates to trust.")
]
ServerName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The name in the servers' certificates, if not the host."),
]
Root = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A root of the board: checks what is signed.")
]
Holder = Annotated[
    str | None, typer.Option(metavar="FILE", help="Your holder's key file, or its identifier.")
]

app = typer.Typer(
    name="smtpnic",
    epilog=f"These options may stand before the command or after it. {EXIT_CODES}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def smtpnic(
    context: typer.Context,
    *,
    as_json: Json = False,
    config: Config = None,
    timeout: Timeout = None,
    primary: PrimaryOption = None,
    ca: Authority = None,
    server_name: ServerName = None,
    root: Root = None,
    holder: Holder = None,
    show_version: Version = False,  # noqa: ARG001 - its callback has done all there is to do
) -> None:
    """The public register of mail servers: register, look up, verify."""
    options = {
        "timeout": timeout,
        "primary": primary,
        "ca": ca,
        "server_name": server_name,
        "root": root,
        "holder": holder,
    }
    context.obj = Session(Output(as_json=as_json), options, config)


for name, command in (
    ("register", registrations.register),
    ("update", registrations.update),
    ("withdraw", registrations.withdraw),
    ("prove", proofs.prove),
    ("confirm", proofs.confirm),
    ("show", registrations.show),
    ("list", registrations.list_),
    ("import", bulk.import_),
    ("export", bulk.export),
    ("lookup", lookup),
    ("verify", verify),
    ("verify-fork", verify_fork),
    ("stats", stats),
    ("status", status),
    ("dns-check", dns_check),
    ("doctor", doctor),
    ("top", top),
):
    app.command(name, epilog=EXIT_CODES)(command)
app.add_typer(holder.app, name="holder")
app.add_typer(board.app, name="board")
app.add_typer(receiver.app, name="receiver")


def hoist(arguments: Sequence[str]) -> list[str]:
    """The arguments with the options of smtpnic itself before the command."""
    first: list[str] = []
    others: list[str] = []
    left = iter(arguments)
    for argument in left:
        name, equals, _ = argument.partition("=")
        if argument == "--":
            others.append(argument)
            break
        if argument in FLAGS or (equals and name in VALUED):
            first.append(argument)
        elif argument in VALUED:
            first += [argument, *(value for value in [next(left, None)] if value is not None)]
        else:
            others.append(argument)
    return [*first, *others, *left]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    # What gRPC would log to standard error is in the errors that it raises.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    hoisted = hoist(sys.argv[1:] if arguments is None else arguments)
    try:
        with _interruptible():
            app(args=hoisted, prog_name="smtpnic")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.OK
    except (Interrupted, Exception) as error:  # noqa: BLE001 - the outermost place
        code = code_of(error)
        if code == ExitCode.INTERNAL:
            traceback.print_exc()
        Output(as_json="--json" in hoisted).error(error, code)
        return code
    return ExitCode.OK


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into Interrupted, once: a second one is not waited for."""

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)
        raise Interrupted("interrupted")

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interrupt) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
