"""smtpnic-primary: founds, runs and looks after a registry's primary."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import typer

from node.command_line import (
    AsJson,
    Ntp,
    new_program,
    run_program,
    tell_findings,
    warn_of_root,
)
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from primary import membership_cli, options
from primary.settings import PrimarySettings
from registry.board_text import BoardMember
from registry.errors import MalformedError

EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 refused to start or failed, 2 usage or settings, 3 not possible as "
    "asked, 4 no primary answers, 5 verification failed, 70 internal."
)

app = new_program(
    "smtpnic-primary",
    "The primary of the SMTP registry: it keeps the log, signs it, and streams it.",
    EXIT_CODES,
)

app.add_typer(membership_cli.tokens, name="token", epilog=EXIT_CODES)
app.add_typer(membership_cli.nodes, name="node", epilog=EXIT_CODES)


@app.command(epilog=EXIT_CODES)
def init(
    directory: options.NewDirectory,
    *,
    origin: options.Origin,
    name: options.PrimaryHosts = None,
    address: options.PrimaryAddresses = None,
    public: options.PublicListen = "127.0.0.1:7441",
    nodes: options.NodesListen = "127.0.0.1:7442",
    log: options.LogListen = "127.0.0.1:7444",
    http: options.HttpListen = "127.0.0.1:7440",
    store: options.StoreUrl = "",
    board: options.BoardFile = None,
    lab: options.Lab = False,
) -> None:
    """Founds a registry: keys, authority, certificate, database and first checkpoint.

    Writes DIR/primary.toml, the private keys (readable by their owner only), the node authority
    and an empty log whose first checkpoint is signed. DIR must be new or empty: nothing is ever
    overwritten. With --board the members sign DIR/root.note before the first start; without, a
    board of one key is made: keep board.key offline, it can replace every other key.
    """
    from primary.founding import Plan, found  # noqa: PLC0415
    from primary.pki import Names  # noqa: PLC0415

    plan = Plan(
        origin,
        Names.parse(name or ["localhost"], address or ["127.0.0.1"]),
        _endpoint(public),
        _endpoint(nodes),
        _endpoint(http),
        _endpoint(log),
        store,
        lab,
        *_board(board),
    )
    config = directory / "primary.toml"
    _say_founded(found(directory, plan), config, is_signed=not plan.board)


def _say_founded(settings: PrimarySettings, config: Path, *, is_signed: bool) -> None:
    typer.echo(f"root  {settings.root_file}")
    typer.echo("\nNext:")
    if not is_signed:
        typer.echo(f"  have the board sign: smtpnic board sign {settings.root_file} ...")
    typer.echo(f"  smtpnic-primary run -c {config}")
    typer.echo(f"  smtpnic-primary token create -c {config}")


@app.command(epilog=EXIT_CODES)
def enroll(
    name: options.NodeName,
    *,
    address: options.NodeAddresses,
    out: options.NodeDirectory,
    config: options.Config = options.DEFAULT_CONFIG,
    host: options.NodeHosts = None,
    listen: options.NodeListen = "",
    upstream: options.Upstream = "",
    zone: options.Zone = "",
    etcd: options.EtcdEndpoints = None,
    dns_port: options.Port = 5353,
    whois_port: options.Port = 4343,
    mirror_port: options.Port = 7443,
    http_port: options.FirstHttpPort = 7450,
    log_port: options.ReadingPort = 7445,
    http_address: options.NodeHttpAddress = "",
) -> None:
    """Enrols a node by hand: writes a directory with which a secondary can start.

    Where the mirror can reach the primary, `token create` is simpler, and its keys never travel.
    DIR gets ca.pem, node.pem, node.key, root.note and secondary.toml. Move it to the node by a
    safe way, for node.key is secret; then run there:
    smtpnic-secondary run -c DIR/secondary.toml
    """
    from node.mirror_settings import MirrorPlan, Ports, private_address  # noqa: PLC0415
    from primary import enrolment, pki  # noqa: PLC0415

    settings = PrimarySettings.load(config)
    names = pki.Names.parse(host or [], address)
    plan = MirrorPlan(
        name,
        settings.origin,
        listen or address[0],
        http_address or private_address(names.texts[0]),
        Ports(dns_port, whois_port, mirror_port, log_port, http_port),
        _endpoint(upstream) if upstream else enrolment.upstream_of(settings),
        zone or settings.origin,
        tuple(etcd or ()),
        enrolment.public_of(settings) if settings.public.listen.port else None,
    )
    path = enrolment.enroll(settings, enrolment.Enrolment(plan, names), out)
    typer.echo(f"enrolled {name}; next, on that node:")
    typer.echo(f"  smtpnic-secondary run -c {path}")


@app.command(epilog=EXIT_CODES)
def renew(config: options.Config = options.DEFAULT_CONFIG) -> None:
    """Makes a new key and certificate for the listeners, with the names of the old.

    A running primary takes them up by itself, and renews its certificate in time without this.
    """
    from primary.enrolment import renew as renew_certificate  # noqa: PLC0415

    renew_certificate(PrimarySettings.load(config))


@app.command(epilog=EXIT_CODES)
def run(config: options.Config = options.DEFAULT_CONFIG) -> None:
    """Runs the primary until SIGTERM or SIGINT; then it drains and ends with 0.

    It refuses to start in a doubtful state: a key that is not the log's, a database that is
    newer than this program, a last checkpoint that is missing or ahead of the log.
    """
    from node.logging import configure  # noqa: PLC0415
    from primary.running import run as run_primary  # noqa: PLC0415

    settings = PrimarySettings.load(config)
    configure(settings.log_format, settings.log_level)
    warn_of_root()
    run_primary(settings, config.resolve())


@app.command(epilog=EXIT_CODES)
def status(config: options.Config = options.DEFAULT_CONFIG, *, as_json: AsJson = False) -> None:
    """Asks the running primary how it stands: log, checkpoint, subscribers, snapshots."""
    from primary.administration_client import get_status  # noqa: PLC0415
    from primary.status_text import status_json, status_lines  # noqa: PLC0415

    found = get_status(PrimarySettings.load(config).administration.socket)
    typer.echo(status_json(found) if as_json else "\n".join(status_lines(found)))


@app.command(epilog=EXIT_CODES)
def doctor(
    config: options.Config = options.DEFAULT_CONFIG, *, ntp: Ntp = "", as_json: AsJson = False
) -> None:
    """Looks for what is wrong on this machine, running or not, and says what to do.

    Clock, disk, certificate, keys and root, log, forks, ports, resolvers, mail, mirrors. Exits 1
    if anything has to be mended.
    """
    from primary.doctor import checks  # noqa: PLC0415

    tell_findings(checks(PrimarySettings.load(config), ntp), as_json=as_json)


@app.command(epilog=EXIT_CODES)
def snapshot(config: options.Config = options.DEFAULT_CONFIG) -> None:
    """Has the running primary make a snapshot, from which new secondaries begin."""
    from primary.administration_client import make_snapshot  # noqa: PLC0415

    made = make_snapshot(PrimarySettings.load(config).administration.socket)
    typer.echo(f"{made.name}  {made.bytes} bytes")


@app.command(epilog=EXIT_CODES)
def forget_cosigner(
    name: options.NodeName, config: options.Config = options.DEFAULT_CONFIG
) -> None:
    """Lets a node cosign with a new key; the next one that it shows counts from then on."""
    from primary.cosigner_keys import CosignerKeys  # noqa: PLC0415

    settings = PrimarySettings.load(config)
    if not CosignerKeys(settings.cosigners_dir, settings.origin).forget(name):
        raise ConfigurationError(f"no key of {name} is known")
    typer.echo(f"{name} may show a new key")


@app.command(epilog=EXIT_CODES)
def migrate(
    config: options.Config = options.DEFAULT_CONFIG, *, backed_up: options.BackedUp = False
) -> None:
    """Brings the database to this program's schema; stop the primary first.

    An SQLite database is copied before, into a file beside it. A server's you copy yourself
    (pg_dump), and say --backed-up. It is done whole or not at all.
    """
    from primary.migrating import migrate as migrate_database  # noqa: PLC0415

    done = migrate_database(PrimarySettings.load(config), datetime.now(UTC), is_backed_up=backed_up)
    if done.backup is not None:
        typer.echo(f"backup  {done.backup}")
    if done.before != done.after:
        typer.echo(f"schema  {done.before or 'none'} to {done.after}")
    typer.echo("the database has the schema of this program")


@app.command("new-keys", epilog=EXIT_CODES)
def new_keys(config: options.Config = options.DEFAULT_CONFIG) -> None:
    """Makes a log key and a freshness key in place of lost ones; the board has to name them."""
    from primary.recovery_command import replace_keys  # noqa: PLC0415

    keys = replace_keys(PrimarySettings.load(config))
    typer.echo(f"log key        {keys.log.verifier().vkey()}")
    typer.echo(f"freshness key  {keys.freshness.verifier().vkey()}")


@app.command("publish-root", epilog=EXIT_CODES)
def publish_root(root: options.RootFile, config: options.Config = options.DEFAULT_CONFIG) -> None:
    """Puts a root that the board signed into the log of a primary that does not run.

    For emergencies: with a stolen log key, stop the primary, and start it only after this.
    """
    from primary import recovery_command  # noqa: PLC0415

    index = recovery_command.publish_root(PrimarySettings.load(config), root)
    typer.echo(f"the root is in the log at {index}")


@app.command(epilog=EXIT_CODES)
def recover(
    exports: options.Exports,
    *,
    config: options.Config = options.DEFAULT_CONFIG,
    root: options.OptionalRootFile = None,
    backup: options.BackupUrl = "",
) -> None:
    """Rebuilds a lost primary from what mirrors exported (`smtpnic-secondary export`).

    Without --root it only says what they hold, and what the board has to sign. With it the
    database is made anew from the export that is furthest, and the log goes on under the new
    keys. Private contact and management keys come from --backup, or are lost.
    """
    from primary import recovery_command  # noqa: PLC0415

    settings = PrimarySettings.load(config)
    if root is None:
        from primary.signing_keys import load_keys  # noqa: PLC0415

        surveyed, keys = recovery_command.survey_exports(settings, exports), load_keys(settings)
        for each in surveyed.exports:
            typer.echo(f"{each.size:>12}  {each.directory}")
        (signer,) = keys.log.signers
        typer.echo("\nNext, the board:")
        for line in surveyed.advice(keys, signer.verifier().vkey()):
            typer.echo(f"  {line}")
        return
    done = recovery_command.recover_primary(settings, exports, root, backup)
    typer.echo(
        f"{done.records} records at size {done.size}; lost: management keys of "
        f"{done.keys_lost} holders, private contact of {done.contacts_lost}"
    )


@app.command(epilog=EXIT_CODES)
def check(config: options.Config = options.DEFAULT_CONFIG) -> None:
    """Reads the whole log and verifies it: entries, roots, state, checkpoint, tiles.

    It changes nothing, and the primary may run meanwhile.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    from primary.audit import audit  # noqa: PLC0415
    from primary.signing_keys import load_keys  # noqa: PLC0415

    settings = PrimarySettings.load(config)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("entries", total=None)
        report = audit(
            settings,
            load_keys(settings),
            lambda done, size: bar.update(task, completed=done, total=size),
        )
    if report.lost:
        typer.echo(f"recovered: entries before {report.lost} are known by their hashes alone")
    typer.echo(
        f"{report.size} entries lead to the signed root; {report.live_keys} live keys; "
        f"zone serial {report.zone_serial}; the tiles cover {report.tiles_size} entries"
    )


def _board(path: Path | None) -> tuple[int, tuple[BoardMember, ...]]:
    from registry.root import parse_board  # noqa: PLC0415

    if path is None:
        return 0, ()
    try:
        return parse_board(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, MalformedError) as error:
        raise ConfigurationError(f"{path} is no board: {error}") from error


def _endpoint(text: str) -> Endpoint:
    try:
        return Endpoint.parse(text)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    return run_program(app, arguments)
