"""P4: the records of a batch and the cursor change together, wherever a kill -9 hits."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import grpc
import pytest

from lab.cluster import Cluster
from registry.address import Address
from registry.batch import Record
from registry.checkpoint import open_checkpoint
from registry.entry import Entry
from registry.kinds import Kind
from registry.registration import Registration
from registry.wire.v1 import registration_pb2
from secondary.roots import Roots
from tests.support.probe import QUICK, Probe
from tests.support.registrant import Registrant, addresses, secure_channel
from tests.support.revision_auditor import Copy, RevisionAuditor
from tests.support.traffic import Traffic, register_all, update_all
from tests.support.wait import wait_until

SECONDS = 60
# A follower that lacks more entries than this is sent to a snapshot, which is made by then.
STREAM_LIMIT = 1_000
PRIMARY_SETTINGS = {
    "SMTPNIC_PRIMARY_STREAM_LIMIT": str(STREAM_LIMIT),
    "SMTPNIC_PRIMARY_SNAPSHOT_EVERY": str(STREAM_LIMIT),
    "SMTPNIC_PRIMARY_FRESHNESS_SECONDS": "0.5",
    "SMTPNIC_PRIMARY_DRAIN_SECONDS": "0.2",
}
# Some pages of a snapshot's load.
RECORDS = 2_500
REGISTERED = "10.0"
APPLY_STAGES = ["apply.before_tiles", "apply.before_transaction", "apply.after_transaction"]
SNAPSHOT_STAGES = [
    "snapshot.download",
    "snapshot.in_load:2",
    "snapshot.before_cursor",
    "snapshot.before_flip",
    "snapshot.after_flip",
    "cleanup.in_deletion",
]
VICTIMS = ["follower", "supervisor"]
RANDOM_KILLS = int(os.environ.get("SMTPNIC_FOLLOWER_KILLS", "25"))
# Two in five while a snapshot is loaded.
SNAPSHOT_KILLS = RANDOM_KILLS * 2 // 5
# Every so many kills it is the supervisor, and with it everything on the machine.
SUPERVISOR_EVERY = 4
# Of the time from a follower's start, or the beginning of its load, to the kill.
MAX_LIFE_SECONDS = 1.0


class Machine:
    """A primary and one secondary, with somebody who looks at its etcd all the time."""

    def __init__(self, cluster: Cluster, auditor: RevisionAuditor, registrant: Registrant) -> None:
        self.cluster = cluster
        self.auditor = auditor
        self.registrant = registrant
        (self.secondary,) = cluster.secondaries
        self.process = self.secondary.process
        self.probe = Probe(self.secondary)
        self._networks = iter(range(20, 120))
        self._moments = random.Random()

    def traffic(self) -> Traffic:
        """Changes of every kind."""
        return Traffic(lambda: channel_to(self.cluster), str(next(self._networks)))

    def fall_behind(self) -> None:
        """More changes than would be streamed."""
        chosen = list(islice(addresses(REGISTERED), STREAM_LIMIT + 100))
        update_all(self.registrant, chosen, f"mail{self.log_size()}.example.org")

    def log_size(self) -> int:
        """The size of the primary's log."""
        return int(self._statistics().log_size)

    def _statistics(self) -> registration_pb2.Statistics:
        return self.registrant.stub.GetStatistics(registration_pb2.GetStatisticsRequest())

    def start(self, *roles: str, failpoint: str = "") -> None:
        """The secondary is started with these roles, after a kill -9 of all that runs."""
        self.process.kill()
        self.process.env["SMTPNIC_SECONDARY_ROLES"] = json.dumps(roles)
        self.process.start({"SMTPNIC_FAILPOINT": failpoint})

    def deaths(self) -> int:
        """How many followers died by kill -9 under their supervisor."""
        return len(self.probe.events("child.ended", child="follower", code=-9))

    def loads(self) -> int:
        """How many times a follower began to read a snapshot."""
        loading = self.probe.events("phase.changed", phase="loading")
        return sum("snapshot" in event.get("advice", "") for event in loading)

    def is_behind(self) -> bool:
        """Whether the follower needs a snapshot."""
        return self.log_size() - self.auditor.size > STREAM_LIMIT

    def kill(self, victim: str) -> None:
        """kill -9, and until there is another follower."""
        before = wait_until(
            lambda: self.probe.child_pid("follower"), seconds=SECONDS, what="a follower"
        )
        if victim == "supervisor":
            self.process.kill()
            self.process.start()
        else:
            os.kill(before, signal.SIGKILL)
        wait_until(
            lambda: self.probe.child_pid("follower") not in (0, before),
            seconds=SECONDS,
            what="another follower",
        )

    def kill_at_random(self, number: int) -> None:
        """The `number`th kill, some time from now."""
        time.sleep(self._moments.uniform(0, MAX_LIFE_SECONDS))
        self.kill(VICTIMS[number % SUPERVISOR_EVERY == SUPERVISOR_EVERY - 1])

    def wait_past(self, size: int) -> None:
        """Until readers have more of the log than that."""
        wait_until(
            lambda: self.auditor.faults or self.auditor.size > size,
            seconds=SECONDS,
            what=f"more than {size} entries in etcd",
        )

    def assert_equal_to_primary(self) -> None:
        """Readers never saw half a batch, and have all that the primary has, and only that."""
        statistics = self._statistics()
        self.wait_past(statistics.log_size - 1)
        copy = self.auditor.check()
        assert copy.position is not None
        theirs = open_checkpoint(statistics.checkpoint, Roots.load(self.probe.settings))
        assert copy.position.checkpoint == theirs
        assert registrations_in(copy) == self._registrations()
        assert {event["code"] for event in self.probe.events("child.ended")} <= {-9}

    def assert_dns_follows(self) -> None:
        """The DNS server, which nobody killed since the last start, has seen nothing strange."""
        wait_until(
            lambda: self._dns_metric("log_size") == self.auditor.size,
            seconds=SECONDS,
            what="DNS is as far as etcd",
        )
        assert self._dns_metric("replica_refused_total") == 0
        assert self._dns_metric("strange_revisions_total") == 0

    def _dns_metric(self, name: str) -> float | None:
        return self.probe.metric("dns", f"smtpnic_{name}")

    def _registrations(self) -> dict[str, tuple[int, str]]:
        """Version and host of everything registered, as the primary tells."""
        found, token = {}, ""
        while True:
            page = self.registrant.stub.List(
                registration_pb2.ListRequest(page_size=1000, page_token=token), timeout=10
            )
            for view in page.registrations:
                found[view.address] = (view.version, view.registration.host)
            token = page.next_page_token
            if not token:
                return found


