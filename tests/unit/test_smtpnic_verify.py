"""verify and status: what mirrors give, judged with the log's key alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.note import Signer
from registry.proof import Lookup
from registry.root import LogKey
from registry.wire.v1 import mirror_pb2
from smtpnic.cli import main
from smtpnic.nodes import (
    MAX_FRESHNESS_AGE_MS,
    MAX_LAG_MS,
    NodeState,
    judge,
    mirror_state,
    unreachable_state,
)
from smtpnic.views import MirrorStatus
from tests.support.boards import (
    ALICE,
    NEXT_SIGNER,
    chain_of,
    next_root,
    pin_file,
    sign_root,
)
from tests.support.fake_registry import NOW_MS, FakeMirror, FakeRegistry, serve
from tests.support.log_builder import LogBuilder

Run = Callable[..., Any]

ADDRESS = "192.0.2.36"


class Mirrored:
    """A mirror of a log, which gives what `answer` makes of the truth."""

    def __init__(self) -> None:
        self.log = LogBuilder()
        self.key = self.log.put_registration(ADDRESS)
        self.log.put_holder()
        self.log.commit()
        self.answer: Callable[[Lookup], Lookup] = lambda lookup: lookup
        self.mirror = FakeMirror(self._prove)

    def _prove(self, kind: int, key: bytes) -> mirror_pb2.ProveResponse:
        return self.answer(self.log.lookup(bytes([kind]) + key)).to_message()


@pytest.fixture
def mirrored() -> Mirrored:
    return Mirrored()


@pytest.fixture
def run(
    mirrored: Mirrored,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Runs a command with --json, the mirror and its log's key in the environment."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMTPNIC_ROOT", str(pin_file(mirrored.log, tmp_path)))

    def call(*arguments: str, code: int = 0) -> Any:
        found = main([*arguments, "--json"])
        captured = capsys.readouterr()
        assert (found, captured.err) == (code, captured.err)
        return json.loads(captured.out or captured.err)

    with serve(tmp_path, mirror=mirrored.mirror) as served:
        monkeypatch.setenv("SMTPNIC_MIRRORS", served.address)
        monkeypatch.setenv("SMTPNIC_CA", str(served.ca))
        yield call


def test_a_current_record_is_verified(run: Run, mirrored: Mirrored) -> None:
    """Signature, inclusion and currency hold; the age of the checkpoint is shown."""
    found = run("verify", ADDRESS)
    assert (found["finding"], found["host"]) == ("registered", "mail.example.org")
    assert (found["size"], found["version"]) == (mirrored.log.size, 0)
    assert found["checkpoint_age_seconds"] > 0


def test_absence_is_proved(run: Run) -> None:
    """Exit code 1, as for a lookup."""
    assert run("verify", "192.0.2.37", code=1)["finding"] == "not registered"


def test_a_superseded_record_is_rejected(run: Run, mirrored: Mirrored) -> None:
    """It is in the log, and its inclusion holds, but it is not current."""
    old = mirrored.log.lookup(mirrored.key)
    mirrored.log.put_registration(ADDRESS, "new.example.org")
    mirrored.log.commit()
    assert old.record is not None
    path = mirrored.log.audit_path(old.record.index)
    mirrored.answer = lambda now: replace(now, record=old.record, audit_path=path)
    error = run("verify", ADDRESS, code=5)
    assert "not the current record" in error["error"]["message"]


def test_a_withheld_record_is_noticed(run: Run, mirrored: Mirrored) -> None:
    """Absence has to be proved too."""
    mirrored.answer = lambda now: replace(now, record=None, audit_path=())
    run("verify", ADDRESS, code=5)


def test_another_key_is_not_believed(run: Run, mirrored: Mirrored, tmp_path: Path) -> None:
    """Only the log's key counts, and a mirror's roots only if the board signed them."""
    other = tmp_path / "other.note"
    other.write_bytes(chain_of(NEXT_SIGNER).notes[0])
    run("verify", ADDRESS, "--root", str(other), code=5)
    mirrored.mirror.roots = chain_of(mirrored.log.signer).notes
    run("verify", ADDRESS, "--root", str(other), code=5)


def test_a_new_log_key_is_believed_when_the_board_signed_it(
    run: Run, mirrored: Mirrored, tmp_path: Path
) -> None:
    """Whoever knows an older root asks for those that follow it."""
    first = chain_of(NEXT_SIGNER).current
    rotated = next_root(first, log_keys=(LogKey(mirrored.log.verifier),))
    mirrored.mirror.roots = [sign_root(rotated, ALICE)]
    older = tmp_path / "older.note"
    older.write_bytes(sign_root(first, ALICE))
    assert run("verify", ADDRESS, "--root", str(older))["finding"] == "registered"


def test_an_old_checkpoint_can_be_refused(run: Run, mirrored: Mirrored) -> None:
    """--min-size is the version in a receipt, and one."""
    run("verify", ADDRESS, "--min-size", str(mirrored.log.size))
    run("verify", ADDRESS, "--min-size", str(mirrored.log.size + 1), code=5)


def test_a_proof_is_kept_and_checked_without_a_server(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file says nothing that is believed: a changed one is refused."""
    first = run("verify", ADDRESS, "--save", "proof.json")
    monkeypatch.setenv("SMTPNIC_MIRRORS", "127.0.0.1:1")
    again = run("verify", ADDRESS, "--from", "proof.json")
    del first["checkpoint_age_seconds"], again["checkpoint_age_seconds"]
    assert again == first
    run("verify", "192.0.2.37", "--from", "proof.json", code=5)
    text = (tmp_path / "proof.json").read_text()
    (tmp_path / "proof.json").write_text(text.replace(ADDRESS, "192.0.2.37"))
    run("verify", "192.0.2.37", "--from", "proof.json", code=5)
    (tmp_path / "proof.json").write_text(text[:-20])
    run("verify", ADDRESS, "--from", "proof.json", code=5)
    run("verify", ADDRESS, "--from", "none.json", code=2)


