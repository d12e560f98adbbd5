"""smtpnic-primary: founds, runs and looks after a registry's primary."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.exits import ExitCode, exit_code
from primary.settings import PrimarySettings
from registry.errors import RegistryError

EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 refused to start or failed, 2 usage or settings, 3 not possible as "
    "asked, 4 no primary answers, 5 verification failed, 70 internal."
)

Config = Annotated[
    Path,
    typer.Option(
        "--config", "-c", metavar="FILE", envvar="SMTPNIC_PRIMARY_CONFIG", help="Settings."
    ),
]
DEFAULT_CONFIG: Final = Path("primary.toml")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(
    name="smtpnic-primary",
    help="The primary of the SMTP registry: it keeps the log, signs it, and streams it.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"smtpnic-primary {version('smtp-registry')}")
        raise typer.Exit


@app.callback()
def smtpnic_primary(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show it, and end."),
    ] = False,
) -> None:
    """The primary of the SMTP registry: it keeps the log, signs it, and streams it."""


@app.command(epilog=EXIT_CODES)
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty.")],
    *,
    origin: Annotated[str, typer.Option(help="The log's name, for ever: the registry's domain.")],
    name: Annotated[
        list[str] | None, typer.Option(help="A DNS name of this machine, for its certificate.")
    ] = None,
    address: Annotated[
        list[str] | None, typer.Option(help="An IP address of this machine, likewise.")
    ] = None,
    public: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where registration listens.")
    ] = "127.0.0.1:7441",
    nodes: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where secondaries follow the log.")
    ] = "127.0.0.1:7442",
    http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Metrics and health; keep it private.")
    ] = "127.0.0.1:7440",
    store: Annotated[
        str, typer.Option(metavar="URL", help="postgresql://... instead of an SQLite file.")
    ] = "",
    lab: Annotated[
        bool, typer.Option("--lab", help="Register addresses that are not public, too.")
    ] = False,
) -> None:
    """Founds a registry: keys, authority, certificate, database and first checkpoint.

    Writes DIR/primary.toml, the private keys (readable by their owner only), the node authority
    and an empty log whose first checkpoint is signed. DIR must be new or empty: nothing is ever
    overwritten. Keep a copy of log.key, freshness.key and ca.key offline: a lost log key ends
    the log.
    """
    from primary.founding import Plan, found  # noqa: PLC0415
    from primary.pki import Names  # noqa: PLC0415

    plan = Plan(
        origin,
        Names.parse(name or ["localhost"], address or ["127.0.0.1"]),
        _endpoint(public),
        _endpoint(nodes),
        _endpoint(http),
        store,
        lab,
    )
    settings = found(directory, plan)
    config = directory / "primary.toml"
    typer.echo(f"log key        {settings.log_key}")
    typer.echo(f"freshness key  {settings.freshness_key}")
    typer.echo("\nNext:")
    typer.echo(f"  smtpnic-primary run -c {config}")
    typer.echo(f"  smtpnic-primary enroll NAME --address IP --out NEWDIR -c {config}")


@app.command(epilog=EXIT_CODES)
def enroll(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One label, such as zurich-1.")],
    *,
    address: Annotated[
        list[str], typer.Option(help="The node's IP address; it listens on the first.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New or empty.")],
    config: Config = DEFAULT_CONFIG,
    host: Annotated[list[str] | None, typer.Option(help="A DNS name of the node.")] = None,
    listen: Annotated[
        str, typer.Option(metavar="IP", help="Listen there instead: 0.0.0.0 in a container.")
    ] = "",
    upstream: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", help="Where it finds the primary, if not at [nodes] listen."
        ),
    ] = "",
    zone: Annotated[str, typer.Option(help="The zone it answers (default: the origin).")] = "",
    etcd: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="An etcd cluster; none: one of its own."),
    ] = None,
    dns_port: Annotated[int, typer.Option(min=1, max=65535)] = 5353,
    whois_port: Annotated[int, typer.Option(min=1, max=65535)] = 4343,
    mirror_port: Annotated[int, typer.Option(min=1, max=65535)] = 7443,
    http_port: Annotated[
        int, typer.Option(min=1, max=65533, help="Metrics: this port and the next two.")
    ] = 7450,
    http_address: Annotated[
        str, typer.Option(metavar="IP", help="Metrics (default: loopback).")
    ] = "",
) -> None:
    """Enrols a node: writes a directory with which a secondary can start.

    DIR gets ca.pem, node.pem, node.key and secondary.toml, which pins this log's keys. Move it
    to the node by a safe way, for node.key is secret; then run there:
    smtpnic-secondary run -c DIR/secondary.toml
    """
    from primary.enrolment import Enrolment, Ports, enroll, loopback_of, upstream_of  # noqa: PLC0415
    from primary.pki import Names  # noqa: PLC0415

    settings = PrimarySettings.load(config)
    names = Names.parse(host or [], address)
    enrolment = Enrolment(
        name,
        names,
        listen or address[0],
        http_address or loopback_of(names),
        Ports(dns_port, whois_port, mirror_port, http_port),
        _endpoint(upstream) if upstream else upstream_of(settings),
        zone or settings.origin,
        tuple(etcd or ()),
    )
    typer.echo(f"enrolled {name}; next, on that node:")
    typer.echo(f"  smtpnic-secondary run -c {enroll(settings, enrolment, out)}")


@app.command(epilog=EXIT_CODES)
def renew(config: Config = DEFAULT_CONFIG) -> None:
    """Makes a new certificate for the listeners, with the names of the old; restart to use it."""
    from primary.enrolment import renew as renew_certificate  # noqa: PLC0415

    renew_certificate(PrimarySettings.load(config))


@app.command(epilog=EXIT_CODES)
def run(config: Config = DEFAULT_CONFIG) -> None:
    """Runs the primary until SIGTERM or SIGINT; then it drains and ends with 0.

    It refuses to start in a doubtful state: a key that is not the log's, a database that is
    newer than this program, a last checkpoint that is missing or ahead of the log.
    """
    from node.logging import configure  # noqa: PLC0415
    from primary.running import run as run_primary  # noqa: PLC0415

    settings = PrimarySettings.load(config)
    configure(settings.log_format, settings.log_level)
    run_primary(settings, config.resolve())


@app.command(epilog=EXIT_CODES)
def status(config: Config = DEFAULT_CONFIG, *, as_json: AsJson = False) -> None:
    """Asks the running primary how it stands: log, checkpoint, subscribers, snapshots."""
    from primary.administration_client import get_status  # noqa: PLC0415
    from primary.status_text import status_json, status_lines  # noqa: PLC0415

    found = get_status(PrimarySettings.load(config).administration.socket)
    typer.echo(status_json(found) if as_json else "\n".join(status_lines(found)))


@app.command(epilog=EXIT_CODES)
def snapshot(config: Config = DEFAULT_CONFIG) -> None:
    """Has the running primary make a snapshot, from which new secondaries begin."""
    from primary.administration_client import make_snapshot  # noqa: PLC0415

    made = make_snapshot(PrimarySettings.load(config).administration.socket)
    typer.echo(f"{made.name}  {made.bytes} bytes")


@app.command(epilog=EXIT_CODES)
def migrate(config: Config = DEFAULT_CONFIG) -> None:
    """Brings the database to this program's schema; stop the primary and copy it first."""
    from primary.store.store import Store  # noqa: PLC0415

    store = Store(PrimarySettings.load(config).store_url)
    try:
        store.migrate()
    finally:
        store.close()
    typer.echo("the database has the schema of this program")


