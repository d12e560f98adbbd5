"""smtpnic prove, confirm: what a person does elsewhere than where they register."""

from __future__ import annotations

from typing import Annotated

import typer

from registry.address import Address
from smtpnic.commands.arguments import AddressArgument
from smtpnic.session import Session

Token = Annotated[str, typer.Option(help="The token that `register` showed.")]
AnySource = Annotated[
    bool, typer.Option("--any-source", help="Connect from wherever this machine usually does.")
]
Letter = Annotated[str, typer.Argument(metavar="TOKEN", help="The token in the letter.")]


def prove(
    context: typer.Context, address: AddressArgument, *, token: Token, any_source: AnySource = False
) -> None:
    """Show that an address is yours: run it on the mail server. It connects from that address.

    While the registration is new, run it every hour (cron, or a systemd timer): the registry
    looks again at moments that nobody knows. That it is not needed now is no error.
    """
    session: Session = context.obj
    source = "" if any_source else str(Address.parse(address))
    seen = session.prove_address(session.settings(), source, token)
    session.output.values({"address": seen, "proved": True})


def confirm(context: typer.Context, token: Letter) -> None:
    """Confirm your e-mail address, with the token in the letter."""
    session: Session = context.obj
    with session.registering(session.settings()) as registering:
        address = registering.confirm_email(token)
    session.output.values({"confirmed": True, "address": address})
    session.output.note("Now go on where you began: the same command again.")
