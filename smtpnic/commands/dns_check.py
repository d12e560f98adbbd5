"""smtpnic dns-check: whether a DNS server does what an authoritative server must do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.exits import ExitCode
from registry.address import Address
from smtpnic.errors import UnreachableError
from smtpnic.output import Output
from smtpnic.progress import step_bar
from smtpnic.session import Session
from smtpnic.settings import Settings

if TYPE_CHECKING:
    import dns.name

    from smtpnic.dns_check.point import Result, Target

DNS_PORT: Final = 53
_NONE: Final = "none"

Server = Annotated[
    str, typer.Argument(metavar="SERVER", help="IP address or host name of the DNS server.")
]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Its port, UDP and TCP.")]
Zone = Annotated[
    str | None,
    typer.Option(help="The registry's zone, or any zone of the server's (default: smtpnic.org)."),
]
ListZone = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The zone of reversed names (default: list.ZONE); none: not served."
    ),
]
UnlistedZone = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The zone of what is not registered (default: unlisted.ZONE); none: not served.",
    ),
]
Registered = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="An address that is registered: more points can be asked with it."
    ),
]
Generic = Annotated[
    bool,
    typer.Option(
        "--generic",
        help="Only what any authoritative server does; give --zone, one that it serves.",
    ),
]


def dns_check(
    context: typer.Context,
    server: Server,
    *,
    port: Port = DNS_PORT,
    zone: Zone = None,
    list_zone: ListZone = None,
    unlisted_zone: UnlistedZone = None,
    registered: Registered = None,
    generic: Generic = False,
) -> None:
    """Check what a mirror's DNS server must do, point by point.

    Each point names its RFC and section, and whether it passes, fails, or is not applicable, and
    why. Some nine hundred queries are sent over UDP and TCP, two thirds of them at once, to see how
    limits are told. It takes half a minute, for an idle connection is waited for, and two minutes
    at most; --timeout is for each answer. Run it after setting a mirror up and after an update:

    `smtpnic dns-check 192.0.2.53 --registered 203.0.113.25`

    Another server, such as NSD, can be asked what all authoritative servers share:

    `smtpnic dns-check ns1.example.org --generic --zone example.org`

    Exit code 0: no point failed; 1: some did; 4: the server does not answer.
    """
    from smtpnic.dns_check.asker import SocketAsker  # noqa: PLC0415
    from smtpnic.dns_check.checklist import UnansweredError, points_for, run  # noqa: PLC0415
    from smtpnic.dns_check.point import Verdict  # noqa: PLC0415

    session: Session = context.obj
    settings = session.settings(zone=zone)
    target = _target(settings, list_zone, unlisted_zone, registered, generic=generic)
    asker = SocketAsker(_endpoint(server, port), settings.timeout)
    points = points_for(target)
    output = session.output
    try:
        with step_bar(output.progress_console, "asking", len(points)) as step:
            results = run(asker, target, points, lambda point: step(point.name))
    except UnansweredError as error:
        raise UnreachableError(f"{asker.address}: {error}") from None
    _print(output, asker.address, target, results)
    if any(result.verdict is Verdict.FAIL for result in results):
        raise typer.Exit(ExitCode.FAILED)


def _print(output: Output, address: Endpoint, target: Target, results: list[Result]) -> None:
    from smtpnic.dns_check.point import Verdict  # noqa: PLC0415

    counts = {
        str(verdict): sum(result.verdict is verdict for result in results) for verdict in Verdict
    }
    output.table(
        "points",
        [_values(result) for result in results],
        server=str(address),
        zone=target.zone.to_text(omit_final_dot=True),
        **{name.replace(" ", "_"): count for name, count in counts.items()},
    )
    output.note(f"{address}: " + ", ".join(f"{n} {name}" for name, n in counts.items()))


def _target(
    settings: Settings,
    list_zone: str | None,
    unlisted_zone: str | None,
    registered: str | None,
    *,
    generic: bool,
) -> Target:
    from smtpnic.dns_check.point import Target  # noqa: PLC0415

    zone = _name("zone", settings.zone)
    below = "" if zone.to_text() == "." else zone.to_text()
    return Target(
        zone,
        _optional_name("list-zone", list_zone or f"list.{below}"),
        _optional_name("unlisted-zone", unlisted_zone or f"unlisted.{below}"),
        None if registered is None else Address.parse(registered),
        generic,
    )


def _optional_name(option: str, text: str) -> dns.name.Name | None:
    return None if text == _NONE else _name(option, text)


def _name(option: str, text: str) -> dns.name.Name:
    import dns.exception  # noqa: PLC0415
    import dns.name  # noqa: PLC0415

    try:
        return dns.name.from_text(text)
    except dns.exception.DNSException as error:
        raise ConfigurationError(f"--{option}: {text!r} is not a domain name: {error}") from None


def _endpoint(host: str, port: int) -> Endpoint:
    try:
        return Endpoint(host.removeprefix("[").removesuffix("]"), port)
    except ValueError as error:
        raise ConfigurationError(f"SERVER: {error}") from None


def _values(result: Result) -> dict[str, object]:
    point = result.point
    return {
        "point": point.name,
        "result": str(result.verdict),
        "reference": point.reference,
        "promise": point.promise,
        "why": result.why,
    }