def test_the_next_mirror_is_asked_when_one_is_away(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mirrored: Mirrored
) -> None:
    """The first that answers is taken; a lie is not skipped over."""
    with serve(tmp_path, mirror=mirrored.mirror) as served:
        mirrors = ("--mirror", "127.0.0.1:1", "--mirror", served.address)
        assert run("verify", ADDRESS, *mirrors)["mirror"] == served.address
    run("verify", ADDRESS, "--mirror", "127.0.0.1:1", code=4)
    monkeypatch.delenv("SMTPNIC_MIRRORS")
    run("verify", ADDRESS, code=2)


def test_a_mirror_that_does_not_answer_in_time_is_unreachable(run: Run, mirrored: Mirrored) -> None:
    """With the option that gives it more time."""
    answered = threading.Event()

    def wait(lookup: Lookup) -> Lookup:
        answered.wait(5)
        return lookup

    mirrored.answer = wait
    error = run("verify", ADDRESS, "--timeout", "0.2", code=4)
    answered.set()
    assert "no answer within 0.2 s" in error["error"]["message"]
    assert "--timeout" in error["error"]["message"]


def test_another_kind_of_server_is_told(run: Run, tmp_path: Path) -> None:
    """Ports are easily mixed up."""
    (tmp_path / "other").mkdir()
    with serve(tmp_path / "other", FakeRegistry()) as primary:
        options = ("--mirror", primary.address, "--ca", str(primary.ca))
        error = run("verify", ADDRESS, *options, code=4)
    assert "right kind of server" in error["error"]["message"]


def test_status_tells_what_is_wrong(run: Run, mirrored: Mirrored, tmp_path: Path) -> None:
    """A line for each node; exit code 1 when one gives cause."""
    log = mirrored.log
    mirrored.mirror.status = mirror_pb2.MirrorStatus(
        name="m1",
        phase="following",
        size=log.size,
        checkpoint=log.checkpoint,
        checkpoint_ms=NOW_MS,
        zone_serial=1,
    )
    registry = FakeRegistry(size=log.size, checkpoint=log.checkpoint)
    with ExitStack() as stack:
        served = stack.enter_context(serve(tmp_path, registry, mirrored.mirror))
        both = ("--primary", served.address, "--mirror", served.address)
        found = run("status", *both)
        assert [node["node"] for node in found["nodes"]] == ["primary", "mirror"]
        assert [node["advice"] for node in found["nodes"]] == [[], []]
        mirrored.mirror.status.advice = "free some disk"
        found = run("status", *both, code=1)
        assert [node["advice"] for node in found["nodes"]] == [[], ["free some disk"]]
    found = run("status", *both, code=1)
    assert {node["phase"] for node in found["nodes"]} == {"unreachable"}
    run("status", "--mirrors-only", "--mirror", served.address, code=1)


