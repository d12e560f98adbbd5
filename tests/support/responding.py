"""A responder over a small table, and how tests ask it: with dnspython, which has no line of it."""

from __future__ import annotations

import dns.message

from registry.address import Address
from registry.kinds import Status
from secondary.dns.cookies import ServerCookies
from secondary.dns.dashed_zone import DashedNames
from secondary.dns.identity import Identity
from secondary.dns.list_zone import ListedNames
from secondary.dns.reply import Transport
from secondary.dns.responder import Responder
from secondary.dns.server_zone import ServerNames
from secondary.dns.table import DictTable, NameTable
from secondary.dns.unlisted_zone import UnlistedNames
from secondary.dns.zone import Contents, Zone, ZoneNames
from secondary.dns.zones import Zones
from secondary.notice import Condition
from tests.support.views import NOW_S, put_registration, registration, standing

NAME_SERVERS = ("a.ns.nic.example", "b.ns.nic.example")
HOSTMASTER = "hostmaster.smtpnic.example"
V4 = "192-0-2-36.smtpnic.example."
V6 = "2001-0db8-0000-0000-0000-0000-0000-0036.smtpnic.example."


def _loaded_table() -> DictTable:
    table = DictTable()
    put_registration(table, "192.0.2.36", registration())
    put_registration(table, "192.0.2.37", registration(Status.ACTIVE))
    put_registration(table, "192.0.2.38", registration(Status.SUSPENDED))
    put_registration(table, "192.0.2.39", registration(Status.LAPSED))
    put_registration(table, "2001:db8::36", registration())
    table.advance(standing(serial=7))
    return table


TABLE = _loaded_table()
SECRET = bytes(range(16))
COOKIES = ServerCookies([SECRET])
# Whose queries these are, unless a test says otherwise.
CLIENT = bytes([198, 51, 100, 7])


def zone(origin: str, contents: Contents, name_servers: tuple[str, ...] = NAME_SERVERS) -> Zone:
    """A zone with these contents."""
    return Zone(ZoneNames(origin, name_servers, HOSTMASTER), contents)


def three_zones(name_servers: tuple[str, ...] = NAME_SERVERS) -> Zones:
    """The zones with their usual names, the lists within the first."""
    return Zones(
        [
            zone("smtpnic.example", DashedNames(), name_servers),
            zone("list.smtpnic.example", ListedNames(), name_servers),
            zone(
                "unlisted.smtpnic.example", UnlistedNames("https://smtpnic.example/"), name_servers
            ),
        ]
    )


def server_zone(origin: str = "nic.example") -> Zone:
    """The zone that the name servers stand in, with two stable ones of its own."""
    stable = {
        f"ns1.{origin}": (Address.parse("192.0.2.1"), Address.parse("2001:db8::1")),
        "ns2.example.net": (Address.parse("192.0.2.2"),),
    }
    contents = ServerNames(origin, NAME_SERVERS, stable, 300)
    return Zone(ZoneNames(origin, tuple(stable), HOSTMASTER, holds_servers=True), contents)


def four_zones() -> Zones:
    """The three and the servers' own."""
    return Zones([*three_zones().all, server_zone()])


def make_responder(
    table: NameTable | None = TABLE,
    *,
    zones: Zones | None = None,
    cookies: ServerCookies = COOKIES,
    identity: Identity | None = None,
    condition: Condition = Condition.GOOD,
) -> Responder:
    """A responder over `table`, which says nothing of itself unless it is given an identity."""
    return Responder(
        zones or three_zones(),
        lambda: table,
        cookies=cookies,
        identity=identity or Identity(),
        condition=lambda _: condition,
    )


RESPONDER = make_responder()
NEVER_LOADED = make_responder(None)


def exchange(
    query: dns.message.Message | bytes,
    *,
    responder: Responder = RESPONDER,
    transport: Transport = Transport.UDP,
    now: float = NOW_S,
) -> dns.message.Message:
    """The parsed answer; there must be one."""
    wire = query if isinstance(query, bytes) else query.to_wire()
    answer = responder.answer(wire, transport, now, CLIENT)
    assert answer is not None
    return dns.message.from_wire(answer)


def ask(name: str, type_: str = "A", **how: object) -> dns.message.Message:
    """The answer to a plain question, checked to belong to it."""
    query = dns.message.make_query(name, type_)
    response = exchange(query, **how)  # type: ignore[arg-type]
    assert query.is_response(response)
    return response


def texts(response: dns.message.Message) -> list[str]:
    """The answer section, a record set each."""
    return [rrset.to_text() for rrset in response.answer]


def extended_error(response: dns.message.Message) -> int:
    """The code of the one Extended DNS Error (RFC 8914)."""
    (error,) = response.extended_errors()
    return int(error.code)
