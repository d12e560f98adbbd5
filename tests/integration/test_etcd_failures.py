"""P3: a failure is not an answer: whatever becomes of etcd, what was loaded is served."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from lab.cluster import DNS_HTTP_PORT, WHOIS_HTTP_PORT
from secondary.etcd import EtcdStore
from tests.support.etcd import EtcdProcess, running_etcd
from tests.support.mirror import ABSENT, HOME, SECONDS, Mirror, address_of, host_of
from tests.support.upstream_server import NO_LIMIT
from tests.support.wait import wait_until

# RFC 8914, 4.15: Not Ready.
NOT_READY = 14
QUOTA_BYTES = 64 << 20
# Some 6 MB fit into the connection and the buffers of a watcher that stands still.
OVERRUN_REVISIONS = 600
OVERRUN_BYTES = 40_000
ROLES = ("dns", "whois")


class Database:
    """The etcd behind a mirror, and what an operator or a stranger does to it."""

    def __init__(self, process: EtcdProcess, directory: Path) -> None:
        self.process = process
        self.directory = directory
        self.store = EtcdStore([process.endpoint], call_seconds=2)

    def wipe(self) -> None:
        """As if the disk had been replaced while it was down."""
        self.process.kill()
        shutil.rmtree(self.directory / "etcd")
        self.process.start()

    def fill(self) -> None:
        """Put what does not belong here until there is no room left."""
        self.process.fill(b"/junk")

    def make_room(self) -> None:
        """Delete it, compact, defragment and disarm: what etcdctl does."""
        self.store.txn([], [], [b"/junk"])
        self.process.make_room()

    def compact(self) -> None:
        """Forget everything but the present."""
        self.store.compact(self.store.get(b"?").revision)

    def overrun_watches(self) -> None:
        """Change, under the replica's prefix, more than is kept for a watcher that does not read.

        The keys are none of the layout's.
        """
        for number in range(OVERRUN_REVISIONS):
            self.store.txn([], [(b"/smtpnic/junk/%d" % number, bytes(OVERRUN_BYTES))])
        for _ in self.store.delete_prefix(b"/smtpnic/junk/"):
            pass


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """An etcd with little room."""
    directory = tmp_path_factory.mktemp("etcd")
    with running_etcd(directory, f"--quota-backend-bytes={QUOTA_BYTES}") as process:
        database = Database(process, directory)
        yield database
        database.store.close()


@pytest.fixture(scope="module")
def running(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """A secondary on that etcd, loaded."""
    root = tmp_path_factory.mktemp("mirror")
    with Mirror(root, etcd=database.process.endpoint) as mirror:
        mirror.go_on()
        yield mirror


@pytest.fixture
def mirror(running: Mirror) -> Iterator[Mirror]:
    """It is asked all through the test, and in the end everything that was registered is served."""
    with running.asker():
        yield running
        running.go_on()
        for number in range(1, running.rounds + 1):
            assert running.secondary.ask_dns(address_of(number)) == "registered"
    assert {event["code"] for event in running.probe.events("child.ended")} <= {-9}


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process stands still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def assert_served(mirror: Mirror, rounds: int) -> None:
    """DNS and WHOIS answer from the log as it was after so many rounds."""
    assert mirror.secondary.ask_dns(address_of(rounds)) == "registered"
    assert mirror.secondary.ask_dns(address_of(rounds + 1)) == "NXDOMAIN"
    assert host_of(rounds) in mirror.secondary.ask_whois(HOME)


def test_never_loaded_is_a_failure(tmp_path: Path) -> None:
    """Without a register, DNS fails and says why, WHOIS says so, and nobody sends traffic here."""
    with Mirror(tmp_path) as mirror:
        with mirror.upstream.changing() as upstream:
            upstream.is_away = True
        mirror.wait_phase("disconnected")
        for role in ROLES:
            wait_until(
                lambda role=role: mirror.metric(role, "view_loaded") == 0,  # type: ignore[misc]
                seconds=SECONDS,
                what=f"{role} runs",
            )
        for address in (HOME, ABSENT):
            assert mirror.probe.extended_error(address) == ("SERVFAIL", NOT_READY)
            answer = mirror.secondary.ask_whois(address)
            assert "not loaded" in answer
            assert "no match" not in answer
        for port in (DNS_HTTP_PORT, WHOIS_HTTP_PORT):
            with pytest.raises(HTTPError, match="503"):
                urlopen(f"http://{mirror.secondary.address}:{port}/readyz")
        mirror.go_on()
        assert_served(mirror, mirror.rounds)


class TestAway:
    """etcd does not answer, in one way or another."""

    @pytest.mark.parametrize("way", ["stopped", "frozen"])
    def test_lookups_go_on(self, mirror: Mirror, database: Database, way: str) -> None:
        """What was loaded is served, log and metrics say why it is old; then nothing is missing."""
        before = mirror.rounds
        loads = {role: mirror.metric(role, "replica_loads_total") for role in ROLES}
        outages = len(mirror.probe.events("etcd.away"))
        with database.process.stopped() if way == "stopped" else database.process.frozen():
            mirror.grow(3)
            for role in ROLES:
                wait_until(
                    lambda role=role: mirror.metric(role, "etcd_up") == 0,  # type: ignore[misc]
                    seconds=SECONDS,
                    what=f"{role} notices",
                )
                assert mirror.metric(role, "etcd_silence_seconds") > 0
            mirror.wait_phase("disconnected", "etcd")
            assert len(mirror.probe.events("etcd.away")) >= outages + len(ROLES) + 1
            assert_served(mirror, before)
        mirror.wait_current()
        assert_served(mirror, mirror.rounds)
        assert loads == {role: mirror.metric(role, "replica_loads_total") for role in ROLES}
        for role in ROLES:
            assert mirror.metric(role, "etcd_up") == 1
        mirror.wait_phase("following")


def test_a_full_etcd(mirror: Mirror, database: Database) -> None:
    """The follower says what to do, and goes on where it was when that is done."""
    before = mirror.rounds
    database.fill()
    mirror.grow(3)
    mirror.wait_phase("disconnected", "alarm disarm")
    assert "etcd is full" in mirror.probe.status().advice
    assert [event["error"] for event in mirror.probe.events("etcd.away")][-1] == "EtcdFull"
    assert_served(mirror, before)
    database.make_room()
    mirror.wait_current()
    mirror.wait_phase("following")
    assert mirror.probe.status().advice == ""


def test_compacted_under_the_watch(mirror: Mirror, database: Database) -> None:
    """Revisions that a reader has not seen are gone: it loads again, and misses nothing."""
    loads, losses = mirror.metric("dns", "replica_loads_total"), lost_watches(mirror)
    with frozen(mirror.probe.child_pid("dns")):
        database.overrun_watches()
        mirror.grow(3)
        wait_until(
            lambda: mirror.probe.status().size == mirror.log.size, seconds=SECONDS, what="etcd"
        )
        database.compact()
    mirror.wait_current()
    assert lost_watches(mirror) > losses
    assert mirror.metric("dns", "replica_loads_total") > loads
    assert_served(mirror, mirror.rounds)


def lost_watches(mirror: Mirror) -> int:
    return len(mirror.probe.events("watch.lost"))


def flip(mirror: Mirror) -> None:
    """Another generation is served, and every other deleted."""
    before = mirror.generation()
    mirror.cut_off()
    with mirror.upstream.changing() as upstream:
        upstream.stream_limit = 0
    mirror.grow()
    with mirror.probe.store() as store:
        wait_until(
            lambda: store.first_key(before.prefix, before.end) is None,
            seconds=SECONDS,
            what=f"generation {before.number} deleted",
        )
    assert mirror.generation().number > before.number
    mirror.upstream.stream_limit = NO_LIMIT


@pytest.mark.parametrize("times", [1, 2])
def test_old_generations_are_deleted_while_readers_look(mirror: Mirror, times: int) -> None:
    """Who stood still through flips and deletions, and who loads meanwhile, serve all of it."""
    with frozen(mirror.probe.child_pid("dns")):
        os.kill(mirror.probe.child_pid("whois"), signal.SIGKILL)
        for _ in range(times):
            flip(mirror)
    mirror.wait_current()
    for role in ROLES:
        assert mirror.metric(role, "strange_revisions_total") == 0
        assert mirror.metric(role, "replica_refused_total") == 0


def test_a_wiped_etcd(mirror: Mirror, database: Database) -> None:
    """Its data gone, the replica is made anew, while what was loaded is served."""
    before, losses = mirror.rounds, lost_watches(mirror)
    mirror.cut_off()
    database.wipe()
    wait_until(
        lambda: lost_watches(mirror) == losses + len(ROLES), seconds=SECONDS, what="readers notice"
    )
    assert_served(mirror, before)
    mirror.go_on()
    assert mirror.generation().number == 1
