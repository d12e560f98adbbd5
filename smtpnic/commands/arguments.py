"""Arguments that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

AddressArgument = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="IPv4 or IPv6 address of the mail server.")
]
