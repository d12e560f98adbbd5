"""The follower on a real etcd: follows, resumes, starts from snapshots, and believes nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from registry.batch import Batch
from registry.contact import Opening
from registry.entry import Entry
from registry.fork import ForkEvidence
from registry.kinds import Operation
from registry.proof import verify_lookup
from registry.snapshot import DIGEST_BYTES, snapshot_name
from secondary import layout
from secondary.cursor import Cursor
from secondary.etcd import EtcdStore
from secondary.etcd_use import EtcdUse
from secondary.follower import Follower
from secondary.follower_status import FollowerStatus, Phase, StatusBoard
from secondary.generations import Generations
from secondary.housekeeping import Housekeeping
from secondary.log_tiles import LogTiles
from secondary.proving import CannotProveError, Prover
from secondary.replica import read_replica
from secondary.sections import EtcdSettings, FollowerSettings
from secondary.settings import SecondarySettings
from secondary.upstream import ForkClaim, FreshnessNote, NeedSnapshot
from tests.support.boards import roots_of
from tests.support.etcd import EtcdProcess, running_etcd
from tests.support.fake_upstream import FakeUpstream
from tests.support.log_builder import HOLDER_ID, LogBuilder
from tests.support.replicas import LAYOUT
from tests.support.tampering import TAMPERING, Tamper, prepared
from tests.support.wait import wait_until

SECONDS = 20.0
FRESH_S = 1_700_001_000


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    """A fresh etcd."""
    with running_etcd(tmp_path) as process:
        yield process


@pytest.fixture
def log() -> LogBuilder:
    """A log of a holder with a public contact, and some registrations."""
    log = LogBuilder()
    log.put_holder()
    log.commit()
    log.fill(100)
    return log


class Running:
    """A follower of a fake upstream, in a thread; a context manager that ends it."""

    def __init__(self, etcd: EtcdProcess, upstream: FakeUpstream, directory: Path) -> None:
        log = upstream.log
        self.upstream = upstream
        self.settings = SecondarySettings(
            name="m",
            upstream="127.0.0.1:1",  # type: ignore[arg-type]
            data_dir=directory,
            etcd=EtcdSettings(endpoints=(etcd.endpoint,)),
            follower=FollowerSettings(
                retry_seconds=0.05, max_retry_seconds=0.2, distrust_seconds=0.3
            ),
        )
        self.store = EtcdStore([etcd.endpoint], call_seconds=1)
        self.tiles = LogTiles(self.settings.tiles_dir)
        self.board = StatusBoard()
        self.roots = roots_of(log)
        self.follower = Follower(
            self.settings, self.store, upstream, self.tiles, self.board, roots=self.roots
        )
        self.prover = Prover(self.store, self.tiles, lambda: self.follower.replica)
        self._thread = threading.Thread(target=self.follower.run)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.follower.stop()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        self.tiles.close()
        self.store.close()

    @property
    def status(self) -> FollowerStatus:
        """The newest status."""
        return self.board.now

    def wait_for(self, size: int) -> None:
        """Until it holds so much of the log."""
        wait_until(
            lambda: self.status.size == size and self.status.phase is Phase.FOLLOWING,
            seconds=SECONDS,
            what=f"size {size}; {self.status}",
        )

    def wait_for_phase(self, phase: Phase) -> None:
        """Until it says so."""
        wait_until(lambda: self.status.phase is phase, seconds=SECONDS, what=f"{phase}")

    def check(self) -> None:
        """That etcd holds the upstream's log, all of it and nothing else."""
        log = self.upstream.log
        served = Generations(self.store, LAYOUT).served().generation
        assert served is not None
        stored, tree, _ = read_replica(self.store, served, self.roots)
        assert stored.position.checkpoint.root == log.root
        assert tree.live == len(log.records)


