"""The isolation itself: without it, no other test here may run."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from lab.asking import dns_answer
from lab.cluster import ZONE
from tests.support.receiving import HOST, REGISTERED_IPV4, UNREGISTERED_IPV4, Registry
from tests.support.switched_resolver import Fault


def test_nothing_but_loopback_is_reachable() -> None:
    """There is one interface, lo, and no way out."""
    assert ["lo"] == [name for _, name in socket.if_nameindex()]
    with socket.socket() as out, pytest.raises(OSError, match="unreachable"):
        out.connect(("192.0.2.1", 25))


def test_the_host_has_a_qualified_name() -> None:
    """sendmail waits a minute for a name where the host has none."""
    assert HOST == socket.gethostname()
    assert HOST == socket.getfqdn()


def test_processes_are_its_own() -> None:
    """No process of the machine is seen, so none can be ended by mistake."""
    mine = os.getpid()
    seen = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    assert mine in seen
    assert len(seen) < 50


def test_the_resolver_reaches_the_cluster(registry: Registry) -> None:
    """What the mail servers ask is our DNS server, through a resolver that can be made to fail."""
    server = ("127.0.0.1", 53)
    assert "registered" == dns_answer(server, REGISTERED_IPV4, ZONE)
    assert "NXDOMAIN" == dns_answer(server, UNREGISTERED_IPV4, ZONE)
    for fault, seen in [
        (Fault.SERVFAIL, "SERVFAIL"),
        (Fault.REFUSED, "REFUSED"),
        (Fault.TIMEOUT, "no answer"),
        (Fault.NODATA, "NODATA"),
    ]:
        with registry.resolver.failing(fault):
            assert seen == dns_answer(server, REGISTERED_IPV4, ZONE)
    with registry.resolver.failing(Fault.LIE):
        assert "registered" == dns_answer(server, REGISTERED_IPV4, ZONE)
        assert "NODATA" == dns_answer(server, UNREGISTERED_IPV4, ZONE)


def test_programs_find_the_resolver(registry: Registry) -> None:
    """resolv.conf names it."""
    done = subprocess.run(
        ["getent", "ahostsv4", f"11-0-0-25.{ZONE}"], capture_output=True, text=True, check=True
    )
    assert REGISTERED_IPV4 in done.stdout
