"""The primary tries a mirror's ports: at its own addresses alone, seldom, and says what it saw."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NoReturn

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from node.endpoint import Endpoint
from node.resolving import Resolvers
from node.workers import Workers
from primary.rotation.looking import Prober
from primary.rotation.trying import (
    MAX_TRIES,
    PAUSE_SECONDS,
    Ports,
    PortTrier,
    Service,
    Sources,
    TooSoonError,
    Tried,
)
from registry.address import Address
from registry.member import Announced

ORIGIN = "smtpnic.example"
NO_PORTS = Ports(0, 0)
DNS = (Service.DNS_UDP, Service.DNS_TCP)
ELSEWHERE = "127.0.0.9"
RESOLVER_SECONDS = 2
NOWHERE = "it has no address that everybody reaches"
OF_THIS_LOG = b"HTTP/1.1 200 OK\r\n\r\nsmtpnic.example\n5\n"


class NoRegistrations:
    """A register that is empty: every address is free."""

    def list_registrations(self, *_: object) -> list[object]:
        return []

    def get(self, *_: object) -> None:
        return None


class World:
    """One mirror, m1, by what the primary knows of it."""

    def __init__(self, port: int = 1) -> None:
        self.port = port
        self.now = 100.0
        self.announced: tuple[str, ...] = ()
        self.certified: tuple[str, ...] = ("127.0.0.1",)
        self.admitted = frozenset[str]()
        self.lab = True
        self.here = frozenset[str]()
        self.resolvers: tuple[Endpoint, ...] = ()

    def trier(self, pool: Workers) -> PortTrier:
        sources = Sources(
            NoRegistrations(),  # type: ignore[arg-type]
            pool,
            Resolvers(self.resolvers, RESOLVER_SECONDS),
            lambda _: Announced(addresses=tuple(map(Address.parse, self.announced))),
            lambda _: self.certified,
            lambda: self.admitted,
            dict,
            bytes,
            ORIGIN,
            ORIGIN,
            self.lab,
            lambda address: str(address) in self.here,
        )
        return PortTrier(sources, Prober(self.port, ()), lambda: self.now)

    def tried(self, ports: Ports = NO_PORTS) -> dict[Service, Tried]:
        """What is found in one try, by service; one address each."""
        return {one.service: one for one in self.all_tried(ports)}

    def all_tried(self, ports: Ports) -> list[Tried]:
        """What is found in one try."""

        async def run() -> list[Tried]:
            asyncio.get_running_loop().set_default_executor(NoThreads())
            pool = Workers("read", 1)
            try:
                return await self.trier(pool).tried("m1", ports)
            finally:
                pool.close()

        return asyncio.run(run())


class NoThreads(ThreadPoolExecutor):
    """The event loop's, of which nothing may be asked: names that hang would keep its threads."""

    def submit(self, *_: object, **__: object) -> NoReturn:
        raise AssertionError("a thread of the event loop was asked for")


@contextmanager
def log_server(text: bytes) -> Iterator[int]:
    """Says the same to everyone who connects; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            client, _ = listening.accept()
            with client:
                client.recv(4096)
                client.sendall(text)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(10)


@contextmanager
def dns_server() -> Iterator[int]:
    """Knows no name, over UDP and TCP at one port."""
    with (
        socket.create_server(("127.0.0.1", 0)) as stream,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        port = stream.getsockname()[1]
        datagrams.bind(("127.0.0.1", port))

        def over_udp() -> None:
            wire, client = datagrams.recvfrom(4096)
            datagrams.sendto(nothing(wire), client)

        def over_tcp() -> None:
            client, _ = stream.accept()
            with client:
                reply = nothing(client.recv(4096)[2:])
                client.sendall(len(reply).to_bytes(2) + reply)

        threads = [threading.Thread(target=each, daemon=True) for each in (over_udp, over_tcp)]
        for thread in threads:
            thread.start()
        yield port
        for thread in threads:
            thread.join(10)


@contextmanager
def resolver(addresses: Mapping[str, str]) -> Iterator[Endpoint]:
    """Knows these names' IPv4 addresses, and never answers what it is asked of others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        at = datagrams.getsockname()

        def serve() -> None:
            while True:
                wire, client = datagrams.recvfrom(4096)
                if not wire:
                    return
                reply = dns.message.make_response(dns.message.from_wire(wire))
                question = reply.question[0]
                address = addresses.get(question.name.to_text(omit_final_dot=True))
                if address is None:
                    continue
                if question.rdtype == dns.rdatatype.A:
                    reply.answer = [dns.rrset.from_text(question.name, 60, "IN", "A", address)]
                datagrams.sendto(reply.to_wire(), client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Endpoint(*at)
        datagrams.sendto(b"", at)
        thread.join(10)


def nothing(wire: bytes) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(wire))
    reply.flags |= dns.flags.AA
    reply.set_rcode(dns.rcode.NXDOMAIN)
    return reply.to_wire()