@pytest.fixture
def running(etcd: EtcdProcess, log: LogBuilder, tmp_path: Path) -> Iterator[Running]:
    """A follower that has caught up with the log."""
    with Running(etcd, FakeUpstream(log), tmp_path / "data") as running:
        running.wait_for(log.size)
        yield running


def test_it_follows(running: Running, log: LogBuilder) -> None:
    """What is committed is in etcd, and the status says how far."""
    running.check()
    with running.upstream.changing():
        log.delete(log.put_registration("192.0.2.7"))
        log.put_registration("192.0.2.8")
        log.commit()
    running.wait_for(log.size)
    running.check()
    status = running.status
    assert (status.zone_serial, status.live_keys) == (log.zone_serial, len(log.records))
    assert status.checkpoint == log.checkpoint
    assert status.advice == ""


def test_it_resumes_where_it_was(etcd: EtcdProcess, log: LogBuilder, tmp_path: Path) -> None:
    """A new process reads the replica back, and asks for what follows."""
    upstream = FakeUpstream(log)
    with Running(etcd, upstream, tmp_path / "data") as first:
        first.wait_for(log.size)
    with upstream.changing():
        log.fill(3)
    with Running(etcd, upstream, tmp_path / "data") as second:
        second.wait_for(log.size)
        second.check()
        assert second.tiles.is_complete
    assert upstream.tile_requests == 0


def test_the_upstream_away_and_back(running: Running, log: LogBuilder) -> None:
    """While it is away the follower says so; then it goes on."""
    running.upstream.is_down = True
    running.wait_for_phase(Phase.DISCONNECTED)
    assert "lookups go on" in running.status.advice
    with running.upstream.changing():
        log.fill(2)
    running.upstream.is_down = False
    running.wait_for(log.size)
    running.check()


def test_etcd_away_and_back(running: Running, etcd: EtcdProcess, log: LogBuilder) -> None:
    """While etcd is away batches wait; the same batch is stored when it is back."""
    etcd.kill()
    with running.upstream.changing():
        log.fill(2)
    running.wait_for_phase(Phase.DISCONNECTED)
    assert running.status.advice.startswith("etcd")
    etcd.start()
    running.wait_for(log.size)
    running.check()


def test_a_full_etcd(log: LogBuilder, tmp_path: Path) -> None:
    """When etcd takes no more, the follower says what to do, and goes on when that is done."""
    with (
        running_etcd(tmp_path, "--quota-backend-bytes", str(16 << 20)) as etcd,
        Running(etcd, FakeUpstream(log), tmp_path / "data") as running,
    ):
        running.wait_for(log.size)
        etcd.fill(b"filling")
        with running.upstream.changing():
            log.fill(2)
        running.wait_for_phase(Phase.DISCONNECTED)
        assert "etcd is full: raise its quota" in running.status.advice
        running.store.txn([], [], [b"filling"])
        etcd.make_room()
        running.wait_for(log.size)
        running.check()


def test_freshness_is_stored(running: Running, log: LogBuilder) -> None:
    """A freshness cosignature of the size held is verified, shown, and put into the cursor."""
    note = log.freshness(FRESH_S)
    running.upstream.inject(lambda: FreshnessNote(note))
    wait_until(
        lambda: running.status.freshness_ms == FRESH_S * 1000, seconds=SECONDS, what="freshness"
    )
    replica = running.follower.replica
    assert replica is not None
    wait_until(
        lambda: _cursor(running).freshness == note, seconds=SECONDS, what="the cursor is fresh"
    )


