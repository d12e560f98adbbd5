"""smtpnic holder: who registers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.errors import ConfigurationError
from registry.errors import Problem
from smtpnic.commands.listing import AllPages, PageSize, PageToken, list_pages
from smtpnic.contact import ContactOptions, FieldName, changed_contact, new_contact
from smtpnic.errors import EXIT_CODES, UnreachableError
from smtpnic.holder_key import (
    HolderKey,
    find_key_file,
    is_holder_id,
    own_key_files,
    usual_path,
)
from smtpnic.presentation import holder_values, receipt_values
from smtpnic.session import Session

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Who registers: create, update, withdraw, show, list.",
)

_NAME = typer.Option(help="Name of the person or organisation.")
_POSTAL_ADDRESS = typer.Option(help="Postal address, on one line.")
_EMAIL = typer.Option(help="E-mail address.")
_TELEPHONE = typer.Option(help="Telephone number: +41 44 668 18 00.")
Public = Annotated[
    list[FieldName] | None,
    typer.Option(help="Let anyone read this field, in WHOIS too. May be repeated."),
]
Private = Annotated[
    list[FieldName] | None, typer.Option(help="Show this field no longer. May be repeated.")
]
HolderId = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="A holder's identifier; else your own.")
]
Mine = Annotated[bool, typer.Option("--mine", help="Those whose key is on this machine.")]

WITHDRAWN_SUFFIX = ".withdrawn"


@app.command(epilog=EXIT_CODES)
def create(
    context: typer.Context,
    *,
    name: Annotated[str, _NAME],
    postal_address: Annotated[str, _POSTAL_ADDRESS],
    email: Annotated[str, _EMAIL],
    telephone: Annotated[str, _TELEPHONE],
    public: Public = None,
) -> None:
    """Create a holder, and the management key that every change of yours needs.

    All four contact fields have to be given. They are private unless shown with --public.
    The key goes into a file that only you can read: ~/.config/smtpnic/holders/ID.json, or
    that of --holder. Keep a copy: nobody can give it to you again.
    """
    session: Session = context.obj
    settings = session.settings()
    values = _given(name, postal_address, email, telephone)
    contact = new_contact(ContactOptions(values, public or ()))
    # The holder of the configuration file is another, made before.
    key, path, is_new = _key_to_create(str(session.options.get("holder") or ""))
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
    name: Annotated[str | None, _NAME] = None,
    postal_address: Annotated[str | None, _POSTAL_ADDRESS] = None,
    email: Annotated[str | None, _EMAIL] = None,
    telephone: Annotated[str | None, _TELEPHONE] = None,
    public: Public = None,
    private: Private = None,
) -> None:
    """Change your contact. What is public stays unless you change it.

    An update replaces the whole contact, and the registry tells nobody what is private:
    give each private field again.
    """
    session: Session = context.obj
    settings = session.settings()
    options = ContactOptions(
        _given(name, postal_address, email, telephone), public or (), private or ()
    )
    key = session.holder_key(settings)
    with session.primary(settings) as primary:
        view = primary.get_holder(key.holder_id)
        receipt = primary.update_holder(key, changed_contact(view, options), view.version)
    session.output.values(
        {"holder": key.holder_id.hex(), **receipt_values(receipt, session.keys(settings))}
    )


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


def _given(
    name: str | None, postal_address: str | None, email: str | None, telephone: str | None
) -> dict[FieldName, str]:
    values = (name, postal_address, email, telephone)
    return {
        field: value for field, value in zip(FieldName, values, strict=True) if value is not None
    }


def _key_to_create(chosen: str) -> tuple[HolderKey, Path, bool]:
    """The key, its file, and whether it is new: an existing one has its creation finished."""
    if chosen and find_key_file(chosen).exists():
        path = find_key_file(chosen)
        return HolderKey.load(path), path, False
    if is_holder_id(chosen):
        raise ConfigurationError(f"there is no key of holder {chosen} on this machine")
    key = HolderKey.generate()
    path = Path(chosen) if chosen else usual_path(key.holder_id)
    # Before the registry knows of it: an acknowledged holder never lacks its key.
    key.save(path)
    return key, path, True


def _own_identifier(session: Session, chosen: str) -> str:
    if is_holder_id(chosen):
        return chosen
    return session.holder_key(session.settings()).holder_id.hex()


def _identifier(text: str) -> bytes:
    if not is_holder_id(text):
        raise ConfigurationError(f"{text!r} is no holder's identifier: 32 hexadecimal digits")
    return bytes.fromhex(text)
