"""smtpnic holder: who registers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.errors import ConfigurationError
from node.exits import ExitCode
from registry.errors import Problem
from smtpnic.commands.applying import Watch, finding_rows, go_on
from smtpnic.commands.arguments import (
    Email,
    Name,
    PostalAddress,
    Public,
    RequiredEmail,
    RequiredName,
    RequiredPostalAddress,
    RequiredTelephone,
    Telephone,
)
from smtpnic.commands.listing import AllPages, PageSize, PageToken, list_pages
from smtpnic.contact import (
    ContactOptions,
    FieldName,
    changed_contact,
    contact_given,
    new_contact,
)
from smtpnic.errors import EXIT_CODES, PROOF_REQUIRED, UnreachableError
from smtpnic.holder_key import (
    HolderKey,
    find_key_file,
    is_holder_id,
    key_to_create,
    own_key_files,
    recovery_path,
    usual_path,
)
from smtpnic.presentation import holder_values, receipt_values
from smtpnic.session import Session
from smtpnic.views import ApplicationView

if TYPE_CHECKING:
    from smtpnic.client import Registering

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Who registers: create, update, recover, withdraw, show, list.",
)

Private = Annotated[
    list[FieldName] | None, typer.Option(help="Show this field no longer. May be repeated.")
]
HolderId = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="A holder's identifier; else your own.")
]
LostHolder = Annotated[str, typer.Argument(metavar="ID", help="The holder's identifier.")]
LostDomain = Annotated[
    str, typer.Argument(metavar="DOMAIN", help="A domain of which it has a mail server.")
]
Mine = Annotated[bool, typer.Option("--mine", help="Those whose key is on this machine.")]

WITHDRAWN_SUFFIX = ".withdrawn"


@app.command(epilog=EXIT_CODES)
def create(
    context: typer.Context,
    *,
    name: RequiredName,
    postal_address: RequiredPostalAddress,
    email: RequiredEmail,
    telephone: RequiredTelephone,
    public: Public = None,
) -> None:
    """Create a holder, and the management key that every change of yours needs.

    All four contact fields have to be given. They are private unless shown with --public.
    The key goes into a file that only you can read: ~/.config/smtpnic/holders/ID.json, or
    that of --holder. Keep a copy: nobody can give it to you again.
    """
    session: Session = context.obj
    settings = session.settings()
    values = contact_given(name, postal_address, email, telephone)
    contact = new_contact(ContactOptions(values, public or ()))
    # The holder of the configuration file is another, made before.
    key, path, is_new = key_to_create(str(session.options.get("holder") or ""))
    with session.primary(settings) as primary:
        try:
            receipt = primary.create_holder(key, contact)
        except Problem:
            if is_new:
                path.unlink(missing_ok=True)
            raise
        except UnreachableError:
            session.output.note(f"The key is kept: to go on, create again with --holder {path}")
            raise
    session.output.values(
        {
            "holder": key.holder_id.hex(),
            "management_key": key.management_key.hex(),
            "key_file": str(path),
            **receipt_values(receipt, session.keys(settings)),
        }
    )
    session.output.note("This is the only time that the key is shown: copy it, or the key file.")


@app.command(epilog=EXIT_CODES)
def update(
    context: typer.Context,
    *,
    name: Name = None,
    postal_address: PostalAddress = None,
    email: Email = None,
    telephone: Telephone = None,
    public: Public = None,
    private: Private = None,
    watch: Watch = False,
) -> None:
    """Change your contact. What is public stays unless you change it.

    An update replaces the whole contact, and the registry tells nobody what is private:
    give each private field again. A new e-mail address has to be confirmed first.
    """
    session: Session = context.obj
    settings = session.settings()
    options = ContactOptions(
        contact_given(name, postal_address, email, telephone), public or (), private or ()
    )
    key = session.holder_key(settings)
    with session.primary(settings) as primary:
        holder = primary.get_holder(key.holder_id)
        contact = changed_contact(holder, options)
        try:
            receipt = primary.update_holder(key, contact, holder.version)
        except Problem as problem:
            if problem.code != PROOF_REQUIRED:
                raise
            _apply(session, key, lambda desk: desk.begin_contact(key, contact), watch=watch)
            return
    session.output.values(
        {"holder": key.holder_id.hex(), **receipt_values(receipt, session.keys(settings))}
    )


@app.command(epilog=EXIT_CODES)
def recover(
    context: typer.Context, holder_id: LostHolder, domain: LostDomain, *, watch: Watch = False
) -> None:
    """Replace a lost management key: by a TXT record in a domain of yours, and your mailbox.

    A new key is made, and kept in the usual file or that of --holder; the same command goes on
    with it. Exit code 1: something is left to do.
    """
    session: Session = context.obj
    identifier = _identifier(holder_id)
    path = Path(str(session.options.get("holder") or recovery_path(identifier)))
    if not path.exists():
        HolderKey(identifier, HolderKey.generate().management_key).save(path)
    key = HolderKey.load(path)
    _apply(session, key, lambda desk: desk.begin_recovery(key, domain), watch=watch)
    if path == recovery_path(identifier):
        path.replace(usual_path(identifier))


def _apply(
    session: Session,
    key: HolderKey,
    begin: Callable[[Registering], ApplicationView],
    *,
    watch: bool,
) -> None:
    """Applies, shows how it stands, and exits with 1 while something is left to do."""
    settings = session.settings()
    with session.registering(settings) as desk:
        # A recovery is kept only once its record stands: beginning again is a look, too.
        view = go_on(session.output, begin(desk), lambda _: begin(desk), watch=watch)
    values: dict[str, object] = {"holder": key.holder_id.hex()}
    if session.output.as_json:
        values |= {"granted": view.receipt is not None, "findings": finding_rows(view)}
    if view.receipt is not None:
        values |= receipt_values(view.receipt, session.keys(settings))
    session.output.values(values)
    if view.receipt is None:
        raise typer.Exit(ExitCode.FAILED)


@app.command(epilog=EXIT_CODES)
def withdraw(context: typer.Context) -> None:
    """Withdraw your holder, once it has no registrations; its contact is erased everywhere.

    The key file gets the suffix .withdrawn.
    """
    session: Session = context.obj
    settings = session.settings()
    path = find_key_file(settings.holder)
    key = HolderKey.load(path)
    with session.primary(settings) as primary:
        receipt = primary.withdraw_holder(key)
    path.rename(path.with_name(path.name + WITHDRAWN_SUFFIX))
    session.output.values(
        {"holder": key.holder_id.hex(), **receipt_values(receipt, session.keys(settings))}
    )


@app.command(epilog=EXIT_CODES)
def show(context: typer.Context, holder_id: HolderId = None) -> None:
    """Show a holder: its public contact, and which fields are private."""
    session: Session = context.obj
    settings = session.settings()
    identifier = _identifier(holder_id or _own_identifier(session, settings.holder))
    with session.primary(settings) as primary:
        session.output.values(holder_values(primary.get_holder(identifier)))


@app.command("list", epilog=EXIT_CODES)
def list_(
    context: typer.Context,
    *,
    page_size: PageSize = 100,
    page_token: PageToken = "",
    all_pages: AllPages = False,
    mine: Mine = False,
) -> None:
    """List the holders, a page at a time, or those whose key is on this machine."""
    session: Session = context.obj
    if mine:
        rows = [{"holder": path.stem, "key_file": str(path)} for path in own_key_files()]
        session.output.table("holders", rows)
        return
    with session.primary(session.settings()) as primary:
        list_pages(
            session.output,
            "holders",
            lambda token: primary.holders(page_size, token),
            holder_values,
            page_token,
            all_pages=all_pages,
        )


def _own_identifier(session: Session, chosen: str) -> str:
    if is_holder_id(chosen):
        return chosen
    return session.holder_key(session.settings()).holder_id.hex()


def _identifier(text: str) -> bytes:
    if not is_holder_id(text):
        raise ConfigurationError(f"{text!r} is no holder's identifier: 32 hexadecimal digits")
    return bytes.fromhex(text)
