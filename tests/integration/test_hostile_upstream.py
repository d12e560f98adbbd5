"""P2, P5: whatever an upstream sends or a stranger writes, the last good state is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lab.process import program, run
from primary.pki import Authority, authority_digest
from registry.batch import Record
from registry.checkpoint import Checkpoint, sign_checkpoint
from registry.errors import (
    BoardError,
    LimitError,
    MalformedError,
    ThresholdError,
    VerificationError,
)
from registry.fork import ForkEvidence
from registry.note import Signer
from registry.snapshot import encode_snapshot, snapshot_name
from registry.wire.v1 import replication_pb2 as pb
from secondary.etcd import EtcdStore
from secondary.etcd_values import Put
from secondary.layout import Generation
from secondary.replica import record_puts
from tests.support.boards import ALICE, BOB, DAVE, Signatory, chain_of, next_root, sign_root
from tests.support.log_builder import ORIGIN, LogBuilder
from tests.support.mirror import (
    ABSENT_KEY,
    HOME,
    HOME_KEY,
    SECONDS,
    Mirror,
    address_of,
    change,
    host_of,
    log_of,
)
from tests.support.replicas import cursor_of
from tests.support.tampering import TAMPERING, Tamper
from tests.support.upstream_server import NO_LIMIT, UpstreamServer, response
from tests.support.wait import wait_until

SETTINGS = {"SMTPNIC_SECONDARY_RECHECK_SECONDS": "2"}
TAMPERS = [pytest.param(tamper, error, id=tamper.__name__) for tamper, error in TAMPERING]
NOW_S = 1_700_001_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """A secondary that has caught up with a short log."""
    with Mirror(tmp_path_factory.mktemp("hostile"), SETTINGS) as mirror:
        mirror.wait_current()
        yield mirror


@pytest.fixture
def mirror(running: Mirror) -> Iterator[Mirror]:
    """It is asked all through the test, goes on with an honest upstream afterwards, and nothing
    but what was killed has ended."""
    with running.asker():
        yield running
        running.go_on()
    assert {event["code"] for event in running.probe.events("child.ended")} <= {0}


def assert_refused(mirror: Mirror, lie: bytes, error: str) -> None:
    """The lie is refused under its own name, and leaves no trace in etcd or DNS."""
    before, cursor = refusals(mirror, error), mirror.cursor()
    counted = refusal_count(mirror, error)
    with mirror.upstream.changing() as upstream:
        upstream.lie = lie
    wait_until(
        lambda: refusals(mirror, error) > before,
        seconds=SECONDS,
        what=f"{error} in the log; {mirror.probe.status()}",
    )
    mirror.wait_phase("stopped")
    assert refusal_count(mirror, error) > counted
    assert mirror.cursor() == cursor
    assert mirror.secondary.ask_dns(address_of(mirror.rounds + 1)) == "NXDOMAIN"
    assert host_of(mirror.rounds) in mirror.secondary.ask_whois(HOME)


def refusals(mirror: Mirror, error: str) -> int:
    return len(mirror.probe.events("upstream.distrusted", error=error))


def refusal_count(mirror: Mirror, error: str) -> float:
    name = "smtpnic_follower_refused_total"
    return mirror.probe.metric("follower", name, error=error) or 0


@pytest.mark.parametrize(("tamper", "error"), TAMPERS)
def test_tampering_is_refused(
    mirror: Mirror, tamper: Tamper, error: type[VerificationError]
) -> None:
    """Each way to tamper with a batch is refused with its own error; the honest batch is taken."""
    log = log_of(mirror.rounds)
    change(log, mirror.rounds + 1)
    assert_refused(mirror, response(tamper(log)), error.__name__)


def test_a_message_beyond_all_limits_is_refused(mirror: Mirror) -> None:
    """More than gRPC takes is the protocol's limit passed, and not an outage."""
    assert_refused(mirror, response(bytes(5 << 20)), LimitError.__name__)


def test_what_is_no_message_is_refused(mirror: Mirror) -> None:
    """Bytes that follow no format are refused as such, and not taken for an outage."""
    assert_refused(mirror, b"\xff\xff", MalformedError.__name__)


TWO = {"threshold": 2, "board": (ALICE.member, BOB.member)}


