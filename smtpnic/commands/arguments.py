"""Arguments that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

from smtpnic.contact import FieldName

AddressArgument = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="IPv4 or IPv6 address of the mail server.")
]

_NAME = typer.Option(help="Name of the person or organisation.")
_POSTAL_ADDRESS = typer.Option(help="Postal address, on one line.")
_EMAIL = typer.Option(help="E-mail address.")
_TELEPHONE = typer.Option(help="Telephone number: +41 44 668 18 00.")

Name = Annotated[str | None, _NAME]
PostalAddress = Annotated[str | None, _POSTAL_ADDRESS]
Email = Annotated[str | None, _EMAIL]
Telephone = Annotated[str | None, _TELEPHONE]
RequiredName = Annotated[str, _NAME]
RequiredPostalAddress = Annotated[str, _POSTAL_ADDRESS]
RequiredEmail = Annotated[str, _EMAIL]
RequiredTelephone = Annotated[str, _TELEPHONE]
Public = Annotated[
    list[FieldName] | None,
    typer.Option(help="Let anyone read this field, in WHOIS too. May be repeated."),
]
