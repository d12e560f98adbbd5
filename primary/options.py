"""The options and arguments of smtpnic-primary's commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from node.command_line import config_option

Config = Annotated[Path, config_option("SMTPNIC_PRIMARY_CONFIG")]
DEFAULT_CONFIG: Final = Path("primary.toml")

# Of a primary to be.
NewDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="New or empty.")]
Origin = Annotated[str, typer.Option(help="The log's name, for ever: the registry's domain.")]
PrimaryHosts = Annotated[
    list[str] | None, typer.Option(help="A DNS name of this machine, for its certificate.")
]
PrimaryAddresses = Annotated[
    list[str] | None, typer.Option(help="An IP address of this machine, likewise.")
]
PublicListen = Annotated[str, typer.Option(metavar="HOST:PORT", help="Where registration listens.")]
NodesListen = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Where secondaries follow the log.")
]
HttpListen = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Metrics and health; keep it private.")
]
LogListen = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="The log for anyone's tools, over plain HTTP.")
]
StoreUrl = Annotated[
    str, typer.Option(metavar="URL", help="postgresql://... instead of an SQLite file.")
]
RootFile = Annotated[Path, typer.Argument(metavar="FILE", help="A root, signed.")]
OptionalRootFile = Annotated[
    Path | None, typer.Option("--root", metavar="FILE", help="The next root, signed.")
]
Exports = Annotated[list[Path], typer.Argument(metavar="DIR...", help="What mirrors exported.")]
BackedUp = Annotated[
    bool, typer.Option("--backed-up", help="The database was copied; make no copy of it here.")
]
BackupUrl = Annotated[
    str, typer.Option("--backup", metavar="URL", help="An older copy of the database.")
]
BoardFile = Annotated[
    Path | None,
    typer.Option(
        "--board", metavar="FILE", help="From 'smtpnic board init': who signs the root, k of n."
    ),
]
Lab = Annotated[bool, typer.Option("--lab", help="Register addresses that are not public, too.")]

# Of a node that is enrolled.
NodeName = Annotated[str, typer.Argument(metavar="NAME", help="One label, such as zurich-1.")]
NodeAddresses = Annotated[
    list[str], typer.Option(help="The node's IP address; it listens on the first.")
]
NodeDirectory = Annotated[Path, typer.Option(metavar="DIR", help="New or empty.")]
NodeHosts = Annotated[list[str] | None, typer.Option(help="A DNS name of the node.")]
NodeListen = Annotated[
    str, typer.Option(metavar="IP", help="Listen there instead: 0.0.0.0 in a container.")
]
Upstream = Annotated[
    str,
    typer.Option(metavar="HOST:PORT", help="Where it finds the primary, if not at nodes.listen."),
]
Zone = Annotated[str, typer.Option(help="The zone it answers (default: the origin).")]
EtcdEndpoints = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST:PORT", help="An etcd cluster; none: one of its own."),
]
Port = Annotated[int, typer.Option(min=1, max=65535)]
FirstHttpPort = Annotated[
    int, typer.Option(min=1, max=65533, help="Metrics: this port and the next two.")
]
ReadingPort = Annotated[
    int, typer.Option(min=1, max=65535, help="The log for anyone's tools, over plain HTTP.")
]
RelayPort = Annotated[
    int, typer.Option(min=1, max=65535, help="Where other secondaries may follow this one.")
]
NodeHttpAddress = Annotated[str, typer.Option(metavar="IP", help="Metrics (default: loopback).")]