def a_mirror(name: str, log: LogBuilder, **others: Any) -> NodeState:
    status = MirrorStatus(
        name=name,
        version="",
        phase="following",
        advice="",
        size=log.size,
        checkpoint=log.checkpoint,
        checkpoint_ms=NOW_MS,
        freshness_ms=NOW_MS,
        zone_serial=1,
        live_keys=1,
        upstream="",
        upstream_size=0,
        out_of_rotation="",
    )
    return mirror_state(f"{name}:1", replace(status, **others))


def a_log(*hosts: str) -> LogBuilder:
    log = LogBuilder()
    for host in hosts:
        log.put_registration(ADDRESS, host)
        log.commit()
    return log


def advice(states: list[NodeState], log: LogBuilder, now_ms: int = NOW_MS) -> list[str]:
    return ["; ".join(state.advice) for state in judge(states, log.verifier, now_ms)]


def test_lag_is_judged_against_the_best_node() -> None:
    """By the time of the checkpoints, so that a burst of changes is no lag."""
    log = a_log("a.example.org", "b.example.org")
    behind = a_log("a.example.org")
    just = a_mirror("b", behind, checkpoint_ms=NOW_MS - MAX_LAG_MS)
    (_, state) = judge([a_mirror("a", log), just], log.verifier, NOW_MS)
    assert (state.lag, state.advice) == (2, ())
    too_far = a_mirror("b", behind, checkpoint_ms=NOW_MS - MAX_LAG_MS - 1)
    good, bad = advice([a_mirror("a", log), too_far], log)
    assert not good
    assert "behind a" in bad


def test_a_primary_that_confirms_nothing_is_noticed() -> None:
    """By the age of the freshness, which goes on when nobody changes anything."""
    log = a_log("a.example.org")
    state = a_mirror("a", log, freshness_ms=NOW_MS - MAX_FRESHNESS_AGE_MS - 1)
    assert "not confirmed" in advice([state], log)[0]


def test_two_signed_checkpoints_of_one_size_that_differ_are_a_fork() -> None:
    """Both nodes are named, to each other."""
    log, other = a_log("a.example.org"), a_log("b.example.org")
    found = advice([a_mirror("a", log), a_mirror("b", other)], log)
    assert "that of b" in found[0]
    assert "that of a" in found[1]
    assert all("forked" in line for line in found)


def test_a_checkpoint_of_another_key_is_noticed() -> None:
    """With the log key given, and no other is judged by it; without it nothing is checked."""
    log, forger = a_log("a.example.org"), LogBuilder(signer=Signer.generate("smtpnic.org"))
    forger.put_registration(ADDRESS)
    forger.commit()
    forged = a_mirror("a", forger, size=1000, checkpoint_ms=NOW_MS + 2 * MAX_LAG_MS)
    found = advice([forged, a_mirror("b", log)], log)
    assert "not the log's" in found[0]
    assert not found[1]
    (state,) = judge([a_mirror("a", forger)], None, NOW_MS)
    assert state.advice == ()


def test_a_mirror_that_does_not_follow_is_noticed() -> None:
    """Even when it has no advice of its own; one that is away tells why."""
    log = a_log("a.example.org")
    assert "it is loading" in advice([a_mirror("a", log, phase="loading")], log)[0]
    away = unreachable_state("mirror", "c:1", ConnectionError("no route"))
    assert advice([a_mirror("a", log), away], log) == ["", "no route"]


def test_why_a_mirror_is_out_of_rotation() -> None:
    """It follows, and its peers have more: what it says of that is shown."""
    log = a_log("mail.example.org")
    (state,) = judge([a_mirror("m", log, out_of_rotation="a peer has more")], None, NOW_MS)
    assert ("a peer has more",) == state.advice