@pytest.mark.parametrize(
    ("changes", "signatories", "error"),
    [
        ({}, (DAVE,), ThresholdError),
        (TWO, (ALICE,), ThresholdError),
        (TWO, (ALICE, ALICE), ThresholdError),
        ({"version": 3}, (ALICE,), BoardError),
        ({"previous": bytes(32)}, (ALICE,), BoardError),
    ],
    ids=["a stranger's", "too few", "one key twice", "a gap", "after another"],
)
def test_a_false_root_is_refused(
    mirror: Mirror,
    changes: dict[str, Any],
    signatories: tuple[Signatory, ...],
    error: type[VerificationError],
) -> None:
    """An upstream that gives a root the board did not sign is not followed; lookups go on.

    Seen: refused under the error's own name, before any checkpoint of it was looked at.
    """
    first = chain_of(
        mirror.log.signer,
        mirror.log.cosigner,
        authority_digest(mirror.authority.identity.certificate),
    ).current
    false = sign_root(next_root(first, **changes), *signatories)
    before = refusals(mirror, error.__name__)
    mirror.cut_off()
    with mirror.upstream.changing() as upstream:
        upstream.roots, upstream.is_away = [false], False
    wait_until(
        lambda: refusals(mirror, error.__name__) > before, seconds=SECONDS, what=error.__name__
    )
    mirror.wait_phase("stopped")
    assert mirror.probe.metric("follower", "smtpnic_root_version") == 1


def test_an_impostor_is_told_nothing(mirror: Mirror) -> None:
    """Whoever takes the upstream's address, with a certificate of another authority, gets no call.

    Seen: the handshake fails, the mirror says that its upstream is away, and serves what it holds.
    """
    mirror.wait_phase("following")
    address, _, port = mirror.upstream.endpoint.rpartition(":")
    cursor = mirror.cursor()
    mirror.upstream.close()
    stranger = Authority.create("another", datetime.now(UTC))
    impostor = UpstreamServer(log_of(mirror.rounds + 1), stranger, address, int(port))
    try:
        mirror.wait_phase("disconnected")
        wait_until(
            lambda: "CERTIFICATE_VERIFY_FAILED" in mirror.probe.status().advice,
            seconds=SECONDS,
            what=f"the handshake; {mirror.probe.status()}",
        )
        assert 0 == impostor.calls
        assert cursor == mirror.cursor()
    finally:
        impostor.close()
        log = log_of(mirror.rounds)
        mirror.upstream = UpstreamServer(log, mirror.authority, address, int(port))


def other_log(mirror: Mirror, rounds: int = 0) -> LogBuilder:
    """Another log of the same key: longer by so many rounds, or of the same size."""
    return log_of(mirror.rounds + rounds, holder=99)


def fork_by_claim(mirror: Mirror, upstream: UpstreamServer) -> bytes:
    """The upstream has another log, and says so."""
    upstream.log = other_log(mirror, 3)
    return upstream.log.checkpoint


def fork_by_checkpoint(mirror: Mirror, upstream: UpstreamServer) -> bytes:
    """It shows another checkpoint of the very size."""
    upstream.checkpoint = other_log(mirror).checkpoint
    return upstream.checkpoint


def fork_by_freshness(mirror: Mirror, upstream: UpstreamServer) -> bytes:
    """It streams the same log, and a fresh checkpoint of another."""
    note = other_log(mirror).freshness(NOW_S)
    freshness = pb.Freshness(checkpoint=note)
    upstream.lie = pb.SubscribeResponse(freshness=freshness).SerializeToString()
    return note


def fork_by_snapshot(mirror: Mirror, upstream: UpstreamServer) -> bytes:
    """It asks for a snapshot of another log to be read."""
    upstream.log = other_log(mirror, 3)
    needed = upstream.needed_snapshot()
    upstream.lie = pb.SubscribeResponse(need_snapshot=needed).SerializeToString()
    return upstream.log.checkpoint


def verified_offline(data_dir: Path, mirror: Mirror) -> str:
    """What `smtpnic verify-fork` says of the newest file, with the root and without a network."""
    newest = max(data_dir.glob("fork-*.json"), key=lambda path: path.stat().st_mtime_ns)
    root = mirror.probe.settings.root_file
    return run([program("smtpnic"), f"--root={root}", "verify-fork", str(newest)])


@pytest.mark.parametrize(
    "fork", [fork_by_claim, fork_by_checkpoint, fork_by_freshness, fork_by_snapshot]
)
def test_a_fork_is_kept_as_evidence(
    mirror: Mirror, fork: Callable[[Mirror, UpstreamServer], bytes]
) -> None:
    """Two signed histories: both notes are kept, following ends, the last good state is served."""
    ours, data_dir = mirror.log.checkpoint, mirror.probe.settings.data_dir
    mirror.cut_off()
    with mirror.upstream.changing() as upstream:
        theirs = fork(mirror, upstream)
        upstream.is_away = False
    mirror.wait_phase("forked", "publish")
    assert mirror.probe.metric("follower", "smtpnic_follower_phase", phase="forked") == 1
    kept = [ForkEvidence.decode(path.read_bytes()) for path in data_dir.glob("fork-*.json")]
    (evidence,) = [one for one in kept if (ours, theirs) == (one.ours, one.theirs)]
    evidence.verify(mirror.log.verifier)
    assert "fork" in verified_offline(data_dir, mirror)
    assert mirror.secondary.ask_dns(address_of(mirror.rounds + 1)) == "NXDOMAIN"
    with mirror.upstream.changing() as upstream:
        upstream.log = log_of(mirror.rounds)
        upstream.lie = upstream.checkpoint = b""
    mirror.restart_follower()


