"""What the registrar has to change, by what a parent's server and a mirror say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import dns.message
import dns.name
import dns.rrset
import pytest

from node.endpoint import Endpoint
from registry.errors import MalformedError
from secondary.dns.reply import Transport
from smtpnic.delegation import Change, Delegation, changes, of_parent, of_zone, zone_of
from tests.support.responding import CLIENT, four_zones, make_responder
from tests.support.views import NOW_S

ZONE = "nic.example."
WANTED = Delegation(frozenset({"ns1.nic.example."}), frozenset({("ns1.nic.example.", "192.0.2.1")}))
SECONDS = 5.0


def _parent(wire: bytes) -> bytes:
    """Another server than there should be, and an old address."""
    answer = dns.message.make_response(dns.message.from_wire(wire))
    answer.authority.append(
        dns.rrset.from_text(ZONE, 60, "IN", "NS", "ns1.nic.example.", "old.example.net.")
    )
    answer.additional.append(dns.rrset.from_text("ns1.nic.example.", 60, "IN", "A", "192.0.2.99"))
    return answer.to_wire()


def _mirror(wire: bytes) -> bytes:
    answer = make_responder(zones=four_zones()).answer(wire, Transport.UDP, NOW_S, CLIENT)
    assert answer is not None
    return answer


@pytest.fixture
def servers() -> Iterator[tuple[Endpoint, Endpoint]]:
    """A mirror and a server of the parent."""
    sockets = []
    for serve in (_mirror, _parent):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sockets.append(sock)

        def run(sock: socket.socket = sock, serve=serve) -> None:  # type: ignore[no-untyped-def]
            while wire := sock.recvfrom(4096):
                if not wire[0]:
                    return
                sock.sendto(serve(wire[0]), wire[1])

        threading.Thread(target=run, daemon=True).start()
    mirror, parent = (Endpoint(*sock.getsockname()) for sock in sockets)
    yield mirror, parent
    for sock in sockets:
        sock.sendto(b"", sock.getsockname())


def test_the_registrar_is_told_what_to_change(servers: tuple[Endpoint, Endpoint]) -> None:
    """Records that lack at the parent, and those that should go, glue included."""
    mirror, parent = servers
    zone = dns.name.from_text(ZONE)
    made = changes(ZONE, of_zone(zone, mirror, SECONDS), of_parent(zone, parent, SECONDS))
    assert [
        Change("add", "nic.example. NS ns2.example.net."),
        Change("add", "ns1.nic.example. A 192.0.2.1"),
        Change("add", "ns1.nic.example. AAAA 2001:db8::1"),
        Change("remove", "nic.example. NS old.example.net."),
        Change("remove", "ns1.nic.example. A 192.0.2.99"),
    ] == made


def test_the_zone_whose_servers_stand_outside_needs_no_glue(
    servers: tuple[Endpoint, Endpoint],
) -> None:
    """Its name servers lead to the zone that has them."""
    mirror, _ = servers
    found = of_zone(dns.name.from_text("smtpnic.example."), mirror, SECONDS)
    assert frozenset() == found.glue
    assert {dns.name.from_text(ZONE)} == {zone_of(each, mirror, SECONDS) for each in found.servers}


def test_nothing_to_do() -> None:
    """When both say the same."""
    assert [] == changes(ZONE, WANTED, WANTED)


def test_a_server_of_something_else_is_refused(servers: tuple[Endpoint, Endpoint]) -> None:
    """A mirror that does not answer for the zone says nothing about it."""
    with pytest.raises(MalformedError):
        of_zone(dns.name.from_text("example.org."), servers[0], SECONDS)
