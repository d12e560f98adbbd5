"""smtpnic-secondary: runs a mirror of the registry, and its parts one by one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from node.command_line import (
    AsJson,
    Ntp,
    new_program,
    run_program,
    tell_findings,
    warn_of_root,
)
from node.errors import ConfigurationError
from node.exits import ExitCode
from registry.board_text import format_time
from secondary import options
from secondary.options import DEFAULT_CONFIG, Config, UpstreamOption
from secondary.role_process import load, run_role
from secondary.settings import Role, SecondarySettings

EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed, 2 usage or settings, 3 the primary refuses, 4 no secondary, "
    "primary or etcd answers, 5 verification failed, 70 internal."
)

app = new_program(
    "smtpnic-secondary",
    "A secondary of the SMTP registry: it follows the log, and answers DNS and WHOIS.",
    EXIT_CODES,
)


@app.command(epilog=EXIT_CODES)
def join(
    token: options.Token,
    directory: options.Directory = options.HERE,
    *,
    name: options.Name = "",
    address: options.Addresses = None,
    host: options.Hosts = None,
    listen: options.Listen = "",
    http_address: options.HttpAddress = "",
    dns_port: options.Port = 5353,
    whois_port: options.Port = 4343,
    mirror_port: options.Port = 7443,
    log_port: options.Port = 7445,
    http_port: options.HttpPort = 7450,
    zone: options.Zone = "",
    etcd: options.Etcd = None,
    again: options.Again = False,
) -> None:
    """Makes this machine a mirror, with a token from the primary's operator.

    Keys are made here and never leave: one for TLS, one to cosign with. The primary is known by
    its authority's fingerprint in the token; it answers with a certificate, the board's root and
    where to follow. Then:

    smtpnic-secondary run -c DIR/secondary.toml

    If it fails half way, say the same again: the keys stay, and the token is not spent on another.
    """
    from node.mirror_settings import SETTINGS_NAME, Ports  # noqa: PLC0415
    from secondary import joining  # noqa: PLC0415

    parsed = joining.parse_token(_pasted(token))
    names = (*(address or ()), *(host or ()))
    ports = Ports(dns_port, whois_port, mirror_port, log_port, http_port)
    wish = joining.Wish(name, names, listen, http_address, ports, zone, tuple(etcd or ()))
    if again:
        joining.join_again(parsed, directory / SETTINGS_NAME, wish)
        typer.echo(f"{directory} has joined {parsed.origin} again, with a new key")
    else:
        path = joining.join(parsed, directory, wish)
        typer.echo(f"{directory} has joined {parsed.origin}; next:")
        typer.echo(f"  smtpnic-secondary run -c {path}")


def _pasted(token: str) -> str:
    """The token's text, which - stands for on standard input."""
    is_piped = token == "-"  # noqa: S105 - no token, but where it comes from
    return sys.stdin.read() if is_piped else token


@app.command(epilog=EXIT_CODES)
def run(config: Config = DEFAULT_CONFIG, *, upstream: UpstreamOption = "") -> None:
    """Runs everything on this machine until SIGTERM or SIGINT; then it drains and ends with 0.

    It starts an etcd of its own, unless the settings give endpoints, and the role processes,
    and starts again what ends.
    """
    from secondary.supervisor import run as run_supervisor  # noqa: PLC0415

    _follow(upstream)
    settings = load(config)
    warn_of_root()
    run_supervisor(settings, config.resolve())


@app.command(epilog=EXIT_CODES)
def follower(config: Config = DEFAULT_CONFIG, *, upstream: UpstreamOption = "") -> None:
    """Runs the role that follows the log and writes the replica in etcd."""
    _follow(upstream)
    run_role(Role.FOLLOWER, config)


@app.command(epilog=EXIT_CODES)
def dns(config: Config = DEFAULT_CONFIG) -> None:
    """Runs the role that answers DNS."""
    run_role(Role.DNS, config)


@app.command(epilog=EXIT_CODES)
def whois(config: Config = DEFAULT_CONFIG) -> None:
    """Runs the role that answers WHOIS."""
    run_role(Role.WHOIS, config)


@app.command(epilog=EXIT_CODES)
def status(config: Config = DEFAULT_CONFIG, *, as_json: AsJson = False) -> None:
    """Asks the running secondary how it stands, and says what to do if that is not well."""
    from secondary.services.status_client import get_status  # noqa: PLC0415
    from secondary.services.status_text import status_json, status_lines  # noqa: PLC0415

    found = get_status(SecondarySettings.load(config))
    typer.echo(
        status_json(found) if as_json else "\n".join(status_lines(found, time.time())),
    )


