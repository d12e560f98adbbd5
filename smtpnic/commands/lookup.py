"""smtpnic lookup: what a receiving mail server would find."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from node.endpoint import Endpoint
from node.exits import ExitCode
from registry.address import Address
from smtpnic.commands.arguments import AddressArgument
from smtpnic.session import Session
from smtpnic.settings import Settings

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
    from smtpnic.receiver import ask_all  # noqa: PLC0415

    session: Session = context.obj
    settings = session.settings(dns_servers=server or None, zone=zone)
    parsed = Address.parse(address)
    answers = ask_all(dns_servers(settings), parsed, settings.zone, settings.timeout)
    rows = [answer_values(answer) for answer in answers]
    session.output.table("answers", rows, address=str(parsed))
    raise typer.Exit(answers_exit_code(answers))


def dns_servers(settings: Settings) -> list[Endpoint]:
    """The DNS servers of the settings, else this machine's resolvers."""
    # dnspython takes a third of a second to load.
    from smtpnic.receiver import parse_server, system_servers  # noqa: PLC0415

    return [parse_server(text) for text in settings.dns_servers] or system_servers()


def answer_values(answer: Answer) -> dict[str, object]:
    """One server's answer, as it is printed."""
    return {
        **asdict(answer),
        "server": str(answer.server),
        "finding": str(answer.finding),
        "texts": list(answer.texts),
        "milliseconds": round(answer.milliseconds, 1),
    }


def answers_exit_code(answers: list[Answer]) -> ExitCode:
    """What the answers come to: a failure outweighs a "not registered"."""
    from node.finding import Finding  # noqa: PLC0415

    findings = {answer.finding for answer in answers}
    if Finding.FAILURE in findings:
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED if Finding.NOT_REGISTERED in findings else ExitCode.OK
