"""Name servers to be asked: NSD and Knot from Debian's packages, and our own in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from lab.cluster import loopback_network
from node.endpoint import Endpoint
from secondary.dns.implementation import Implementation
from secondary.dns.rate_limit import RateLimits
from tests.support.fast_path import LISTED_ADDRESSES
from tests.support.served_dns import Served, running
from tests.support.wait import wait_until

FOREIGN_ZONE = "example.org"
PORT = 5300
SECONDS = 20

# One record set is longer than 512 bytes.
_LONG_TEXT = " ".join(f'"{letter * 200}"' for letter in "abc")
_ZONE_FILE = f"""\
$ORIGIN {FOREIGN_ZONE}.
$TTL 300
@ 60 IN SOA ns.example.net. hostmaster 7 3600 600 1209600 60
@ NS ns.example.net.
@ TXT {_LONG_TEXT}
www A 192.0.2.1
"""
_NSD = """\
server:
  ip-address: {address}@{port}
  username: ""
  chroot: ""
  zonesdir: "{directory}"
  database: ""
  pidfile: "{directory}/nsd.pid"
  xfrdfile: "{directory}/xfrd.state"
  xfrdir: "{directory}"
  zonelistfile: "{directory}/zone.list"
  answer-cookie: yes
  rrl-ratelimit: {limit}
  rrl-slip: {slip}
remote-control:
  control-enable: no
zone:
  name: {zone}
  zonefile: zone
"""
_KNOT = """\
server:
  listen: {address}@{port}
  rundir: {directory}
database:
  storage: {directory}/db
mod-cookies:
  - id: default
template:
  - id: default
    global-module: mod-cookies
    storage: {directory}
    zonefile-sync: -1
zone:
  - domain: {zone}
    file: zone
"""


@contextmanager
def nsd(*, limit: int = 0, slip: int = 2) -> Iterator[Endpoint]:
    """NSD, with cookies; 0 is no rate limit, of `slip` answers beyond it one says TC."""
    with _running("nsd", "-d", _NSD, limit=limit, slip=slip) as server:
        yield server


@contextmanager
def knot() -> Iterator[Endpoint]:
    """Knot DNS, with cookies; it has no rate limits unless told."""
    with _running("knotd", "", _KNOT) as server:
        yield server


@contextmanager
def _running(program: str, option: str, settings: str, **values: object) -> Iterator[Endpoint]:
    # A UNIX socket in pytest's directories has too long a path.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        server = Endpoint(f"{loopback_network()}.1", PORT)
        (directory / "zone").write_text(_ZONE_FILE)
        file = directory / "settings"
        text = settings.format(
            address=server.host, port=PORT, directory=directory, zone=FOREIGN_ZONE, **values
        )
        file.write_text(text)
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
        assert path is not None, f"{program} is not installed: make setup"
        command = [path, *([option] if option else []), "-c", str(file)]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(lambda: _answers(server), seconds=SECONDS, what=f"{program} answers")
            yield server
        finally:
            process.terminate()
            process.wait(SECONDS)


def _answers(server: Endpoint) -> bool:
    query = dns.message.make_query(FOREIGN_ZONE, "SOA")
    try:
        return bool(dns.query.tcp(query, server.host, timeout=1, port=server.port).answer)
    except (dns.exception.DNSException, OSError):
        return False


@contextmanager
def own_server(implementation: Implementation) -> Iterator[tuple[Endpoint, str]]:
    """Our transports and responder over a small table, and an address that is registered.

    Answers are limited as they are at first.
    """
    server = Served(implementation, RateLimits()).server(Endpoint(f"{loopback_network()}.1", 0))
    with running(server):
        yield server.udp[0].endpoint, LISTED_ADDRESSES[0]
