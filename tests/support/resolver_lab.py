"""Real resolvers over the A record set, in a network namespace: how soon they follow it.

    unshare --net python -m tests.support.resolver_lab TTL

A root and a parent are simulated; the mirrors are the registry's own DNS servers over one table;
Unbound and BIND, one after the other, are asked for a new name each time. Prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

from node.endpoint import Endpoint
from registry.address import Address
from registry.member import Announced, Member
from secondary.dns.cookies import ServerCookies
from secondary.dns.dashed_zone import DashedNames
from secondary.dns.identity import Identity
from secondary.dns.pure.answering import FastPath
from secondary.dns.pure.udp import pure_listeners
from secondary.dns.rate_limit import RateLimiter, RateLimits
from secondary.dns.responder import Responder
from secondary.dns.server import DnsServer, LimitedAnswers
from secondary.dns.server_zone import ServerNames
from secondary.dns.table import DictTable
from secondary.dns.zone import Zone, ZoneNames
from secondary.dns.zones import Zones
from tests.support.views import put_member, standing

NETWORK = "10.53.0.0/16"
ROOT, PARENT, STABLE = "10.53.0.1", "10.53.0.2", "10.53.0.3"
RESOLVERS = {"unbound": "10.53.0.21", "bind": "10.53.0.22"}
MIRRORS = {"m1": "10.53.1.1", "m2": "10.53.1.2", "m3": "10.53.1.3"}
NAME_SERVERS = ("a.ns.smtpnic.net", "b.ns.smtpnic.net")
# So many queries in a row that do not reach a mirror: it is asked no more.
SILENT_QUERIES = 200
LIMIT_TTLS = 10
# Of a TTL, between two queries.
PACE = 1 / 200
DELEGATIONS: dict[str, dict[str, tuple[str | tuple[str, ...], str]]] = {
    ROOT: {"org.": ("parent.root.", PARENT), "net.": ("parent.root.", PARENT)},
    # No glue for the first: its servers stand outside.
    PARENT: {"smtpnic.org.": (NAME_SERVERS, ""), "smtpnic.net.": ("ns1.smtpnic.net.", STABLE)},
}


def refer(address: str, wire: bytes) -> bytes:
    """What a root or a parent answers: referrals, and itself."""
    query = dns.message.from_wire(wire)
    answer = dns.message.make_response(query)
    name = query.question[0].name
    for zone, (servers, glue) in DELEGATIONS[address].items():
        if name.is_subdomain(dns.name.from_text(zone)):
            hosts = [servers] if isinstance(servers, str) else [f"{each}." for each in servers]
            answer.authority.append(dns.rrset.from_text(zone, 3600, "IN", "NS", *hosts))
            if glue:
                answer.additional.append(dns.rrset.from_text(hosts[0], 3600, "IN", "A", glue))
            return answer.to_wire()
    answer.flags |= dns.flags.AA
    if str(name) == "." and address == ROOT:
        answer.answer.append(dns.rrset.from_text(".", 3600, "IN", "NS", "a.root."))
        answer.additional.append(dns.rrset.from_text("a.root.", 3600, "IN", "A", ROOT))
    elif str(name) in ("a.root.", "parent.root."):
        found = ROOT if str(name) == "a.root." else PARENT
        if query.question[0].rdtype == dns.rdatatype.A:
            answer.answer.append(dns.rrset.from_text(name, 3600, "IN", "A", found))
    return answer.to_wire()


def serve_delegations(address: str) -> None:
    """Answers at an address, in a thread, until the process ends."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 53))

    def run() -> None:
        while True:
            wire, client = sock.recvfrom(4096)
            sock.sendto(refer(address, wire), client)

    threading.Thread(target=run, daemon=True).start()


class Lab:
    """The mirrors, and what each was asked."""

    def __init__(self, ttl: int) -> None:
        self.table = DictTable()
        self.table.advance(standing())
        stable = {"ns1.smtpnic.net": (Address.parse(STABLE),)}
        zones = Zones(
            [
                Zone(ZoneNames("smtpnic.org", NAME_SERVERS, "h.smtpnic.net"), DashedNames()),
                Zone(
                    ZoneNames("smtpnic.net", tuple(stable), "h.smtpnic.net", holds_servers=True),
                    ServerNames("smtpnic.net", NAME_SERVERS, stable, ttl),
                ),
            ]
        )
        responder = Responder(
            zones, lambda: self.table, cookies=ServerCookies.of_one_process(), identity=Identity()
        )
        limiter = RateLimiter(RateLimits(0, 0, 0), bytes(16))
        listen = pure_listeners(FastPath(responder, limiter), lambda: self.table)
        addresses = [STABLE, *MIRRORS.values()]
        self.server = DnsServer(
            [Endpoint(each, 53) for each in addresses], LimitedAnswers(responder, limiter), listen
        )
        self._counters = dict(zip(addresses, self.server.udp, strict=True))

    def set(self, **places: tuple[str, ...]) -> None:
        """Which mirrors stand where; the others are out, and answer on."""
        for name, address in MIRRORS.items():
            member = Member(
                Announced(addresses=(Address.parse(address),)), places=places.get(name, ())
            )
            put_member(self.table, name, member)

    def asked(self, name: str) -> int:
        """How many answers a mirror has sent."""
        return sum(self._counters[MIRRORS[name]].counter.answers)