def changed(mirror: Mirror, generation: Generation) -> tuple[list[Put], list[bytes]]:
    """A registration with another host."""
    return [(generation.record(HOME_KEY), forged_record())], []


def deleted(mirror: Mirror, generation: Generation) -> tuple[list[Put], list[bytes]]:
    """A registration is gone."""
    return [], [generation.record(HOME_KEY)]


def added(mirror: Mirror, generation: Generation) -> tuple[list[Put], list[bytes]]:
    """A registration that the registry never made."""
    return [(generation.record(ABSENT_KEY), forged_record())], []


def false_cursor(mirror: Mirror, generation: Generation) -> tuple[list[Put], list[bytes]]:
    """The cursor of another log, which another key signed."""
    other = LogBuilder("example.net")
    other.fill(1)
    return [(generation.cursor, cursor_of(other))], []


def forged_record() -> bytes:
    """A well-formed record of HOME that nobody signed."""
    other = LogBuilder()
    other.put_registration(HOME, "forged.example.org")
    other.commit()
    return other.records[HOME_KEY].encode()


@pytest.mark.parametrize("stranger", [changed, deleted, added, false_cursor])
def test_a_strangers_write_is_noticed_and_never_served(
    mirror: Mirror, stranger: Callable[[Mirror, Generation], tuple[list[Put], list[bytes]]]
) -> None:
    """Followers and DNS find in their audit what else wrote to etcd; it is made good."""
    generation = mirror.cut_off()
    refused = mirror.metric("dns", "replica_refused_total")
    damaged = refusal_count(mirror, "ReplicaDamagedError")
    puts, deletes = stranger(mirror, generation)
    with mirror.probe.store() as store:
        store.txn([], puts, deletes)
    wait_until(
        lambda: mirror.metric("dns", "replica_refused_total") > refused,
        seconds=SECONDS,
        what="DNS refuses the replica",
    )
    wait_until(
        lambda: refusal_count(mirror, "ReplicaDamagedError") > damaged,
        seconds=SECONDS,
        what="the follower finds the damage",
    )
    assert host_of(mirror.rounds) in mirror.secondary.ask_whois(HOME)
    mirror.go_on()
    assert mirror.generation().number > generation.number
    assert host_of(mirror.rounds) in mirror.secondary.ask_whois(HOME)


def test_a_replica_put_back_is_not_served(mirror: Mirror) -> None:
    """An old state in etcd, all of it as signed then, is waited through until it has caught up."""
    mirror.go_on(2)
    generation = mirror.cut_off()
    behind = mirror.metric("dns", "replica_behind_total")
    with mirror.probe.store() as store:
        put_back(store, generation, mirror.log, log_of(mirror.rounds - 1))
    wait_until(
        lambda: mirror.metric("dns", "replica_behind_total") > behind,
        seconds=SECONDS,
        what="DNS finds the replica behind",
    )
    assert mirror.secondary.ask_dns(address_of(mirror.rounds)) == "registered"
    assert host_of(mirror.rounds) in mirror.secondary.ask_whois(HOME)


def put_back(
    store: EtcdStore, generation: Generation, newer: LogBuilder, older: LogBuilder
) -> None:
    """What the newer log amounts to becomes what the older one did, in one transaction."""
    puts = [(generation.cursor, cursor_of(older))]
    for key, record in older.records.items():
        # All of them would soon be more than a transaction takes.
        if record != newer.records.get(key):
            encoded = Record(record.index, record.entry).encode()
            puts += record_puts(generation, key, encoded, record.openings)
    gone = newer.records.keys() - older.records.keys()
    store.txn([], puts, [generation.record(key) for key in gone])


def damaged(log: LogBuilder) -> bytes:
    """One byte of a host is another."""
    return log.snapshot().replace(b"mail", b"nail", 1)


