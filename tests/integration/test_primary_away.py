"""P7: lookups outlive the primary, for 14 days; the clock of two mirrors is set forward."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from lab.cluster import LOG_PORT, Cluster, Secondary
from lab.process import LabError, program, run
from registry.board_text import format_time
from registry.wire.v1.mirror_pb2 import PeerStatus
from tests.support.probe import QUICK, Probe
from tests.support.registrant import Registrant, addresses, secure_channel
from tests.support.wait import wait_until

SECONDS = 60.0
INVALID_DATA = 24
REGISTERED = list(islice(addresses(), 40))
ABSENT = list(islice(addresses("198.19"), 40))
LIBRARY = "faketime/libfaketimeMT.so.1"
# The library turns Python's sleep, an absolute one, into EINVAL, which `subprocess` runs into.
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"


class Clock:
    """The time of day of processes that start in `env`; nothing waits longer or shorter by it."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        (directory / "sitecustomize.py").write_text(SLEEP)
        self.set_forward(0)
        (library,) = [str(path) for path in Path("/usr/lib").glob(f"*/{LIBRARY}")]
        self.env = {
            "LD_PRELOAD": library,
            "PYTHONPATH": str(directory),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            # With glibc 2.30 or newer it would end every wait on the monotonic clock at once: of
            # threads that wait for the interpreter, each would keep a core busy.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def set_forward(self, days: int) -> None:
        """So many days from now on; whoever reads meanwhile finds the one or the other."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"+{days}d\n")
        beside.replace(self._file)


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


def answers(cluster: Cluster, *of: Secondary) -> set[tuple[str, int | None]]:
    """What both mirrors, or these, say to every lookup; a wrong answer is marked."""
    found = set()
    for secondary in of or cluster.secondaries:
        probe = Probe(secondary)
        for address, good in [(one, "NOERROR") for one in REGISTERED] + [
            (one, "NXDOMAIN") for one in ABSENT
        ]:
            rcode, code = probe.extended_error(address)
            found.add(("right" if rcode == good else rcode, code))
    return found


def wait_for_day(cluster: Cluster, days: int) -> None:
    """Until their own clocks say so: what they last saw of each other is so many days from now."""
    probes = [Probe(secondary) for secondary in cluster.secondaries]
    that_day_ms = (time.time() + (days - 1) * 86_400) * 1000

    def seen() -> list[PeerStatus]:
        return [peer for probe in probes for peer in probe.status().peers]

    try:
        wait_until(
            lambda: [peer.seen_ms > that_day_ms for peer in seen()] == [True] * len(probes),
            seconds=SECONDS,
            what=f"the clock, {days} days on",
        )
    except AssertionError as error:
        error.add_note(f"seen since {that_day_ms:.0f}: {seen()}")
        raise


def wait_for_all(cluster: Cluster) -> list[Probe]:
    """Until the mirrors have all that the primary has to give, so that each shows its log."""
    wait_until(
        lambda: cluster.visible_everywhere(REGISTERED[-1]), seconds=SECONDS, what="the last one"
    )
    probes = [Probe(secondary) for secondary in cluster.secondaries]
    wait_until(
        lambda: all(p.status().freshness_ms and _sees_its_peer(p) for p in probes),
        seconds=SECONDS,
        what="freshness, and peers seen",
    )
    return probes


def _sees_its_peer(probe: Probe) -> bool:
    # Hash tiles come after the registrations; a mirror publishes its log when it has them.
    return any(peer.seen_ms and not peer.problem for peer in probe.status().peers)


def test_two_weeks_without_a_primary(cluster: Cluster, clock: Clock) -> None:
    """After 13 days every lookup is answered, all in rotation; after 15 days, SERVFAIL."""
    probes = wait_for_all(cluster)
    cluster.primary.stop()
    clock.set_forward(13)
    wait_for_day(cluster, 13)
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


def smtpnic(cluster: Cluster, *arguments: str) -> None:
    """`smtpnic ARGUMENTS`, which knows this cluster."""
    run([program("smtpnic"), *arguments], env=cluster.cli_env)


def test_the_board_extends_offline(cluster: Cluster, clock: Clock, tmp_path: Path) -> None:
    """Without a primary for 15 days: a file that the board signed brings the answers back.

    Day 20 answers, after a restart too; without a file, and after its time, SERVFAIL.
    """
    one, other = cluster.secondaries
    wait_for_all(cluster)
    file, until_s = tmp_path / "longer", int(time.time()) + 21 * 86_400
    act = ("extend", "staleness", format_time(until_s))
    reason = "--reason=the primary's machine is lost"
    cluster.primary.stop()
    smtpnic(cluster, "board", "propose", str(file), *act, reason, "--days=30")
    clock.set_forward(15)
    failed = {("SERVFAIL", INVALID_DATA)}
    wait_until(lambda: answers(cluster) == failed, seconds=SECONDS, what="SERVFAIL, 15 days on")

    extend = [program("smtpnic-secondary"), "extend", str(file), "-c", str(one.settings_file)]
    with pytest.raises(LabError, match="nobody"):
        run(extend, env=clock.env)
    key = cluster.primary_dir / "board.key"
    smtpnic(cluster, "board", "sign", str(file), f"--key={key}")
    run(extend, env=clock.env)
    right = {("right", None)}
    wait_until(lambda: answers(cluster, one) == right, seconds=SECONDS, what="answers")
    clock.set_forward(20)
    wait_for_day(cluster, 20)
    assert right == answers(cluster, one)
    one.process.stop()
    with pytest.raises(LabError, match="counts from the next start"):
        run(extend, env=clock.env)
    one.process.start()
    cluster.wait_secondary(one)
    # At first it serves what it loaded when it began.
    wait_until(lambda: answers(cluster, one) == right, seconds=SECONDS, what="after a restart")
    assert failed == answers(cluster, other)
    clock.set_forward(22)
    wait_until(lambda: answers(cluster, one) == failed, seconds=SECONDS, what="SERVFAIL, day 22")