UNBOUND = """
server:
  interface: {address}
  outgoing-interface: {address}
  access-control: 10.0.0.0/8 allow
  root-hints: {directory}/hints
  module-config: iterator
  do-ip6: no
  do-daemonize: no
  use-syslog: no
  username: ""
  chroot: ""
  directory: {directory}
  pidfile: ""
"""
BIND = """
options {{
  directory "{directory}"; pid-file none; session-keyfile none;
  listen-on {{ {address}; }}; listen-on-v6 {{ none; }}; query-source address {address};
  recursion yes; allow-query {{ any; }}; dnssec-validation no; empty-zones-enable no;
}};
controls {{ }};
zone "." {{ type hint; file "{directory}/hints"; }};
"""
COMMANDS: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "unbound": (UNBOUND, lambda config: ["unbound", "-d", "-p", "-c", str(config)]),
    "bind": (BIND, lambda config: ["named", "-g", "-4", "-n", "1", "-c", str(config)]),
}


@contextmanager
def resolver(kind: str) -> Iterator[str]:
    """A resolver that knows the simulated root alone; its address."""
    address = RESOLVERS[kind]
    text, command = COMMANDS[kind]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "hints").write_text(f". 3600 NS a.root.\na.root. 3600 A {ROOT}\n")
        config = directory / "config"
        config.write_text(text.format(address=address, directory=directory))
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(command(config), stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 20
            while not ask(address, "start", 0):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit(f"{kind}: {(directory / 'log').read_text()[-2000:]}")
            yield address
        finally:
            process.terminate()
            process.wait(10)


def ask(address: str, prefix: str, number: int) -> bool:
    """Ask a resolver for a name that nobody has asked for; whether it found that there is none."""
    query = dns.message.make_query(f"{prefix}-{number}.smtpnic.org", "A")
    try:
        answer = dns.query.udp(query, address, timeout=2)
    except (dns.exception.Timeout, OSError):
        return False
    return answer.rcode() == dns.rcode.NXDOMAIN


def follow(lab: Lab, kind: str, ttl: int) -> dict[str, Any]:
    """m1 leaves and m3 comes: when they were asked last and first, and who how often afterwards."""
    lab.set(m1=("a",), m2=("b",))
    with resolver(kind) as address:
        number = 0
        before = {name: lab.asked(name) for name in MIRRORS}
        while min(lab.asked(name) - before[name] for name in ("m1", "m2")) < 5:
            number += 1
            if number > 2000 or not ask(address, kind, number):
                raise SystemExit(f"{kind} does not ask both mirrors: {before}")
        lab.set(m2=("b",), m3=("a",))
        changed = last = time.monotonic()
        came, first = lab.asked("m3"), 0.0
        asked, silent, failed = lab.asked("m1"), 0, 0
        shares = {name: lab.asked(name) for name in MIRRORS}
        while silent < SILENT_QUERIES or time.monotonic() - last < 2 * ttl or not first:
            number += 1
            time.sleep(ttl * PACE)
            failed += not ask(address, f"{kind}-after", number)
            silent += 1
            if lab.asked("m1") != asked:
                asked, silent, last = lab.asked("m1"), 0, time.monotonic()
                shares = {name: lab.asked(name) for name in MIRRORS}
            if not first and lab.asked("m3") != came:
                first = time.monotonic() - changed
            if time.monotonic() - changed > LIMIT_TTLS * ttl + 20:
                break
        return {
            "last_asked_seconds": round(last - changed, 2),
            "first_asked_seconds": round(first, 2),
            "is_silent": silent >= SILENT_QUERIES,
            "failed": failed,
            "queries": silent,
            "asked_since": {name: lab.asked(name) - shares[name] for name in MIRRORS},
        }


async def main(ttl: int) -> dict[str, Any]:
    """Both resolvers, one after the other."""
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "route", "add", "local", NETWORK, "dev", "lo"],
        # BIND listens where an interface has the address.
        ["ip", "address", "add", f"{RESOLVERS['bind']}/32", "dev", "lo"],
    ):
        subprocess.run(command, check=True)
    serve_delegations(ROOT)
    serve_delegations(PARENT)
    lab = Lab(ttl)
    await lab.server.start()
    try:
        return {kind: await asyncio.to_thread(follow, lab, kind, ttl) for kind in RESOLVERS}
    finally:
        await lab.server.stop()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1])))))
