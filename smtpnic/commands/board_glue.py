"""smtpnic board glue-diff: what the registrar has to change."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.exits import ExitCode
from smtpnic.session import Session

DNS_PORT: Final = 53


def glue_diff(
    context: typer.Context,
    zones: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ZONE]...", help="Default: the registry's, and that of its name servers."
        ),
    ] = None,
    *,
    server: Annotated[
        str, typer.Option(metavar="IP[:PORT]", help="A mirror; default: of the settings.")
    ] = "",
    parent: Annotated[
        str,
        typer.Option(
            metavar="IP[:PORT]", help="A server of the zones above; default: it is found."
        ),
    ] = "",
) -> None:
    """Prints what the registrar has to change: NS records, and glue. Exit code 1 if anything has.

    What a mirror says of the zones, from the register and its settings, is compared with what a
    server of the parent zone says.
    """
    import dns.name  # noqa: PLC0415

    from smtpnic import delegation  # noqa: PLC0415

    session: Session = context.obj
    settings = session.settings()
    mirror = _endpoint(server or next(iter(settings.dns_servers), ""))
    timeout = settings.timeout
    names = [dns.name.from_text(each) for each in zones or [settings.zone]]
    if not zones:
        for host in sorted(delegation.of_zone(names[0], mirror, timeout).servers):
            outside = delegation.zone_of(host, mirror, timeout)
            if outside is not None and outside not in names:
                names.append(outside)
    rows = []
    for zone in names:
        above = _endpoint(parent) if parent else delegation.parent_server(zone)
        wanted = delegation.of_zone(zone, mirror, timeout)
        found = delegation.of_parent(zone, above, timeout)
        rows += [
            {"zone": zone.to_text(), "act": each.act, "record": each.record}
            for each in delegation.changes(zone.to_text(), wanted, found)
        ]
    session.output.table("changes", rows)
    if rows:
        raise typer.Exit(ExitCode.FAILED)


def _endpoint(text: str) -> Endpoint:
    if not text:
        raise ConfigurationError("which mirror? set dns_servers in the settings, or --server")
    try:
        # With a port, unless it is an address alone; IPv6 has colons of its own.
        if text.count(":") == 1 or "]:" in text:
            return Endpoint.parse(text)
        return Endpoint(text.strip("[]"), DNS_PORT)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
