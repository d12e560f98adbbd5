"""Name servers to be asked: NSD and Knot from Debian's packages, and our own in this process."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from lab.cluster import loopback_network
from node.endpoint import Endpoint
from secondary.dns.pure.answering import FastPath
from secondary.dns.pure.udp import pure_listeners
from secondary.dns.rate_limit import KEY_BYTES, RateLimiter, RateLimits
from secondary.dns.server import DnsServer, LimitedAnswers
from tests.support.responding import TABLE, make_responder
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
  rrl-ratelimit: 0
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
def nsd() -> Iterator[Endpoint]:
    """NSD, with cookies and without rate limits."""
    with _running("nsd", "-d", _NSD) as server:
        yield server


@contextmanager
def knot() -> Iterator[Endpoint]:
    """Knot DNS, with cookies; it has no rate limits unless told."""
    with _running("knotd", "", _KNOT) as server:
        yield server


@contextmanager
def _running(program: str, option: str, settings: str) -> Iterator[Endpoint]:
    # A UNIX socket in pytest's directories has too long a path.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        server = Endpoint(f"{loopback_network()}.1", PORT)
        (directory / "zone").write_text(_ZONE_FILE)
        file = directory / "settings"
        text = settings.format(
            address=server.host, port=PORT, directory=directory, zone=FOREIGN_ZONE
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
def own_server() -> Iterator[tuple[Endpoint, str]]:
    """Our transports and responder over a small table, and an address that is registered."""

    # The table is of one day in the past; cookies have to be of now.
    responder = make_responder(max_silence_seconds=math.inf)

    answers = LimitedAnswers(responder, RateLimiter(RateLimits(0, 0, 0), bytes(KEY_BYTES)))
    listen_udp = pure_listeners(FastPath(responder, answers.limiter), lambda: TABLE)
    server = DnsServer([Endpoint(f"{loopback_network()}.1", 0)], answers, listen_udp)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(SECONDS)
    try:
        yield server.udp[0].endpoint, "192.0.2.36"
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
