"""smtpnic register, update, withdraw, show, list: single mail servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.exits import ExitCode
from registry.address import Address
from registry.contact import ContactValue
from registry.errors import Problem
from smtpnic.commands.applying import Watch, application_values, go_on
from smtpnic.commands.arguments import (
    AddressArgument,
    Email,
    Name,
    PostalAddress,
    Public,
    Telephone,
)
from smtpnic.commands.listing import AllPages, PageSize, PageToken, list_pages
from smtpnic.commands.lookup import answer_values, answers_exit_code, dns_servers
from smtpnic.contact import ContactOptions, contact_given, new_contact
from smtpnic.errors import PROOF_REQUIRED
from smtpnic.holder_key import HolderKey, is_holder_id, key_to_create, own_key_files
from smtpnic.presentation import receipt_values, registration_values
from smtpnic.session import Session
from smtpnic.settings import Settings
from smtpnic.views import Receipt

if TYPE_CHECKING:
    from smtpnic.receiver import Answer

Host = Annotated[str, typer.Option(help="Its host name, if its PTR record gives several.")]
Domain = Annotated[
    str, typer.Option(help="Its domain, if that is not what stands behind the first label.")
]
InsteadOf = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Then withdraw this one: the server has moved.")
]
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
    *,
    host: Host = "",
    domain: Domain = "",
    name: Name = None,
    postal_address: PostalAddress = None,
    email: Email = None,
    telephone: Telephone = None,
    public: Public = None,
    instead_of: InsteadOf = "",
    watch: Watch = False,
    wait: Wait = False,
) -> None:
    """Register a mail server, step by step. Doing it again goes on, or changes nothing.

    The registry looks the names up, and asks for a TXT record in your domain, a sign that the
    address is yours, and for a new holder a letter to be answered. What is left to do is shown.
    The first time, give the contact of the holder too: a key is made, and shown once.

    Exit code 1: something is left to do.
    """
    session: Session = context.obj
    settings = session.settings()
    servers = dns_servers(settings) if wait else []
    given = contact_given(name, postal_address, email, telephone)
    key, contact = _holder(session, settings, ContactOptions(given, public or ()))
    if instead_of:
        _check_own(session, settings, key, instead_of)
    receipt = None
    values: dict[str, object] = {"address": address}
    if host and domain and not contact:
        receipt = _register_directly(session, settings, key, (address, host, domain))
    if receipt is None:
        with session.registering(settings) as desk:
            view = go_on(
                session.output,
                desk.begin(key, address, host, domain, contact),
                lambda view: desk.check(view.application_id, key),
                watch=watch,
            )
        receipt, values = view.receipt, application_values(view, session.output)
    if receipt is None:
        session.output.values(values)
        raise typer.Exit(ExitCode.FAILED)
    if instead_of:
        with session.primary(settings) as primary:
            primary.withdraw(key, instead_of)
        values["withdrawn"] = instead_of
    _show_registered(
        session, settings, {**values, **receipt_values(receipt, session.keys(settings))}, servers
    )


def _check_own(session: Session, settings: Settings, key: HolderKey, address: str) -> None:
    """Before all is shown for a move that cannot end; Problem "not_yours"."""
    with session.primary(settings) as primary:
        holder_id = primary.get(address).registration.holder_id
    if holder_id != key.holder_id:
        raise Problem("not_yours", f"{address} is registered by another holder", "instead_of")


def _show_registered(
    session: Session, settings: Settings, values: dict[str, object], servers: list[Endpoint]
) -> None:
    """Shows the receipt, and how long each of the DNS servers, if there are any, takes."""
    if not servers:
        session.output.values(values)
        return
    answers = _wait_in_dns(servers, str(values["address"]), settings)
    if not session.output.as_json:
        session.output.values(values)
    rows = [answer_values(answer) for answer in answers]
    session.output.table("answers", rows, **values)
    raise typer.Exit(answers_exit_code(answers))


def _register_directly(
    session: Session, settings: Settings, key: HolderKey, names: tuple[str, str, str]
) -> Receipt | None:
    """The receipt of a registry that asks for no proofs; None if it does."""
    with session.primary(settings) as primary:
        try:
            return primary.register(key, *names)
        except Problem as problem:
            if problem.code != PROOF_REQUIRED:
                raise
    return None


def _holder(
    session: Session, settings: Settings, options: ContactOptions
) -> tuple[HolderKey, list[ContactValue]]:
    """Whose mail server it is to be: a holder that there is, or one to be, with its contact."""
    contact = new_contact(options) if options.values else []
    if not contact or (not settings.holder and own_key_files()):
        return session.holder_key(settings), contact
    key, path, is_new = key_to_create(settings.holder)
    if is_new:
        session.output.note(f"Your management key is in {path}; it is shown once, so keep a copy:")
        session.output.note(key.management_key.hex())
    return key, contact


def _wait_in_dns(servers: list[Endpoint], address: str, settings: Settings) -> list[Answer]:
    from smtpnic.receiver import wait_registered  # noqa: PLC0415

    return wait_registered(servers, Address.parse(address), settings.zone, settings.timeout)


def update(
    context: typer.Context,
    address: AddressArgument,
    *,
    host: NewHost = None,
    domain: NewDomain = None,
    watch: Watch = False,
) -> None:
    """Change the host name or the domain of a registered mail server.

    Where the registry asks for proofs they are shown again, as for `register`.
    """
    session: Session = context.obj
    if host is None and domain is None:
        raise ConfigurationError("nothing to change: give --host, --domain or both")
    settings = session.settings()
    key = session.holder_key(settings)
    with session.primary(settings) as primary:
        view = primary.get(address)
        new_host = view.registration.host if host is None else host
        new_domain = view.registration.domain if domain is None else domain
        try:
            receipt = primary.update(key, address, new_host, new_domain, view.version)
        except Problem as problem:
            if problem.code != PROOF_REQUIRED:
                raise
            register(context, address, host=new_host, domain=new_domain, watch=watch)
            return
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