def test_an_older_freshness_does_not_replace_a_newer_one(
    running: Running, etcd: EtcdProcess, log: LogBuilder, tmp_path: Path
) -> None:
    """What was said before is passed over, also by a process that begins with what is stored."""
    _freshen(running, log.freshness(FRESH_S), FRESH_S)
    running.upstream.inject(lambda: FreshnessNote(log.freshness(FRESH_S - 60)))
    newer = log.freshness(FRESH_S + 1)
    _freshen(running, newer, FRESH_S + 1)
    running.follower.stop()

    # The follower that begins is told an old time first; a batch shows that it has listened.
    upstream = FakeUpstream(log)
    upstream.inject(lambda: FreshnessNote(log.freshness(FRESH_S)))
    with Running(etcd, upstream, tmp_path / "other") as other:
        wait_until(lambda: not upstream.injected, seconds=SECONDS, what="the old note is taken")
        with upstream.changing():
            log.fill(1)
        other.wait_for(log.size)
        assert other.status.freshness_ms == (FRESH_S + 1) * 1000
        assert _cursor(other).freshness == newer


def _freshen(running: Running, note: bytes, time_s: int) -> None:
    """The upstream sends a note, which is seen in etcd."""
    running.upstream.inject(lambda: FreshnessNote(note))
    wait_until(
        lambda: _cursor(running).freshness == note, seconds=SECONDS, what="the cursor is fresh"
    )
    assert running.status.freshness_ms == time_s * 1000


def _cursor(running: Running) -> Cursor:
    replica = running.follower.replica
    assert replica is not None
    return Cursor.decode(running.store.get(replica.generation.cursor).value or b"")


@pytest.mark.parametrize("tamper", [tamper for tamper, _ in TAMPERING])
def test_tampering_stops_it(etcd: EtcdProcess, tmp_path: Path, tamper: Tamper) -> None:
    """Nothing that the registry did not sign is stored; the last good state stays (P2)."""
    log, _ = prepared()
    upstream = FakeUpstream(log)
    with Running(etcd, upstream, tmp_path / "data") as running:
        running.wait_for(log.size)
        before = running.store.get(LAYOUT.generation(1).cursor).value
        with upstream.changing():
            bad = tamper(log)
            upstream.inject(lambda: Batch.decode(bad))
            upstream.log, _ = prepared()
        running.wait_for_phase(Phase.STOPPED)
        assert "last good state" in running.status.advice
        assert running.store.get(LAYOUT.generation(1).cursor).value == before
        with upstream.changing():
            upstream.log.commit()
        running.wait_for(upstream.log.size)
        running.check()


class TestFork:
    """Two signed checkpoints that disagree."""

    def test_evidence_is_kept_and_following_ends(self, running: Running, tmp_path: Path) -> None:
        """Both notes are written down, the last good state stays, nobody is asked again (P5)."""
        other = LogBuilder()
        other.put_holder()
        other.commit()
        other.fill(150)
        ours = running.status.checkpoint
        with running.upstream.changing():
            running.upstream.log = other
        running.wait_for_phase(Phase.FORKED)
        (path,) = (tmp_path / "data").glob("fork-*.json")
        assert str(path) in running.status.advice
        evidence = ForkEvidence.decode(path.read_bytes())
        assert (ours, other.checkpoint) == (evidence.ours, evidence.theirs)
        evidence.verify(other.verifier)
        assert running.status.checkpoint == ours

    def test_a_fresh_checkpoint_of_another_log(self, running: Running, log: LogBuilder) -> None:
        """A freshness note of the size held, with another root, is a fork as well."""
        other = LogBuilder()
        other.put_holder(bytes(16))
        other.commit()
        other.fill(100)
        assert other.size == log.size
        note = other.freshness(FRESH_S)
        running.upstream.inject(lambda: FreshnessNote(note))
        running.wait_for_phase(Phase.FORKED)

    def test_a_claim_without_proof_is_no_fork(self, running: Running, log: LogBuilder) -> None:
        """An upstream that says fork, with a checkpoint of the very same log, is a liar."""
        with running.upstream.changing():
            log.fill(1)
            note = log.checkpoint
            running.upstream.injected.append(lambda: ForkClaim(note, bytes(32)))
        running.wait_for_phase(Phase.STOPPED)
        running.wait_for(log.size)

    def test_an_upstream_that_lost_entries(self, running: Running, log: LogBuilder) -> None:
        """A shorter log of the same entries is no fork, but nothing to follow."""
        shorter = LogBuilder()
        shorter.put_holder()
        shorter.commit()
        with running.upstream.changing():
            running.upstream.log = shorter
        running.wait_for_phase(Phase.STOPPED)
        assert "restored from a backup" in running.status.advice
        with running.upstream.changing():
            running.upstream.log = log
        running.wait_for(log.size)