def cut_short(log: LogBuilder) -> bytes:
    """The second half is missing, and was never announced."""
    data = log.snapshot()
    return data[: len(data) // 2]


def false_header(log: LogBuilder) -> bytes:
    """The same state, signed by another key."""
    checkpoint = sign_checkpoint(Checkpoint(ORIGIN, log.size, log.root), Signer(ORIGIN, bytes(32)))
    header = log.snapshot_header()
    signed_state = replace(header.signed_state, checkpoint=checkpoint)
    ordered = [record for _, record in sorted(log.records.items())]
    return b"".join(encode_snapshot(replace(header, signed_state=signed_state), ordered))


def false_record(log: LogBuilder) -> bytes:
    """Whole and well-formed, and one record is another than was signed."""
    records = dict(log.records)
    records[HOME_KEY] = Record.decode(forged_record())
    ordered = [record for _, record in sorted(records.items())]
    return b"".join(encode_snapshot(log.snapshot_header(), ordered))


class TestSnapshot:
    """An upstream that wants a snapshot to be read."""

    @pytest.fixture(autouse=True)
    def no_limit_afterwards(self, mirror: Mirror) -> Iterator[None]:
        yield
        with mirror.upstream.changing() as upstream:
            upstream.stream_limit, upstream.break_after = NO_LIMIT, None

    def announce(
        self, mirror: Mirror, spoil: Callable[[LogBuilder], bytes] = LogBuilder.snapshot
    ) -> None:
        """The log has grown, and is only to be had as a snapshot, maybe spoilt."""
        mirror.cut_off()
        mirror.rounds += 3
        with mirror.upstream.changing() as upstream:
            upstream.log = log_of(mirror.rounds)
            upstream.snapshot = spoil(upstream.log)
            upstream.stream_limit = 0
            upstream.is_away = False

    @pytest.mark.parametrize(
        ("spoil", "error"),
        [
            (damaged, "MalformedError"),
            (cut_short, "MalformedError"),
            (false_header, "SignatureError"),
            (false_record, "ReplicaDamagedError"),
        ],
    )
    def test_a_spoilt_file_is_refused(
        self, mirror: Mirror, spoil: Callable[[LogBuilder], bytes], error: str
    ) -> None:
        """It is refused before anybody reads what it made, and the honest file is taken."""
        generation, counted = mirror.generation(), refusal_count(mirror, error)
        before = mirror.rounds
        self.announce(mirror, spoil)
        wait_until(lambda: refusal_count(mirror, error) > counted, seconds=SECONDS, what=f"{error}")
        mirror.wait_phase("stopped")
        assert mirror.generation() == generation
        assert host_of(before) in mirror.secondary.ask_whois(HOME)
        with mirror.upstream.changing() as upstream:
            upstream.snapshot = b""
        mirror.wait_current()
        assert mirror.generation().number > generation.number

    def test_an_old_one_is_refused(self, mirror: Mirror) -> None:
        """A snapshot of the same log, true when it was made, does not bring the past back."""
        mirror.go_on(2)
        old = log_of(mirror.rounds - 1)
        name = snapshot_name(old.size, old.state.state_root)
        needed = pb.NeedSnapshot(name=name, bytes=len(old.snapshot()), size=old.size)
        with mirror.upstream.changing() as upstream:
            upstream.snapshot = old.snapshot()
        lie = pb.SubscribeResponse(need_snapshot=needed).SerializeToString()
        assert_refused(mirror, lie, "SequenceError")

    def test_what_is_held_is_refused(self, mirror: Mirror) -> None:
        """Who has all of the log is not made to read it again, and again."""
        mirror.go_on()
        mirror.upstream.offsets.clear()
        needed = mirror.upstream.needed_snapshot()
        lie = pb.SubscribeResponse(need_snapshot=needed).SerializeToString()
        assert_refused(mirror, lie, "SequenceError")
        assert not mirror.upstream.offsets

    @pytest.mark.parametrize(("size", "error"), [(0, "LimitError"), (1 << 40, "SequenceError")])
    def test_an_announcement_that_cannot_be_is_refused(
        self, mirror: Mirror, size: int, error: str
    ) -> None:
        """Half a terabyte, of the log as it is or of one that nobody signed: not a byte is read."""
        log = log_of(mirror.rounds + 1)
        entries = size or log.size
        needed = pb.NeedSnapshot(
            name=snapshot_name(entries, log.state.state_root), bytes=1 << 39, size=entries
        )
        mirror.upstream.offsets.clear()
        with mirror.upstream.changing() as upstream:
            upstream.checkpoint = log.checkpoint
        lie = pb.SubscribeResponse(need_snapshot=needed).SerializeToString()
        assert_refused(mirror, lie, error)
        assert not mirror.upstream.offsets

    def test_a_reading_that_breaks_off_is_resumed(self, mirror: Mirror) -> None:
        """Each reading begins where the last one ended, and no byte is sent twice."""
        mirror.upstream.offsets.clear()
        mirror.upstream.bytes_sent = 0
        mirror.upstream.break_after = 1_000
        self.announce(mirror)
        mirror.wait_current()
        size = len(mirror.log.snapshot())
        assert mirror.upstream.offsets == list(range(0, size, 1_000))
        assert mirror.upstream.bytes_sent == size
