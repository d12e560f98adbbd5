"""What every mail server is tested with: a cluster, a resolver that can fail, addresses.

All of it takes place in the isolation that `scripts/isolate` makes; see `tests/receivers/run.py`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import ZONE, Cluster
from tests.support.receiving import CLIENTS, HOST, MARK, OWN_NETWORK, REGISTERED, Registry
from tests.support.registrant import Registrant, secure_channel
from tests.support.switched_resolver import SwitchedResolver
from tests.support.syslog import Syslog

MAIL_LOG = Path("/var/log/mail.log")


def pytest_configure() -> None:
    """These tests change the machine they run on: never a real one."""
    if not MARK.exists():
        pytest.exit(
            "tests/receivers starts mail servers on port 25 and changes /etc: "
            "run `make test-receivers`, which does so in a copy of this machine",
            returncode=1,
        )


@pytest.fixture(scope="session", autouse=True)
def addresses() -> None:
    """The clients' addresses, on the loopback interface."""
    for address in (*CLIENTS, OWN_NETWORK):
        prefix = "128" if ":" in address else "32"
        command = ["ip", "addr", "add", f"{address}/{prefix}", "dev", "lo"]
        subprocess.run(command, check=True)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, addresses: None) -> Iterator[Cluster]:
    """A primary and one secondary, whose DNS is at port 53 of its address."""
    with Cluster(tmp_path_factory.mktemp("cluster"), 1) as cluster:
        secondary = cluster.secondaries[0]
        secondary.process.env["SMTPNIC_SECONDARY_DNS__LISTEN"] = f"{secondary.address}:53"
        cluster.prepare()
        cluster.start_primary()
        cluster.start_secondaries()
        yield cluster


@pytest.fixture(scope="session")
def registry(cluster: Cluster) -> Iterator[Registry]:
    """The cluster with one address of each family registered, and the resolver before it."""
    server = (cluster.secondaries[0].address, 53)
    with (
        secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel,
        SwitchedResolver("127.0.0.1", ZONE, server) as resolver,
    ):
        registry = Registry(Registrant(channel), resolver, server)
        registry.registrant.create_holder()
        for address in REGISTERED:
            registry.register(address)
        yield registry


@pytest.fixture(scope="session")
def syslog() -> Iterator[Syslog]:
    """What the mail servers log."""
    with Syslog(MAIL_LOG, HOST.partition(".")[0]) as syslog:
        yield syslog
