"""smtpnic register, update, withdraw, show, list: single mail servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from registry.address import Address
from smtpnic.commands.arguments import AddressArgument
from smtpnic.commands.listing import AllPages, PageSize, PageToken, list_pages
from smtpnic.commands.lookup import answer_values, answers_exit_code, dns_servers
from smtpnic.holder_key import is_holder_id
from smtpnic.presentation import receipt_values, registration_values
from smtpnic.session import Session
from smtpnic.settings import Settings

if TYPE_CHECKING:
    from smtpnic.receiver import Answer

Host = Annotated[str, typer.Option(help="Its host name, which its PTR record gives.")]
Domain = Annotated[str, typer.Option(help="The domain that the host belongs to.")]
NewHost = Annotated[str | None, typer.Option(help="The new host name.")]
NewDomain = Annotated[str | None, typer.Option(help="The new domain.")]
Of = Annotated[
    str, typer.Option("--of", metavar="ID", help="Only those of the holder with this identifier.")
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Then wait until the DNS servers answer with it, and show how long each took.",
    ),
]
Mine = Annotated[bool, typer.Option("--mine", help="Only your own (--holder chooses).")]


def register(
    context: typer.Context,
    address: AddressArgument,
    host: Host,
    domain: Domain,
    *,
    wait: Wait = False,
) -> None:
    """Register a mail server. Doing it again changes nothing."""
    session: Session = context.obj
    settings = session.settings()
    key = session.holder_key(settings)
    servers = dns_servers(settings) if wait else []
    with session.primary(settings) as primary:
        receipt = primary.register(key, address, host, domain)
        answers = _wait_in_dns(servers, address, settings) if wait else []
    values = {"address": address, **receipt_values(receipt, session.keys(settings))}
    if not wait:
        session.output.values(values)
        return
    if not session.output.as_json:
        session.output.values(values)
    rows = [answer_values(answer) for answer in answers]
    session.output.table("answers", rows, **values)
    raise typer.Exit(answers_exit_code(answers))


def _wait_in_dns(servers: list[Endpoint], address: str, settings: Settings) -> list[Answer]:
    from smtpnic.receiver import wait_registered  # noqa: PLC0415

    return wait_registered(servers, Address.parse(address), settings.zone, settings.timeout)


def update(
    context: typer.Context,
    address: AddressArgument,
    *,
    host: NewHost = None,
    domain: NewDomain = None,
) -> None:
    """Change the host name or the domain of a registered mail server."""
    session: Session = context.obj
    if host is None and domain is None:
        raise ConfigurationError("nothing to change: give --host, --domain or both")
    settings = session.settings()
    key = session.holder_key(settings)
    with session.primary(settings) as primary:
        view = primary.get(address)
        receipt = primary.update(
            key,
            address,
            view.registration.host if host is None else host,
            view.registration.domain if domain is None else domain,
            view.version,
        )
    session.output.values({"address": address, **receipt_values(receipt, session.keys(settings))})


def withdraw(context: typer.Context, address: AddressArgument) -> None:
    """Withdraw a mail server from the register."""
    session: Session = context.obj
    settings = session.settings()
    key = session.holder_key(settings)
    with session.primary(settings) as primary:
        receipt = primary.withdraw(key, address)
    session.output.values({"address": address, **receipt_values(receipt, session.keys(settings))})


def show(context: typer.Context, address: AddressArgument) -> None:
    """Show a registration, as the primary has it. Exit code 1: not registered."""
    session: Session = context.obj
    with session.primary(session.settings()) as primary:
        session.output.values(registration_values(primary.get(address)))


def list_(
    context: typer.Context,
    *,
    page_size: PageSize = 100,
    page_token: PageToken = "",
    all_pages: AllPages = False,
    of: Of = "",
    mine: Mine = False,
) -> None:
    """List registrations by address, a page at a time. `export` writes them to a file."""
    session: Session = context.obj
    settings = session.settings()
    holder_id = holder_filter(session, of, mine=mine)
    with session.primary(settings) as primary:
        list_pages(
            session.output,
            "registrations",
            lambda token: primary.registrations(page_size, token, holder_id),
            registration_values,
            page_token,
            all_pages=all_pages,
        )


def holder_filter(session: Session, of: str, *, mine: bool) -> bytes:
    """The holder that --of or --mine means; empty for every holder."""
    if of and not is_holder_id(of):
        raise ConfigurationError(f"--of {of}: a holder's identifier has 32 hexadecimal digits")
    if mine and not of:
        return session.holder_key(session.settings()).holder_id
    return bytes.fromhex(of)
