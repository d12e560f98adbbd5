"""smtpnic lookup: what a receiving mail server would find."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from node.exits import ExitCode
from registry.address import Address
from smtpnic.commands.registrations import AddressArgument
from smtpnic.session import Session

if TYPE_CHECKING:
    from smtpnic.receiver import Answer

Servers = Annotated[
    list[str] | None,
    typer.Option("--server", metavar="IP:PORT", help="A DNS server to ask. May be repeated."),
]
Zone = Annotated[str | None, typer.Option(help="The registry's zone (default: smtpnic.org).")]


def lookup(
    context: typer.Context, address: AddressArgument, *, server: Servers = None, zone: Zone = None
) -> None:
    """Look an address up in DNS, the way a receiving mail server does.

    Asks the DNS servers given, else those of the configuration, else the resolvers of this
    machine. Exit code 0: registered; 1: not registered; 4: some server failed to answer.
    """
    # dnspython takes a third of a second to load.
    from smtpnic.receiver import ask_all, parse_server, system_servers  # noqa: PLC0415

    session: Session = context.obj
    settings = session.settings(dns_servers=server or None, zone=zone)
    parsed = Address.parse(address)
    servers = [parse_server(text) for text in settings.dns_servers] or system_servers()
    answers = ask_all(servers, parsed, settings.zone, settings.timeout)
    session.output.table("answers", [_values(answer) for answer in answers], address=str(parsed))
    raise typer.Exit(_exit_code(answers))


def _values(answer: Answer) -> dict[str, object]:
    return {
        **asdict(answer),
        "server": str(answer.server),
        "finding": str(answer.finding),
        "texts": list(answer.texts),
        "milliseconds": round(answer.milliseconds, 1),
    }


def _exit_code(answers: list[Answer]) -> ExitCode:
    from smtpnic.receiver import Finding  # noqa: PLC0415

    findings = {answer.finding for answer in answers}
    if Finding.FAILURE in findings:
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED if Finding.NOT_REGISTERED in findings else ExitCode.OK