@app.command(epilog=EXIT_CODES)
def check(config: Config = DEFAULT_CONFIG) -> None:
    """Reads the whole log and verifies it: entries, roots, state, checkpoint, tiles.

    It changes nothing, and the primary may run meanwhile.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    from primary.audit import audit  # noqa: PLC0415
    from primary.running import load_keys  # noqa: PLC0415

    settings = PrimarySettings.load(config)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("entries", total=None)
        report = audit(
            settings,
            load_keys(settings),
            lambda done, size: bar.update(task, completed=done, total=size),
        )
    typer.echo(
        f"{report.size} entries lead to the signed root; {report.live_keys} live keys; "
        f"zone serial {report.zone_serial}; the tiles cover {report.tiles_size} entries"
    )


def _endpoint(text: str) -> Endpoint:
    try:
        return Endpoint.parse(text)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    # What gRPC would log to standard error is in the errors that it raises.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # It would start threads in every child between fork and exec, and some children die of that.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        app(args=arguments, prog_name="smtpnic-primary")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the outermost place
        return _report(error)
    return ExitCode.OK


def _report(error: Exception) -> ExitCode:
    code = exit_code(error)
    if code == ExitCode.INTERNAL:
        if not isinstance(error, RegistryError):
            traceback.print_exc()
            return code
        # A refusal to start, a fence, a full disk: known, and said in its text.
        code = ExitCode.FAILED
    sys.stderr.write(f"smtpnic-primary: {error}\n")
    return code
