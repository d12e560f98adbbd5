"""P7: lookups outlive the primary, for 14 days; the clock of two mirrors is set forward."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from lab.cluster import LOG_PORT, Cluster
from tests.support.probe import QUICK, Probe
from tests.support.registrant import Registrant, addresses, secure_channel
from tests.support.wait import wait_until

SECONDS = 60.0
INVALID_DATA = 24
REGISTERED = list(islice(addresses(), 40))
ABSENT = list(islice(addresses("198.19"), 40))
LIBRARY = "faketime/libfaketimeMT.so.1"


class Clock:
    """The time of day of processes that start in `env`; nothing waits longer or shorter by it."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.set_forward(0)
        (library,) = [str(path) for path in Path("/usr/lib").glob(f"*/{LIBRARY}")]
        self.env = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set_forward(self, days: int) -> None:
        """So many days from now on."""
        self._file.write_text(f"+{days}d\n")


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def cluster(tmp_path: Path, clock: Clock) -> Iterator[Cluster]:
    """A primary with registrations, and two mirrors that are each other's peers."""
    with Cluster(tmp_path / "cluster", 2, secondary_env=QUICK | clock.env) as cluster:
        for one, other in zip(cluster.secondaries, reversed(cluster.secondaries), strict=True):
            peers = json.dumps([f"http://{other.address}:{LOG_PORT}"])
            one.process.env["SMTPNIC_SECONDARY_PEERS__URLS"] = peers
            one.process.env["SMTPNIC_SECONDARY_PEERS__LOOK_SECONDS"] = "0.5"
            one.process.env["SMTPNIC_SECONDARY_PEERS__BEHIND_SECONDS"] = "1"
        cluster.prepare()
        cluster.start_primary()
        with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
            registrant = Registrant(channel)
            registrant.create_holder()
            for address in REGISTERED:
                registrant.register(address)
        cluster.start_secondaries()
        yield cluster


def answers(cluster: Cluster) -> set[tuple[str, int | None]]:
    """What both mirrors say to every lookup; the wrong one of the two answers is marked."""
    found = set()
    for secondary in cluster.secondaries:
        probe = Probe(secondary)
        for address, good in [(one, "NOERROR") for one in REGISTERED] + [
            (one, "NXDOMAIN") for one in ABSENT
        ]:
            rcode, code = probe.extended_error(address)
            found.add(("right" if rcode == good else rcode, code))
    return found


def test_two_weeks_without_a_primary(cluster: Cluster, clock: Clock) -> None:
    """After 13 days every lookup is answered, all in rotation; after 15 days, SERVFAIL."""
    wait_until(
        lambda: cluster.visible_everywhere(REGISTERED[-1]), seconds=SECONDS, what="the last one"
    )
    probes = [Probe(secondary) for secondary in cluster.secondaries]
    wait_until(
        lambda: all(len(p.status().peers) == 1 and p.status().freshness_ms for p in probes),
        seconds=SECONDS,
        what="freshness, and peers seen",
    )
    cluster.primary.stop()
    clock.set_forward(13)
    # Their own clocks say so: what they last saw of each other is 13 days from now.
    ahead_ms = 12 * 86_400_000
    fresh_ms = max(p.status().freshness_ms for p in probes)
    wait_until(
        lambda: all(p.status().peers[0].seen_ms > fresh_ms + ahead_ms for p in probes),
        seconds=SECONDS,
        what="the clock, 13 days on",
    )
    assert {("right", None)} == answers(cluster)
    assert ["", ""] == [probe.status().out_of_rotation for probe in probes]
    clock.set_forward(15)
    wait_until(
        lambda: answers(cluster) == {("SERVFAIL", INVALID_DATA)},
        seconds=SECONDS,
        what="SERVFAIL, 15 days on",
    )
    clock.set_forward(13)
    wait_until(lambda: answers(cluster) == {("right", None)}, seconds=SECONDS, what="answers again")
