"""Names for many mail servers: an authority, a resolver that asks it, and servers that are dead.

Four mail servers share a domain and 32 a reverse zone; every zone has a name server of its own, as
far as its SOA record tells. One in twenty reverse zones, with all the domains of the mail servers
in it, is delegated to where nobody ever answers.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dns.exception
import dns.message
import dns.query

from lab.asking import wait_for
from lab.process import LabProcess
from node.endpoint import Endpoint

SERVERS_A_DOMAIN: Final = 4
SERVERS_A_NETWORK: Final = 32
# 5 %.
NETWORKS_A_DEAD_ONE: Final = 20
LIVE: Final = "live.example"
DEAD: Final = "dead.example"
REVERSE: Final = "10.in-addr.arpa"
PORT: Final = 5300
READY_SECONDS: Final = 60.0

_KNOT: Final = """\
server:
  listen: {authority}@{port}
  rundir: {directory}
  udp-workers: 1
database:
  storage: {directory}/db
template:
  - id: default
    storage: {directory}/zones
    zonefile-sync: -1
    journal-content: none
zone:
"""
_UNBOUND: Final = """\
server:
  interface: {resolver}
  port: {port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  module-config: "iterator"
  num-threads: 1
  outgoing-range: 4096
  num-queries-per-thread: 4096
  local-zone: "{reverse}." nodefault
remote-control:
  control-enable: no
"""
_STUB: Final = 'stub-zone:\n  name: "{zone}"\n  stub-addr: {server}\n'
_SOA: Final = "$ORIGIN {zone}.\n$TTL 3600\n@ SOA ns hostmaster 1 3600 600 1209600 60\n@ NS ns\n"


@dataclass(frozen=True, slots=True)
class MailServer:
    """The names of one of them."""

    number: int

    @property
    def network(self) -> int:
        """Which reverse zone it is in."""
        return self.number // SERVERS_A_NETWORK

    @property
    def is_dead(self) -> bool:
        """Whether nobody answers for its names."""
        return self.network % NETWORKS_A_DEAD_ONE == 0

    @property
    def domain(self) -> str:
        """Its domain."""
        return f"d{self.number // SERVERS_A_DOMAIN}.{DEAD if self.is_dead else LIVE}"

    @property
    def host(self) -> str:
        """Its host name."""
        return f"mail{self.number % SERVERS_A_DOMAIN}.{self.domain}"

    @property
    def address(self) -> str:
        """Its address."""
        high, low = divmod(self.network, 256)
        return f"10.{high}.{low}.{1 + self.number % SERVERS_A_NETWORK}"

    @property
    def reverse_zone(self) -> str:
        """The zone of its PTR record."""
        high, low = divmod(self.network, 256)
        return f"{low}.{high}.{REVERSE}"


@contextmanager
def names_of(servers: list[MailServer], directory: Path, network: str) -> Iterator[LabProcess]:
    """The resolver at `network`.2, which knows them all but those of the dead."""
    places = {
        "authority": f"{network}.1",
        "resolver": f"{network}.2",
        "port": str(PORT),
        "directory": str(directory),
        "reverse": REVERSE,
    }
    zones = _zones(servers)
    (directory / "zones").mkdir(parents=True)
    (directory / "db").mkdir()
    for zone, lines in zones.items():
        text = _SOA.format(zone=zone) + "".join(lines) + "ns A 127.0.0.1\n"
        (directory / "zones" / f"{zone}.zone").write_text(text)
    authority = directory / "knot.conf"
    listed = "".join(f"  - domain: {zone}\n" for zone in zones)
    authority.write_text(_KNOT.format_map(places) + listed)
    resolver = directory / "unbound.conf"
    resolver.write_text(_UNBOUND.format_map(places) + _stubs(servers, places["authority"]))
    knot = LabProcess("knotd", ["/usr/sbin/knotd", "-c", str(authority)], directory / "knot.log")
    unbound = LabProcess(
        "unbound", ["/usr/sbin/unbound", "-d", "-c", str(resolver)], directory / "unbound.log"
    )
    last = next(one for one in reversed(servers) if not one.is_dead)
    with _silence():
        try:
            knot.start()
            unbound.start()
            endpoint = Endpoint(places["resolver"], PORT)
            wait_for(lambda: _knows(endpoint, last.host), READY_SECONDS, "the resolver answers")
            yield unbound
        finally:
            for process in (unbound, knot):
                process.stop()


def _zones(servers: list[MailServer]) -> dict[str, list[str]]:
    """The records of every zone that is alive."""
    # What is above the zones, for a resolver that asks on its way down.
    zones: dict[str, list[str]] = {LIVE: [], REVERSE: []}
    for one in servers:
        if one.is_dead:
            continue
        label = one.host.partition(".")[0]
        zones.setdefault(one.domain, []).append(f"{label} A {one.address}\n")
        last = one.address.rpartition(".")[2]
        zones.setdefault(one.reverse_zone, []).append(f"{last} PTR {one.host}.\n")
    return zones


def _stubs(servers: list[MailServer], authority: str) -> str:
    """Where the resolver asks; each dead zone has an address of its own, as in the world."""
    stubs = [_STUB.format(zone=zone, server=f"{authority}@{PORT}") for zone in (LIVE, REVERSE)]
    dead = {zone for one in servers if one.is_dead for zone in (one.domain, one.reverse_zone)}
    for number, zone in enumerate(sorted(dead)):
        high, low = divmod(number, 250)
        stubs.append(_STUB.format(zone=zone, server=f"127.255.{high}.{1 + low}@{PORT + 1}"))
    return "".join(stubs)


@contextmanager
def _silence() -> Iterator[None]:
    """A socket that takes every query to a dead server, and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("0.0.0.0", PORT + 1))
        yield


def _knows(resolver: Endpoint, host: str) -> bool:
    query = dns.message.make_query(host, "A")
    try:
        return bool(dns.query.udp(query, resolver.host, timeout=1, port=resolver.port).answer)
    except (dns.exception.DNSException, OSError):
        return False