@app.command(epilog=EXIT_CODES)
def drain(config: Config = DEFAULT_CONFIG) -> None:
    """Asks that nobody be sent here, for work on this machine; it answers on meanwhile.

    The A record set takes it out as soon as it may, and `status` shows when; resolvers have
    forgotten its addresses 300 seconds later. It lasts until `undrain`, over restarts too.
    """
    from secondary.announcing import Drain  # noqa: PLC0415

    Drain(SecondarySettings.load(config).drain_file).begin()
    typer.echo("draining; 'smtpnic-secondary status' shows when the A record set has taken it out")


@app.command(epilog=EXIT_CODES)
def undrain(config: Config = DEFAULT_CONFIG) -> None:
    """Ends a drain: the A record set may send resolvers here again, once it is seen to be well."""
    from secondary.announcing import Drain  # noqa: PLC0415

    Drain(SecondarySettings.load(config).drain_file).end()
    typer.echo("not drained")


@app.command(epilog=EXIT_CODES)
def health(
    config: Config = DEFAULT_CONFIG,
    *,
    exabgp: Annotated[
        list[str] | None,
        typer.Option(metavar="PREFIX", help="Run as a process of ExaBGP, for this route."),
    ] = None,
    bird: Annotated[
        str | None,
        typer.Option(metavar="PROTOCOL", help="Enable and disable this protocol of BIRD."),
    ] = None,
    bird_socket: Annotated[
        str, typer.Option(metavar="PATH", help="BIRD's control socket; else where birdc looks.")
    ] = "",
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Whether this node should be sent queries: 0 if so, 1 and why if not. For anycast.

    It asks the node's own DNS server as a resolver would, and whether its operator drains it.
    With --exabgp or --bird it runs on, and has the route announced or withdrawn as that changes:
    after three looks in a row, after a drain at once, and at its own end.
    """
    from secondary.anycast import bird_protocol, exabgp_routes, watch  # noqa: PLC0415
    from secondary.health import why_not  # noqa: PLC0415

    settings = SecondarySettings.load(config)
    if exabgp and bird:
        raise ConfigurationError("give --exabgp or --bird, not both")
    if exabgp or bird:
        warn = partial(typer.echo, err=True)
        routes = exabgp_routes(exabgp, typer.echo) if exabgp else None
        watch(settings, every, routes or bird_protocol(bird or "", bird_socket, warn))
        return
    reason = why_not(settings)
    typer.echo(reason or "well")
    if reason:
        raise typer.Exit(ExitCode.FAILED)


@app.command(epilog=EXIT_CODES)
def preflight(config: Config = DEFAULT_CONFIG) -> None:
    """Checks etcd: version, limits, alarms, room. Exits 1, saying what to change, if it won't do.

    With endpoints it asks the cluster; otherwise the installed program, and its etcd if it runs.
    """
    from secondary.preflight import Verdict, check  # noqa: PLC0415

    is_good = True
    for finding in check(SecondarySettings.load(config)):
        typer.echo(f"{finding.verdict.value:<7} {finding.text}")
        is_good = is_good and finding.verdict is not Verdict.BAD
    if not is_good:
        raise typer.Exit(ExitCode.FAILED)


@app.command(epilog=EXIT_CODES)
def doctor(config: Config = DEFAULT_CONFIG, *, ntp: Ntp = "", as_json: AsJson = False) -> None:
    """Looks for what is wrong on this machine, running or not, and says what to do.

    Clock, disk, certificate, root, forks, ports, names, upstream, etcd, follower, DNS. Exits 1
    if anything has to be mended.
    """
    from secondary.doctor import checks  # noqa: PLC0415

    tell_findings(checks(SecondarySettings.load(config), ntp), as_json=as_json)


def _follow(upstream: str) -> None:
    """Put the option above the settings, for the role processes too."""
    if upstream:
        os.environ["SMTPNIC_SECONDARY_UPSTREAM"] = upstream


@app.command(epilog=EXIT_CODES)
def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="To be made.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Writes what this secondary holds to files, from which a lost primary is rebuilt.

    The secondary runs meanwhile. Send DIR to the board: everything in it is public, and signed.
    """
    from secondary.export import export as export_replica  # noqa: PLC0415

    position = export_replica(SecondarySettings.load(config), directory)
    typer.echo(f"{directory}: the log at size {position.checkpoint.size}")


@app.command(epilog=EXIT_CODES)
def extend(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="`extend staleness TIME`, signed by the board.")
    ],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Answers longer without the registry, as the board decided while the primary is lost.

    What runs here takes it up within seconds. A decision that is in the log needs no file.
    """
    from secondary.extending import extend as extend_staleness  # noqa: PLC0415

    until_s = extend_staleness(SecondarySettings.load(config), file, time.time())
    typer.echo(f"answers until {format_time(until_s)}, whatever is heard from the registry")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    return run_program(app, arguments)