class TestSnapshot:
    """A follower that lacks too much."""

    def test_it_starts_from_a_snapshot(
        self, etcd: EtcdProcess, log: LogBuilder, tmp_path: Path
    ) -> None:
        """A new one loads it, serves it, follows on, and fetches the tiles behind it."""
        upstream = FakeUpstream(log)
        upstream.stream_limit = 50
        with Running(etcd, upstream, tmp_path / "data") as running:
            running.wait_for(log.size)
            running.check()
            assert not list(running.settings.snapshots_dir.iterdir())
            assert not running.tiles.is_complete
            key = next(iter(log.records))
            with pytest.raises(CannotProveError, match="still being fetched"):
                running.prover.prove(key)
            upstream.inject(lambda: FreshnessNote(log.freshness(FRESH_S)))
            wait_until(lambda: running.tiles.is_complete, seconds=SECONDS, what="tiles")
            assert verify_lookup(running.prover.prove(key), log.verifier, key).record

    def test_it_replaces_an_old_replica(self, running: Running, log: LogBuilder) -> None:
        """One that was away too long loads a new generation beside the one that is served."""
        running.upstream.is_down = True
        running.wait_for_phase(Phase.DISCONNECTED)
        with running.upstream.changing():
            log.fill(200)
        running.upstream.stream_limit = 100
        running.upstream.is_down = False
        running.wait_for(log.size)
        running.check()
        replica = running.follower.replica
        assert replica is not None
        assert replica.generation.number == 2

    def test_the_download_resumes(self, etcd: EtcdProcess, log: LogBuilder, tmp_path: Path) -> None:
        """What was fetched before a break is not asked for again, even by another process."""
        upstream = FakeUpstream(log)
        upstream.stream_limit = 50
        upstream.break_after = 2_000
        with Running(etcd, upstream, tmp_path / "data"):
            wait_until(lambda: len(upstream.offsets) > 2, seconds=SECONDS, what="two breaks")
        with Running(etcd, upstream, tmp_path / "data") as running:
            running.wait_for(log.size)
        expected = list(range(0, len(upstream.snapshots.popitem()[1]), 2_000))
        assert upstream.offsets == expected

    def test_a_snapshot_of_a_fork_is_refused(self, running: Running, log: LogBuilder) -> None:
        """A snapshot has to go on from what is held, by the upstream's own tiles (P5)."""
        other = LogBuilder()
        other.put_holder()
        other.commit()
        other.fill(200)
        needed = _snapshot_of(running.upstream, other)
        with running.upstream.changing():
            running.upstream.log = other
            running.upstream.injected.append(lambda: needed)
        running.wait_for_phase(Phase.FORKED)
        assert running.store.get(LAYOUT.current).value == b"1"

    def test_what_is_held_is_not_loaded_again(self, running: Running, log: LogBuilder) -> None:
        """A snapshot of the very size that is held is refused, and not a byte of it is read."""
        needed = running.upstream.make_snapshot()
        running.upstream.inject(lambda: needed)
        running.wait_for_phase(Phase.STOPPED)
        assert running.board.refusals == {"SequenceError": 1}
        assert not running.upstream.offsets
        assert running.store.get(LAYOUT.current).value == b"1"
        running.wait_for(log.size)

    def test_what_nobody_signed_is_not_waited_for(self, running: Running, log: LogBuilder) -> None:
        """A snapshot of more entries than the newest checkpoint has, and of as many bytes."""
        name = snapshot_name(1 << 40, bytes(32))
        running.upstream.inject(lambda: NeedSnapshot(name, 1 << 39, 1 << 40))
        running.wait_for_phase(Phase.STOPPED)
        assert "newest checkpoint" in running.status.advice
        assert not running.upstream.offsets
        running.wait_for(log.size)

    def test_another_snapshot_than_was_announced(
        self, etcd: EtcdProcess, log: LogBuilder, tmp_path: Path
    ) -> None:
        """An older one, true when it was made, does not come under the name of a newer one."""
        upstream = FakeUpstream(log)
        old = upstream.snapshots[upstream.make_snapshot().name]
        log.fill(10)
        needed = replace(upstream.make_snapshot(), bytes=len(old))
        honest, upstream.snapshots[needed.name] = upstream.snapshots[needed.name], old
        upstream.inject(lambda: needed)
        with Running(etcd, upstream, tmp_path / "data") as running:
            running.wait_for_phase(Phase.STOPPED)
            assert "another snapshot under the name" in running.status.advice
            upstream.snapshots[needed.name] = honest
            running.wait_for(log.size)

    def test_false_records_are_not_read_time_after_time(
        self, etcd: EtcdProcess, log: LogBuilder, tmp_path: Path
    ) -> None:
        """A file whose records do not lead to the signed state is fetched twice, then refused."""
        upstream = FakeUpstream(log)
        needed = upstream.make_snapshot()
        content = upstream.snapshots[needed.name][:-DIGEST_BYTES].replace(b"mail7.", b"male7.")
        upstream.snapshots[needed.name] = content + sha256(content).digest()
        for _ in range(2):
            upstream.inject(lambda: needed)
        with Running(etcd, upstream, tmp_path / "data") as running:
            wait_until(
                lambda: (
                    running.board.refusals == {"ReplicaDamagedError": 1, "StateMismatchError": 1}
                ),
                seconds=SECONDS,
                what=f"two refusals; {running.status}",
            )
            assert upstream.offsets == [0, 0]
            running.wait_for(log.size)
            running.check()

    @pytest.mark.parametrize("name", ["../../etc/passwd", "x", "1-ff.snapshot", "/tmp/x.snapshot"])
    def test_names_that_are_none(self, running: Running, name: str) -> None:
        """A name from the upstream becomes part of a path only if it is one of a snapshot."""
        running.upstream.inject(lambda: NeedSnapshot(name, 10, 10))
        running.wait_for_phase(Phase.STOPPED)

    def test_a_damaged_file_is_fetched_again(
        self, etcd: EtcdProcess, log: LogBuilder, tmp_path: Path
    ) -> None:
        """A changed byte is found before anything is served, and the file is thrown away."""
        upstream = FakeUpstream(log)
        needed = upstream.make_snapshot()
        good = upstream.snapshots[needed.name]
        upstream.snapshots[needed.name] = good[:-100] + b"x" + good[-99:]
        upstream.inject(lambda: needed)
        with Running(etcd, upstream, tmp_path / "data") as running:
            running.wait_for_phase(Phase.STOPPED)
            assert running.store.get(LAYOUT.current).value is None
            running.wait_for(log.size)
            running.check()


