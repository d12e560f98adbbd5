"""The cluster end to end: register at the primary, ask any secondary, whoever is down (P7)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Cluster, Secondary
from lab.process import program, run
from tests.support.registrant import Registrant, addresses, secure_channel, try_register
from tests.support.wait import wait_until

VISIBLE_SECONDS = 30.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, secondaries=3) as cluster:
        cluster.prepare()
        cluster.start_primary()
        cluster.start_secondaries()
        yield cluster


@pytest.fixture
def registrant(cluster: Cluster) -> Iterator[Registrant]:
    with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
        registrant = Registrant(channel)
        registrant.create_holder()
        yield registrant


def wait_visible(cluster: Cluster, address: str, answer: str = "registered") -> None:
    wait_until(
        lambda: cluster.visible_everywhere(address, answer),
        seconds=VISIBLE_SECONDS,
        what=f"{address} is {answer} at every secondary",
    )


def wait_whois(secondary: Secondary, question: str, expected: str) -> str:
    """The first answer that says what is expected: WHOIS may come a little after DNS."""

    def answer() -> str:
        said = secondary.ask_whois(question)
        return said if expected in said else ""

    return wait_until(answer, seconds=VISIBLE_SECONDS, what=f"WHOIS says {expected}")


def test_register_look_up_and_outlive_the_primary(cluster: Cluster, registrant: Registrant) -> None:
    """A change reaches DNS and WHOIS everywhere; lookups go on without the primary; the stream
    resumes when it is back; a withdrawal is NXDOMAIN."""
    source = addresses()
    first = registrant.register(next(source), "mx1.example.org")
    wait_visible(cluster, first.address)
    for secondary in cluster.secondaries:
        answer = wait_whois(secondary, first.address, "mx1.example.org")
        assert "postmaster@example.org" in answer, "the public part of the contact"
        assert "1 Example Street" not in answer, "the private part stays home"

    cluster.primary.kill()
    assert cluster.visible_everywhere(first.address)
    assert cluster.visible_everywhere("192.0.2.99", "NXDOMAIN")
    for secondary in cluster.secondaries:
        proof = [program("smtpnic"), "verify", first.address, f"--mirror={secondary.mirror}"]
        assert "mx1.example.org" in run(proof, env=cluster.cli_env)

    cluster.start_primary()
    wait_until(lambda: try_register(registrant, next(source)), seconds=30, what="a registration")
    wait_visible(cluster, registrant.acknowledged[-1].address)

    registrant.withdraw(first.address)
    wait_visible(cluster, first.address, "NXDOMAIN")


def test_a_dead_and_a_slow_secondary_hold_up_nobody(
    cluster: Cluster, registrant: Registrant
) -> None:
    """With one secondary killed and another's follower frozen, the healthy one goes on at once;
    both catch up afterwards."""
    dead, slow, healthy = cluster.secondaries
    dead.process.kill()
    follower = slow.role_pid("follower")
    os.kill(follower, signal.SIGSTOP)
    try:
        source = addresses()
        for _ in range(200):
            registrant.register(next(source))
        newest = registrant.acknowledged[-1].address
        wait_until(
            lambda: healthy.ask_dns(newest) == "registered",
            seconds=VISIBLE_SECONDS,
            what="the healthy secondary has the newest registration",
        )
        assert slow.ask_dns(newest) == "NXDOMAIN"
    finally:
        os.kill(follower, signal.SIGCONT)
    dead.process.start()
    wait_visible(cluster, newest)


def test_stop_drains_and_ends_every_process(cluster: Cluster, registrant: Registrant) -> None:
    """SIGTERM ends the primary and every secondary with 0, and leaves no process behind."""
    registrant.register("198.18.0.1")
    wait_visible(cluster, "198.18.0.1")
    etcds = [secondary.etcd_pid() for secondary in cluster.secondaries]
    codes = [secondary.process.stop() for secondary in cluster.secondaries]
    codes.append(cluster.primary.stop())
    assert codes == [0, 0, 0, 0]
    assert not [pid for pid in etcds if Path(f"/proc/{pid}").exists()]
