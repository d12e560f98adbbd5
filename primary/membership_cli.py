"""`smtpnic-primary token ...` and `smtpnic-primary node ...`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from node.command_line import AsJson
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from primary import options
from primary.membership.values import Role
from primary.settings import PrimarySettings

tokens = typer.Typer(
    no_args_is_help=True,
    help="Tokens, with which mirrors join: one word that you send to a mirror's operator.",
)
nodes = typer.Typer(no_args_is_help=True, help="Nodes: who may follow the log.")

RoleOption = Annotated[
    Role, typer.Option(help="mirror: follows and cosigns; reader: follows alone.")
]
Operator = Annotated[str, typer.Option(metavar="TEXT", help="Whose it is, for you to remember.")]
Label = Annotated[str, typer.Argument(metavar="TOKEN", help="As listed, or the token itself.")]


@tokens.command("create")
def create(
    config: options.Config = options.DEFAULT_CONFIG,
    *,
    name: Annotated[str, typer.Option(help="What the node is called; else it chooses.")] = "",
    operator: Operator = "",
    role: RoleOption = Role.MIRROR,
    address: Annotated[
        list[str] | None,
        typer.Option(metavar="IP", help="The node's address; else the one that it comes from."),
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A DNS name of the node.")
    ] = None,
    expires: Annotated[str, typer.Option(metavar="TIME", help="Such as 30m, 12h, 7d.")] = "7d",
    at: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", help="Where it finds the primary to join, if not at public.listen."
        ),
    ] = "",
    upstream: options.Upstream = "",
    as_json: AsJson = False,
) -> None:
    """Makes a token and prints it, this once. It is good for one node.

    Send it to the mirror's operator by a way that others do not read. There:

    smtpnic-secondary join TOKEN DIR && smtpnic-secondary run -c DIR/secondary.toml

    The keys are made there and never leave. Who joins may follow the log; to be in the A record
    set is for the board to decide (`smtpnic board propose FILE admit NAME`).
    """
    from primary.membership import commands  # noqa: PLC0415
    from primary.pki import Names  # noqa: PLC0415

    text, ticket = commands.create_token(
        PrimarySettings.load(config),
        name=name,
        role=role,
        operator=operator,
        names=Names.parse(host or [], address or []) if address or host else None,
        life_ms=commands.parse_life(expires),
        at=_endpoint(at),
        upstream=_endpoint(upstream),
    )
    if as_json:
        typer.echo(json.dumps({"join": text, **commands.ticket_json(ticket)}, indent=2))
        return
    typer.echo(text)
    typer.echo(f"{commands.ticket_line(ticket)}; on the mirror:", err=True)
    typer.echo("  smtpnic-secondary join TOKEN DIR", err=True)


@tokens.command("list")
def list_tokens(
    config: options.Config = options.DEFAULT_CONFIG, *, as_json: AsJson = False
) -> None:
    """Shows the tokens: open, used and by whom, expired, revoked. None can be joined with."""
    from primary.membership import commands  # noqa: PLC0415

    found = commands.list_tokens(PrimarySettings.load(config))
    if as_json:
        typer.echo(json.dumps([commands.ticket_json(each) for each in found], indent=2))
    else:
        typer.echo("\n".join(map(commands.ticket_line, found)) or "no tokens")


@tokens.command("revoke")
def revoke(token: Label, config: options.Config = options.DEFAULT_CONFIG) -> None:
    """Nobody joins with it any more. Who has joined stays: see `node remove`."""
    from primary.membership import commands  # noqa: PLC0415

    ticket = commands.revoke_token(PrimarySettings.load(config), token)
    typer.echo(f"{ticket.label} is revoked")


@nodes.command("list")
def list_nodes(config: options.Config = options.DEFAULT_CONFIG, *, as_json: AsJson = False) -> None:
    """Shows who may follow and who may no more: role, last seen, end of the certificate."""
    from primary.membership import commands  # noqa: PLC0415

    found = commands.list_nodes(PrimarySettings.load(config))
    if as_json:
        typer.echo(json.dumps([commands.node_json(each) for each in found], indent=2))
    else:
        typer.echo("\n".join(map(commands.node_line, found)) or "no nodes")


@nodes.command("remove")
def remove(name: options.NodeName, config: options.Config = options.DEFAULT_CONFIG) -> None:
    """Cuts a follower off at once, and renews its certificate no more.

    A mirror that the board admitted is removed by the board alone. The name can join again with
    a new token.
    """
    from primary.membership import commands  # noqa: PLC0415

    commands.remove_node(PrimarySettings.load(config), name)
    typer.echo(f"{name} may follow no more")


@nodes.command("add")
def add(
    certificate: Annotated[Path, typer.Argument(metavar="CERTIFICATE", help="PEM.")],
    config: options.Config = options.DEFAULT_CONFIG,
    *,
    role: RoleOption = Role.MIRROR,
    operator: Operator = "",
) -> None:
    """Takes in a node whose certificate the authority made elsewhere (cert-manager).

    Name and key are the certificate's; whoever renews it has to keep the key.
    """
    from primary.membership import commands  # noqa: PLC0415

    node = commands.add_node(PrimarySettings.load(config), certificate, role, operator)
    typer.echo(f"{node.name} may follow")


@nodes.command("adopt")
def adopt(
    config: options.Config = options.DEFAULT_CONFIG,
    *,
    during: Annotated[str, typer.Option("--for", metavar="TIME", help="Such as 12h.")] = "7d",
) -> None:
    """For some time takes in every node whose certificate is good and whose name is not known.

    For a roll that was lost: `recover` does this by itself. Who was removed stays out.
    """
    from primary.membership import commands  # noqa: PLC0415

    commands.adopt_nodes(PrimarySettings.load(config), commands.parse_life(during))
    typer.echo(f"nodes with good certificates are taken in for {during}")


def _endpoint(text: str) -> Endpoint | None:
    try:
        return Endpoint.parse(text) if text else None
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