def test_a_value_changed_behind_its_back(
    etcd: EtcdProcess, log: LogBuilder, tmp_path: Path
) -> None:
    """Housekeeping finds it, and the follower makes another generation."""
    with Running(etcd, FakeUpstream(log), tmp_path / "data") as running:
        running.wait_for(log.size)
        generations = Generations(running.store, LAYOUT)
        housekeeping = Housekeeping(
            running.store,
            generations,
            running.roots,
            EtcdUse(running.store, None),
            recheck_seconds=0.5,
            old_generation_seconds=0.0,
        )
        housekeeping.start(lambda: running.follower.replica, running.follower.doubt)
        key = LAYOUT.generation(1).record(next(iter(log.records)))
        running.store.txn([], [(key, b"changed")])
        wait_until(
            lambda: running.store.get(LAYOUT.current).value == b"2",
            seconds=SECONDS,
            what="another generation",
        )
        running.wait_for(log.size)
        running.check()
        wait_until(
            lambda: running.store.first_key(*_range_of(1)) is None,
            seconds=SECONDS,
            what="the old one is deleted",
        )
        running.check()
        housekeeping.stop()


def _range_of(number: int) -> tuple[bytes, bytes]:
    generation = LAYOUT.generation(number)
    return generation.prefix, generation.end


