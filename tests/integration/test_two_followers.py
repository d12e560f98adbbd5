"""Two followers of one replica, as a site on Kubernetes runs them: either goes on alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.cluster import DNS_HTTP_PORT, FOLLOWER_HTTP_PORT, Cluster, Secondary, ready
from lab.process import LabProcess, program
from tests.support.etcd import running_etcd
from tests.support.registrant import Registrant, secure_channel
from tests.support.wait import wait_until

SECONDS = 60.0
# Kills, each in the middle of so many changes.
ROUNDS = 4
CHANGES = 20


class Site:
    """Followers as separate processes, and one that answers DNS, around one etcd."""

    def __init__(self, cluster: Cluster, etcd: str, logs: Path) -> None:
        self.env = {
            "SMTPNIC_SECONDARY_ETCD__ENDPOINTS": f'["{etcd}"]',
            "SMTPNIC_SECONDARY_DRAIN_SECONDS": "0.2",
            "SMTPNIC_SECONDARY_FOLLOWER__RETRY_SECONDS": "0.1",
        }
        self._logs = logs
        self.followers = [self._role("follower", one) for one in cluster.secondaries]
        self.dns = self._role("dns", cluster.secondaries[0])
        self._cluster = cluster

    def _role(self, role: str, node: Secondary) -> LabProcess:
        command = [program("smtpnic-secondary"), role, "-c", str(node.settings_file)]
        name = f"{role}-{node.name}"
        return LabProcess(name, command, self._logs / f"{name}.log", self.env)

    def start(self, number: int) -> None:
        """A follower, until it follows."""
        self.followers[number].start()
        address = self._cluster.secondaries[number].address
        wait_until(
            lambda: ready(address, FOLLOWER_HTTP_PORT), seconds=SECONDS, what=f"follower {number}"
        )

    def answers(self, address: str) -> bool:
        """Whether DNS knows of an address."""
        return self._cluster.secondaries[0].ask_dns(address) == "registered"

    def wait_answers(self, address: str) -> None:
        """Until DNS knows of it."""
        wait_until(lambda: self.answers(address), seconds=SECONDS, what=f"DNS of {address}")

    def end(self) -> None:
        """All of it, at once."""
        for process in (*self.followers, self.dns):
            if process.running:
                process.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A primary, and two nodes on its roll."""
    with Cluster(tmp_path / "c", 2) as cluster:
        cluster.prepare()
        cluster.start_primary()
        yield cluster


def test_either_follower_goes_on_alone(cluster: Cluster, tmp_path: Path) -> None:
    """P1, P4: one is killed with -9 amid changes, again and again, in turn; all of them arrive."""
    with ExitStack() as stack:
        etcd = stack.enter_context(running_etcd(tmp_path))
        site = Site(cluster, etcd.endpoint, tmp_path)
        stack.callback(site.end)
        site.start(0)
        site.start(1)
        site.dns.start()
        first = cluster.secondaries[0].address
        wait_until(lambda: ready(first, DNS_HTTP_PORT), seconds=SECONDS, what="DNS")
        channel = secure_channel(cluster.public, cluster.ca, cluster.primary_address)
        registrant = Registrant(stack.enter_context(channel))
        registrant.create_holder()

        for number in range(ROUNDS):
            half = threading.Event()

            def register(number: int = number, half: threading.Event = half) -> None:
                for host in range(1, CHANGES + 1):
                    registrant.register(f"198.51.{100 + number}.{host}")
                    if host == CHANGES // 2:
                        half.set()

            registering = threading.Thread(target=register)
            registering.start()
            assert half.wait(SECONDS)
            site.followers[number % 2].kill()
            registering.join(SECONDS)
            assert not registering.is_alive()

            site.wait_answers(f"198.51.{100 + number}.{CHANGES}")
            site.start(number % 2)

        assert ROUNDS * CHANGES == len(registrant.acknowledged)
        assert all(site.answers(done.address) for done in registrant.acknowledged)
        for process in (*site.followers, site.dns):
            assert process.running, process.tail()