def test_a_name_server_is_asked_over_both_transports() -> None:
    """A true answer is one; where nobody listens, each transport says so."""
    with dns_server() as port:
        world = World(port)
        world.announced = ("127.0.0.1",)
        found = world.tried()
    at = f"127.0.0.1:{port}"
    assert {service: Tried(service, at) for service in DNS} == found

    found = world.tried()
    assert all("refused" in found[service].problem.lower() for service in DNS)


@pytest.mark.parametrize(
    ("certified", "admitted", "is_tried"),
    [
        (("127.0.0.1",), frozenset[str](), False),
        (("127.0.0.1", ELSEWHERE), frozenset[str](), True),
        ((), frozenset({"m1"}), True),
        ((), frozenset({"m2"}), False),
    ],
)
def test_only_its_own_addresses_are_tried(
    certified: tuple[str, ...], admitted: frozenset[str], is_tried: bool
) -> None:
    """Whatever a mirror announces, nobody is asked who has not to do with it."""
    world = World()
    world.announced, world.certified, world.admitted = (ELSEWHERE,), certified, admitted
    found = world.tried()
    assert [is_tried, is_tried] == [not found[service].untried for service in DNS]
    assert [is_tried, is_tried] == [bool(found[service].problem) for service in DNS]


def test_no_network_of_somebodys_own_is_tried() -> None:
    """A certificate for a private address, or a name that is there, opens no way into it."""
    world = World()
    world.lab = False
    with resolver({"inside.example": "10.0.0.1"}) as at:
        world.resolvers = (at,)
        for host in ("10.0.0.1", "127.0.0.1", "inside.example"):
            world.certified = (host,)
            found = world.tried(Ports(22, 443))
            assert NOWHERE == found[Service.LOG].untried == found[Service.MIRROR].untried


def test_names_that_nobody_answers_for_hold_up_nothing() -> None:
    """Their look-ups end, take no thread from others, and the name that has an address is tried."""
    world = World()
    silent = ("a.silent.example", "b.silent.example", "c.silent.example")
    world.certified = (*silent, "well.example")
    with log_server(OF_THIS_LOG) as port, resolver({"well.example": "127.0.0.1"}) as at:
        world.resolvers = (at,)
        found = [one for one in world.all_tried(Ports(port, 0)) if one.service is Service.LOG]
    unseen = [Tried(Service.LOG, f"{host}:{port}", untried=NOWHERE) for host in silent]
    assert [*unseen, Tried(Service.LOG, f"well.example:{port} (127.0.0.1)")] == found


def test_the_primarys_own_machine_is_not_tried() -> None:
    """A name of a certificate may lead there: what a firewall keeps from strangers might answer."""
    world = World()
    # Of no network that is given out.
    world.lab, world.certified, world.here = False, ("2e00::1",), frozenset({"2e00::1"})
    found = world.tried(Ports(22, 443))
    assert found[Service.LOG].untried == found[Service.MIRROR].untried != ""


def test_what_speaks_no_tls_is_said_so() -> None:
    """Not with the system's word for another error of the same number."""
    with log_server(b"220 mail.example.org ESMTP\r\n") as port:
        found = World().tried(Ports(0, port))[Service.MIRROR].problem
    assert "no TLS" in found


def test_a_mirror_that_announced_nothing_hears_so() -> None:
    """And ports that it does not name are not tried."""
    found = World().tried()
    assert set(DNS) == set(found)
    assert all("announced no address" in found[service].untried for service in DNS)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (OF_THIS_LOG, ""),
        (b"HTTP/1.1 200 OK\r\n\r\nanother.example\n5\n", "no checkpoint of smtpnic.example"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "404 Not Found"),
        (b"220 mail.example.org ESMTP\r\n", "220 mail.example.org"),
        (b"220 \x1b]0;a\x07\x1b[2J\r\n", "220 ?]0;a??[2J"),
        (b"", "no answer"),
    ],
)
def test_the_log_has_to_be_this_log(said: bytes, problem: str) -> None:
    """Another service at that port is told from the mirror's."""
    with log_server(said) as port:
        found = World().tried(Ports(port, 0))[Service.LOG].problem
    assert (bool(problem), True) == (bool(found), problem in found)


def test_it_is_done_seldom() -> None:
    """Once in a while for each mirror, for others all the same, and for few at once."""
    world = World()
    world.certified = ()

    async def run() -> None:
        pool = Workers("read", 1)
        trier = world.trier(pool)
        try:
            await trier.tried("m1", NO_PORTS)
            await trier.tried("m2", NO_PORTS)
            with pytest.raises(TooSoonError):
                await trier.tried("m1", NO_PORTS)
            world.now += PAUSE_SECONDS
            await trier.tried("m1", NO_PORTS)
            many = [trier.tried(f"n{number}", NO_PORTS) for number in range(MAX_TRIES + 1)]
            refused = [
                one for one in await asyncio.gather(*many, return_exceptions=True) if one != []
            ]
        finally:
            pool.close()
        assert [TooSoonError] == [type(one) for one in refused if not isinstance(one, list)]

    asyncio.run(run())