def _snapshot_of(upstream: FakeUpstream, log: LogBuilder) -> NeedSnapshot:
    ours, upstream.log = upstream.log, log
    needed = upstream.make_snapshot()
    upstream.log = ours
    return needed


def test_proofs_while_it_follows(running: Running, log: LogBuilder) -> None:
    """Every answer of the prover verifies, whatever changes meanwhile."""
    key = log.put_holder()
    with running.upstream.changing():
        log.commit()
    deadline = time.monotonic() + 2
    number = 0
    while time.monotonic() < deadline:
        number += 1
        with running.upstream.changing():
            log.put_holder()
            log.put_registration(f"192.0.2.{number % 250}")
            log.commit()
        found = verify_lookup(running.prover.prove(key), log.verifier, key)
        assert found.record is not None
        assert found.record.openings
        assert Entry.decode(found.record.entry).operation is Operation.PUT
    running.wait_for(log.size)
    running.check()


def test_false_openings_are_not_passed_on(running: Running, log: LogBuilder) -> None:
    """Openings in etcd that open nothing are no answer."""
    replica = running.follower.replica
    assert replica is not None
    key = bytes([1]) + HOLDER_ID
    stored = running.store.get(replica.generation.openings(key)).value
    assert stored
    assert isinstance(log.records[key].openings[0], Opening)
    running.store.txn(
        [], [(replica.generation.openings(key), stored.replace(b"Example", b"Eggsmpl"))]
    )
    with running.upstream.changing():
        log.fill(1)
    running.wait_for(log.size)
    with pytest.raises(CannotProveError, match="not the one that the registry signed"):
        running.prover.prove(key)


def test_a_replica_of_a_newer_format_is_left_alone(running: Running, log: LogBuilder) -> None:
    """Another follower of a newer version has made a generation that this one cannot read: it says
    what to do, writes nothing, and goes on when the generation is its own again."""
    (before,) = [running.store.get(LAYOUT.current).value]
    assert before is not None
    newer = before + b" 2"
    running.store.txn([], [(LAYOUT.current, newer)])
    with running.upstream.changing():
        log.fill(2)
    running.wait_for_phase(Phase.STOPPED)
    assert "etcd holds format 2" in running.status.advice
    assert "update it" in running.status.advice
    assert newer == running.store.get(LAYOUT.current).value
    assert running.status.size < log.size
    running.store.txn([], [(LAYOUT.current, before)])
    running.wait_for(log.size)
    running.check()


def test_a_replica_of_an_older_format_is_made_anew(
    etcd: EtcdProcess, log: LogBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later version cannot read what is there: a generation of its own takes its place once it is
    whole; until then readers of the version before have theirs."""
    upstream = FakeUpstream(log)
    with Running(etcd, upstream, tmp_path / "data") as first:
        first.wait_for(log.size)
        before = Generations(first.store, LAYOUT).served().generation
    monkeypatch.setattr(layout, "FORMAT", 2)
    with Running(etcd, upstream, tmp_path / "data") as second:
        second.wait_for(log.size)
        second.check()
        after = second.store.get(LAYOUT.current).value
        assert before is not None
        assert before in Generations(second.store, LAYOUT).leftovers()
        assert b"%d 2" % (before.number + 1) == after
