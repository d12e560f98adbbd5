"""What the commands of smtpnic-secondary take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from node.command_line import config_option

DEFAULT_CONFIG: Final = Path("secondary.toml")
HERE: Final = Path()

Config = Annotated[Path, config_option("SMTPNIC_SECONDARY_CONFIG")]
UpstreamOption = Annotated[
    str,
    typer.Option(
        "--upstream",
        metavar="HOST:PORT",
        help="Follow this node instead of the settings' own: the primary, or another secondary.",
    ),
]

# Of `join`.
Token = Annotated[
    str,
    typer.Argument(metavar="TOKEN", help="From the primary; - reads it from standard input."),
]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="New or empty.")]
Name = Annotated[str, typer.Option(help="What this mirror is called, if the token leaves it open.")]
Addresses = Annotated[
    list[str] | None,
    typer.Option(metavar="IP", help="For the certificate; one that the token allows."),
]
Hosts = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Likewise.")]
Listen = Annotated[
    str,
    typer.Option(metavar="IP", help="Where services listen: the mirror's address, or 0.0.0.0."),
]
HttpAddress = Annotated[
    str, typer.Option(metavar="IP", help="Metrics; loopback unless told otherwise.")
]
Port = Annotated[int, typer.Option(min=1, max=65535)]
HttpPort = Annotated[
    int, typer.Option(min=1, max=65533, help="Metrics: this port and the next two.")
]
Zone = Annotated[str, typer.Option(help="The zone to answer; the registry's own.")]
Etcd = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST:PORT", help="An etcd cluster; none: one of its own."),
]
Again = Annotated[
    bool,
    typer.Option("--again", help="DIR is a mirror already: give it a new key, keep the rest."),
]
