"""The board at work: members with SSH keys decide together, and every secondary follows."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from lab.cluster import Cluster, Secondary
from lab.process import LabError, program, run
from registry.kinds import Status
from registry.note import Signer
from registry.wire.v1 import registration_pb2
from tests.support.probe import Probe
from tests.support.registrant import Registrant, secure_channel
from tests.support.wait import wait_until

SECONDS = 30.0
ADDRESS, NEIGHBOUR, OTHER = "198.51.100.7", "198.51.100.8", "203.0.113.7"

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


class BoardOf:
    """Alice, bob and carol, two of whom have to sign; `smtpnic board` is what they use."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        self.directory = directory
        directory.mkdir()
        for name in ("alice", "bob", "carol"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)],
                check=True,
            )

    def board(self, *arguments: str, code: int = 0) -> Any:
        """`smtpnic board ARGUMENTS --json`; what it printed."""
        command = [program("smtpnic"), "board", *arguments, "--json"]
        env = {"PATH": "/usr/bin:/bin", **self.cluster.cli_env}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert (code, done.stderr) == (done.returncode, done.stderr)
        return json.loads(done.stdout) if done.stdout else None

    def file(self, name: str) -> str:
        """A file of theirs."""
        return str(self.directory / name)

    def take_over(self) -> None:
        """The founder's root names them, and nobody else."""
        members = [
            f"--add-member={name}={self.file(name)}.pub" for name in ("alice", "bob", "carol")
        ]
        self.board(
            "propose-root", self.file("2"), "--threshold=2", "--remove-member=founder", *members
        )
        for key in (self.cluster.primary_dir / "board.key", self.file("alice"), self.file("bob")):
            self.board("sign", self.file("2"), f"--key={key}")
        assert self.board("publish", self.file("2"))["state"] == "in the log"

    def decide(self, name: str, *act: str) -> None:
        """Alice and bob sign, each alone, and each hands it in."""
        self.board("propose", self.file(name), *act, "--reason=three complaints unanswered")
        shutil.copy(self.file(name), self.file(f"{name}.bob"))
        self.board("sign", self.file(name), f"--key={self.file('alice')}")
        first = self.board("publish", self.file(name))
        assert (["alice"], 2, None) == (first["signed"], first["threshold"], first["index"])
        self.board("verify", self.file(name), code=1)
        self.board("sign", self.file(f"{name}.bob"), f"--key={self.file('bob')}")
        second = self.board("publish", self.file(f"{name}.bob"))
        assert ["alice", "bob"] == second["signed"]
        assert second["index"]

    def agree(self, name: str, *act: str) -> None:
        """Both sign one file, which is handed in once."""
        file = self.file(name)
        self.board("propose", file, *act, "--reason=three complaints unanswered")
        for member in ("alice", "bob"):
            self.board("sign", file, f"--key={self.file(member)}")
        assert self.board("publish", file)["index"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster", secondaries=2) as cluster:
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


def wait_for(cluster: Cluster, address: str, answer: str) -> None:
    """Until every secondary gives this answer."""
    wait_until(
        lambda: cluster.visible_everywhere(address, answer),
        seconds=SECONDS,
        what=f"{address} {answer}",
    )


def answers_until(probe: Probe, until_s: float) -> bool:
    """Whether DNS goes on answering until then, whatever it hears."""
    return until_s == answers_until_of(probe)


def answers_until_of(probe: Probe) -> float | None:
    """Until when DNS goes on answering, in seconds since 1970."""
    return probe.metric("dns", "smtpnic_answers_until_timestamp_seconds")


def says_why(secondary: Secondary) -> bool:
    """Whether WHOIS tells of the suspension and its reason."""
    said = secondary.ask_whois(ADDRESS)
    return "suspended" in said and "three complaints unanswered" in said


def test_two_of_three_suspend_a_network_and_restore_it(
    cluster: Cluster, registrant: Registrant, tmp_path: Path
) -> None:
    """One alone changes nothing; two take it out of DNS, and WHOIS says why; two bring it back."""
    for address in (ADDRESS, NEIGHBOUR, OTHER):
        registrant.register(address, "mx1.example.org")
    board = BoardOf(cluster, tmp_path / "board")
    board.take_over()
    wait_for(cluster, OTHER, "registered")

    board.decide("suspend", "suspend", "prefix", "198.51.100.0/24")
    for address in (ADDRESS, NEIGHBOUR):
        wait_for(cluster, address, "NXDOMAIN")
    assert cluster.visible_everywhere(OTHER)
    for secondary in cluster.secondaries:
        # WHOIS is told a second later.
        wait_until(
            partial(says_why, secondary), seconds=SECONDS, what="suspended, and why, in WHOIS"
        )
    decided = board.board("show")["decisions"]
    assert [("suspend prefix 198.51.100.0/24", "alice, bob", "decided")] == [
        (row["act"], row["signed"], row["state"]) for row in decided
    ]

    # A secondary that has to read its replica anew comes to the same.
    first = cluster.secondaries[0]
    first.process.stop()
    first.process.start()
    board.decide("restore", "restore", "prefix", "198.51.100.0/24")
    cluster.wait_secondary(first)
    for address in (ADDRESS, NEIGHBOUR):
        wait_for(cluster, address, "registered")


def test_whatever_is_suspended_is_restored(
    cluster: Cluster, registrant: Registrant, tmp_path: Path
) -> None:
    """One registration, and all of a holder's."""
    for address in (ADDRESS, NEIGHBOUR):
        registrant.register(address, "mx1.example.org")
    board = BoardOf(cluster, tmp_path / "board")
    board.take_over()
    wait_for(cluster, NEIGHBOUR, "registered")
    for number, (target, suspended) in enumerate(
        (
            (("registration", ADDRESS), (ADDRESS,)),
            (("holder", registrant.holder_id.hex()), (ADDRESS, NEIGHBOUR)),
        )
    ):
        board.agree(f"suspend{number}", "suspend", *target)
        for address in (ADDRESS, NEIGHBOUR):
            wait_for(cluster, address, "NXDOMAIN" if address in suspended else "registered")
        board.agree(f"restore{number}", "restore", *target)
        for address in (ADDRESS, NEIGHBOUR):
            wait_for(cluster, address, "registered")


def stands(cluster: Cluster, address: str, status: Status) -> bool:
    """Whether the primary has an address with this status."""
    with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
        stub = Registrant(channel).stub
        request = registration_pb2.GetRequest(address=address)
        found: int = stub.Get(request, timeout=SECONDS).registration.status
        return found == status


def test_a_primary_killed_behind_a_decision_carries_it_out(tmp_path: Path) -> None:
    """Killed by -9 with the decision in the log and no registration touched, it suspends them at
    its next start, and restores them likewise."""
    with Cluster(tmp_path / "cluster", secondaries=0) as cluster:
        cluster.prepare()
        cluster.start_primary()
        with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
            registrant = Registrant(channel)
            registrant.create_holder()
            for address in (ADDRESS, NEIGHBOUR, OTHER):
                registrant.register(address, "mx1.example.org")
        key = f"--key={cluster.primary_dir / 'board.key'}"
        board = BoardOf(cluster, tmp_path / "board")
        for act, status in (("suspend", Status.SUSPENDED), ("restore", Status.ACTIVE)):
            file = board.file(act)
            target = ("prefix", "198.51.100.0/24", "--reason=three complaints unanswered")
            board.board("propose", file, act, *target)
            board.board("sign", file, key)
            cluster.primary.stop()
            cluster.start_primary({"SMTPNIC_FAILPOINT": "commit.before_acknowledge"})
            killed = [program("smtpnic"), "board", "publish", file]
            env = {"PATH": "/usr/bin:/bin", **cluster.cli_env}
            assert subprocess.run(killed, env=env, capture_output=True, check=False).returncode
            assert -9 == cluster.primary.wait()
            cluster.start_primary()
            assert act in board.board("show")["decisions"][-1]["act"]
            for address in (ADDRESS, NEIGHBOUR):
                wait_until(
                    partial(stands, cluster, address, status),
                    seconds=SECONDS,
                    what=f"{address} {status.name}",
                )
            assert stands(cluster, OTHER, Status.NEW)


def test_policies_hold_and_a_limit_is_extended(
    cluster: Cluster, registrant: Registrant, tmp_path: Path
) -> None:
    """A quota that the board sets, and takes back; and a staleness limit that it extends, which
    every mirror goes by."""
    for address in (ADDRESS, NEIGHBOUR):
        registrant.register(address, "mx1.example.org")
    board = BoardOf(cluster, tmp_path / "board")
    board.take_over()
    board.agree("quota", "policy", "registrations-per-holder", "2")
    with pytest.raises(grpc.RpcError, match="2 registrations at most"):
        registrant.register(OTHER, "mx1.example.org")
    board.agree("no-quota", "policy", "registrations-per-holder", "0")
    registrant.register(OTHER, "mx1.example.org")

    board.agree("extend", "extend", "staleness", "2035-01-01T00:00:00Z")
    until = datetime(2035, 1, 1, tzinfo=UTC).timestamp()
    for probe in map(Probe, cluster.secondaries):
        wait_until(
            partial(answers_until, probe, until),
            seconds=SECONDS,
            what=f"{until}, and not {answers_until_of(probe)}",
        )


def test_a_stolen_log_key_is_replaced_at_once(
    cluster: Cluster, registrant: Registrant, tmp_path: Path
) -> None:
    """As documented: stopped, the primary makes other keys; the board retires the old one where the
    log stands; the root is put in before the next start, and the log goes on for every mirror."""
    registrant.register(ADDRESS, "mx1.example.org")
    wait_for(cluster, ADDRESS, "registered")
    board = BoardOf(cluster, tmp_path / "board")
    board.take_over()
    directory = cluster.primary_dir
    config = f"--config={directory / 'primary.toml'}"
    size = Probe(cluster.secondaries[0]).status().size
    cluster.primary.stop()
    with pytest.raises(LabError):
        run([program("smtpnic-primary"), "new-keys", config])
    stolen = tmp_path / "stolen"
    stolen.mkdir()
    for name in ("log.key", "freshness.key"):
        (directory / name).rename(stolen / name)
    made = run([program("smtpnic-primary"), "new-keys", config]).split()
    (log_key,) = [word for word in made if word.startswith("smtpnic.org+")]
    (freshness_key,) = [word for word in made if word.startswith("smtpnic.org/freshness+")]
    board.board(
        "propose-root",
        board.file("3"),
        f"--add-log-key={log_key}",
        f"--retire-log-keys-at={size}",
        f"--freshness-key={freshness_key}",
    )
    for name in ("alice", "carol"):
        board.board("sign", board.file("3"), f"--key={board.file(name)}")
    assert "in the log" in run(
        [program("smtpnic-primary"), "publish-root", board.file("3"), config]
    )
    cluster.start_primary()
    with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
        late = Registrant(channel)
        late.create_holder()
        late.register(OTHER, "mx2.example.org")
    wait_for(cluster, OTHER, "registered")
    for secondary in cluster.secondaries:
        assert 3 == Probe(secondary).metric("follower", "smtpnic_root_version")


def test_the_log_key_is_rotated_out(
    cluster: Cluster, registrant: Registrant, tmp_path: Path
) -> None:
    """The board names another log key; the log goes on, and all follow, a new secondary too."""
    registrant.register(ADDRESS, "mx1.example.org")
    board = BoardOf(cluster, tmp_path / "board")
    board.take_over()
    key = Signer.generate("smtpnic.org")
    file = cluster.primary_dir / "log.next.key"
    file.touch(mode=0o600)
    file.write_text(f"{key.to_text()}\n")
    cluster.primary.stop()
    cluster.start_primary()
    board.board(
        "propose-root",
        board.file("3"),
        f"--add-log-key={key.verifier().vkey()}",
        "--retire-log-keys-at=1000",
    )
    for name in ("bob", "carol"):
        board.board("sign", board.file("3"), f"--key={board.file(name)}")
    assert board.board("publish", board.file("3"))["state"] == "in the log"

    # What was the next key is the only one from now on.
    file.rename(cluster.primary_dir / "log.key")
    cluster.primary.stop()
    cluster.secondaries[1].process.stop()
    cluster.start_primary()
    registrant = Registrant(secure_channel(cluster.public, cluster.ca, cluster.primary_address))
    registrant.create_holder()
    registrant.register(OTHER, "mx2.example.org")
    shutil.rmtree(cluster.secondaries[1].directory / "data")
    cluster.secondaries[1].process.start()
    cluster.wait_secondary(cluster.secondaries[1])
    wait_for(cluster, OTHER, "registered")
    proof = [program("smtpnic"), "verify", OTHER, f"--mirror={cluster.secondaries[0].mirror}"]
    done = subprocess.run(
        proof,
        env={"PATH": "/usr/bin:/bin", **cluster.cli_env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