def channel_to(cluster: Cluster) -> grpc.Channel:
    return secure_channel(cluster.public, cluster.ca, cluster.primary_address)


def registrations_in(copy: Copy) -> dict[str, tuple[int, str]]:
    """Version and host of everything registered, as etcd holds it."""
    found = {}
    for key, value in copy.records.items():
        record = Record.decode(value)
        if key[0] == Kind.REGISTRATION:
            registration = Registration.decode(Entry.decode(record.entry).payload)
            found[str(Address(key[1:]))] = (record.index, registration.host)
    return found


@contextmanager
def running_primary(root: Path) -> Iterator[Machine]:
    """An empty register; the secondary does not run yet."""
    with (
        Cluster(root, 1, primary_env=PRIMARY_SETTINGS, secondary_env=QUICK) as cluster,
        ExitStack() as stack,
    ):
        cluster.prepare()
        cluster.start_primary()
        registrant = Registrant(stack.enter_context(channel_to(cluster)))
        probe = Probe(cluster.secondaries[0])
        settings = probe.settings
        auditor = RevisionAuditor(probe.etcd_endpoint, settings.layout, Roots.load(settings))
        yield Machine(cluster, stack.enter_context(auditor), registrant)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Some thousand registrations, and a secondary that has loaded them from a snapshot."""
    with running_primary(tmp_path_factory.mktemp("killed")) as machine:
        machine.registrant.create_holder()
        register_all(machine.registrant, list(islice(addresses(REGISTERED), RECORDS)))
        machine.start("follower")
        machine.assert_equal_to_primary()
        yield machine


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("stage", APPLY_STAGES)
def test_kill_at_every_stage_of_a_batch(machine: Machine, stage: str, victim: str) -> None:
    """Killed at a stage of a batch, alone or with everything, the follower goes on from there."""
    before, deaths, size = machine.auditor.applied, machine.deaths(), machine.auditor.size
    machine.start("follower", failpoint=f"{stage}:3")
    with machine.traffic():
        wait_until(lambda: machine.deaths() > deaths, seconds=SECONDS, what=f"death at {stage}")
        if victim == "supervisor":
            machine.kill(victim)
        machine.wait_past(max(size, machine.auditor.size))
    machine.assert_equal_to_primary()
    assert machine.auditor.applied > before


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("stage", SNAPSHOT_STAGES)
def test_kill_at_every_stage_of_a_snapshot(machine: Machine, stage: str, victim: str) -> None:
    """Killed at a stage of a snapshot, readers keep what they have until all of it is there."""
    machine.process.kill()
    machine.fall_behind()
    generation, deaths = machine.auditor.generation, machine.deaths()
    machine.start("follower", failpoint=stage)
    wait_until(lambda: machine.deaths() > deaths, seconds=SECONDS, what=f"death at {stage}")
    if victim == "supervisor":
        machine.kill(victim)
    machine.assert_equal_to_primary()
    assert machine.auditor.generation > generation


def test_kill_in_the_first_batch_of_all(tmp_path: Path) -> None:
    """Killed when a new replica has its first batch, and is not current yet: it begins again."""
    with running_primary(tmp_path) as machine:
        machine.registrant.create_holder()
        machine.registrant.register("10.0.0.1")
        machine.start("follower", failpoint="apply.after_transaction")
        machine.assert_equal_to_primary()
        assert machine.deaths() == 1
        assert machine.auditor.generation > 1


def test_kill_at_random_under_changes(machine: Machine) -> None:
    """Killed again and again while changes arrive: never half a batch, and nothing is missing."""
    machine.start("follower", "dns")
    with machine.traffic():
        for kill in range(RANDOM_KILLS - SNAPSHOT_KILLS):
            machine.kill_at_random(kill)
            # Every other follower is killed before it has read the replica back, maybe.
            if kill % 2 == 0:
                machine.wait_past(machine.auditor.size)
    machine.assert_equal_to_primary()
    machine.assert_dns_follows()


def test_kill_at_random_while_a_snapshot_is_loaded(machine: Machine) -> None:
    """Killed again and again while it loads: what is current is whole, and the load ends."""
    machine.start("follower")
    generation = machine.auditor.generation
    for kill in range(SNAPSHOT_KILLS):
        loads = machine.loads()
        if not machine.is_behind():
            machine.process.kill()
            machine.fall_behind()
            machine.process.start()
        wait_until(
            lambda loads=loads: machine.loads() > loads or not machine.is_behind(),  # type: ignore[misc]
            seconds=SECONDS,
            what=f"the load after kill {kill}",
        )
        machine.kill_at_random(kill)
    machine.assert_equal_to_primary()
    assert machine.auditor.generation > generation
