"""The command line as people run it, against a real primary."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Cluster
from lab.people import addresses, write_import_file
from lab.process import LabProcess, program
from tests.support.contact_options import PRIVATE, contact_of
from tests.support.wait import wait_until

COMMAND_SECONDS = 120
# Some seconds' worth, so that there is time to interrupt.
IMPORT_ROWS = 16_000


class Person:
    """Somebody at a terminal of their own, with the cluster in their configuration."""

    def __init__(self, cluster: Cluster, home: Path) -> None:
        self.cluster = cluster
        self.home = home
        config = home / "smtpnic" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_bytes((cluster.root / "config" / "smtpnic" / "config.toml").read_bytes())
        self.env = {"XDG_CONFIG_HOME": str(home)}

    def run(self, *arguments: str, code: int = 0) -> Any:
        """What a command prints with --json; its exit code must be the one given."""
        done = subprocess.run(
            [program("smtpnic"), *arguments, "--json"],
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            cwd=self.home,
            env=self.env,
            check=False,
        )
        assert (done.returncode, done.stderr) == (code, done.stderr if code else "")
        return json.loads(done.stdout or done.stderr)

    def start(self, *arguments: str) -> LabProcess:
        """A command that goes on while the test does."""
        log = self.home / "command.log"
        process = LabProcess("smtpnic", [program("smtpnic"), *arguments], log, self.env)
        process.start()
        return process

    def journal_offset(self, file: Path) -> int:
        """How far an import has got, by its journal; 0 before the first chunk."""
        try:
            journal = json.loads(file.with_name(file.name + ".journal").read_text())
        except FileNotFoundError:
            return 0
        return int(journal["offset"])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A primary that runs."""
    with Cluster(tmp_path_factory.mktemp("cluster"), secondaries=0) as cluster:
        cluster.prepare()
        cluster.start_primary()
        yield cluster


@pytest.fixture
def person(cluster: Cluster, tmp_path: Path) -> Person:
    """A person with a holder."""
    person = Person(cluster, tmp_path / "home")
    person.run("holder", "create", *contact_of("Example"))
    return person


def test_a_mail_server_is_registered_changed_and_withdrawn(person: Person) -> None:
    """Each receipt verifies against the log's key, and the record is what was asked for."""
    address = "198.51.100.36"
    names = ("--host", "MX.Example.org.", "--domain", "example.org")
    receipt = person.run("register", address, *names)
    assert receipt["checkpoint_verified"] is True
    assert person.run("register", address, *names)["version"] == receipt["version"]
    shown = person.run("show", address)
    assert (shown["host"], shown["version"]) == ("mx.example.org", receipt["version"])
    person.run("update", address, "--host", "mx2.example.org")
    assert person.run("list", "--mine")["registrations"][0]["host"] == "mx2.example.org"
    assert person.run("holder", "withdraw", code=3)["error"]["code"] == "in_use"
    person.run("withdraw", address)
    assert person.run("show", address, code=1)["error"]["code"] == "not_found"
    person.run("holder", "withdraw")


def test_a_contact_is_changed_without_losing_what_is_private(person: Person) -> None:
    """The real primary tells nobody what is private, so an update gives it again."""
    new_name = ("--name", "New name", "--public", "name")
    error = person.run("holder", "update", *new_name, code=2)
    assert "--postal-address, --email, --telephone" in error["error"]["message"]
    person.run("holder", "update", *new_name, *PRIVATE)
    shown = person.run("holder", "show")
    assert (shown["name"], len(shown["private"])) == ("New name", 3)


def test_another_holder_cannot_touch_it(person: Person, cluster: Cluster, tmp_path: Path) -> None:
    """The management key decides; the refusal says so."""
    address = "198.51.100.37"
    person.run("register", address, "--host", "mx.example.org", "--domain", "example.org")
    stranger = Person(cluster, tmp_path / "stranger")
    stranger.run("holder", "create", *contact_of("Stranger"))
    assert stranger.run("withdraw", address, code=3)["error"]["code"] == "not_yours"
    names = ("--host", "mx.example.net", "--domain", "example.net")
    assert stranger.run("register", address, *names, code=3)["error"]["code"] == "exists"
    person.run("withdraw", address)


def test_status_shows_the_primary(person: Person) -> None:
    """Its checkpoint is verified with the log's key."""
    found = person.run("status")
    (node,) = found["nodes"]
    assert (node["node"], node["phase"], node["advice"]) == ("primary", "serving", [])
    assert found["checkpoints_verified"] is True


def test_an_import_outlives_the_person_and_the_primary(person: Person, tmp_path: Path) -> None:
    """Killed, interrupted, the primary killed under it: in the end every row is there, once."""
    file = tmp_path / "in.csv"
    chosen = write_import_file(file, IMPORT_ROWS)
    command = ("import", str(file))

    process = person.start(*command)
    wait_until(lambda: person.journal_offset(file) > 0, seconds=60, what="some rows settled")
    process.kill()
    settled = person.journal_offset(file)
    assert 0 < settled < file.stat().st_size

    process = person.start(*command)
    wait_until(lambda: person.journal_offset(file) > settled, seconds=60, what="more settled")
    process.signal(signal.SIGINT)
    assert process.wait() == 130
    assert "the same command goes on from there" in process.tail()

    process = person.start(*command)
    person.cluster.primary.kill()
    person.cluster.start_primary()
    assert process.wait(COMMAND_SECONDS) in (0, 4)
    person.run(*command)
    assert not file.with_name("in.csv.journal").exists()

    exported = tmp_path / "out.jsonl"
    person.run("export", str(exported), "--mine")
    found = [json.loads(line)["address"] for line in exported.read_text().splitlines()]
    assert sorted(found) == sorted(chosen)
    again = person.run("import", str(exported))
    assert (again["unchanged"], again["rows"]) == (IMPORT_ROWS, IMPORT_ROWS)


def test_the_primary_goes_down_under_an_import(person: Person, tmp_path: Path) -> None:
    """The stream breaks, is opened again, and no row is refused for it."""
    file = tmp_path / "in.csv"
    first = 20_000
    lines = (
        f"{address},mx{number}.example.org,example.org\n"
        for number, address in enumerate(islice(addresses(), first, first + IMPORT_ROWS))
    )
    file.write_text("address,host,domain\n" + "".join(lines))
    process = person.start("import", str(file))
    wait_until(lambda: person.journal_offset(file) > 0, seconds=60, what="some rows settled")
    person.cluster.primary.kill()
    assert process.running
    person.cluster.start_primary()
    assert process.wait(COMMAND_SECONDS) == 0
    assert len(person.run("list", "--mine", "--all", "--page-size", "1000")["registrations"]) == (
        IMPORT_ROWS
    )


def test_a_primary_that_is_away_is_told_from_one_that_refuses(
    person: Person, cluster: Cluster
) -> None:
    """Exit code 4, and what to check; a registration waits for it within the timeout."""
    cluster.primary.stop()
    error = person.run("show", "198.51.100.1", "--timeout", "0.5", code=4)
    assert "cannot be reached" in error["error"]["message"]
    assert person.run("status", code=1)["nodes"][0]["phase"] == "unreachable"
    cluster.start_primary()
    assert person.run("show", "198.51.100.1", code=1)["error"]["code"] == "not_found"


def test_a_mirror_answers_without_the_primary(tmp_path: Path) -> None:
    """lookup, verify and status against a real secondary, before and after the primary ends."""
    address = "198.51.100.36"
    with Cluster(tmp_path / "cluster", secondaries=1) as cluster:
        cluster.prepare()
        cluster.start_primary()
        cluster.start_secondaries()
        person = Person(cluster, tmp_path / "home")
        person.run("holder", "create", *contact_of("Example"))
        names = ("--host", "mx.example.org", "--domain", "example.org")
        registered = person.run("register", address, *names, "--wait")
        size = registered["checkpoint_size"]
        assert [answer["finding"] for answer in registered["answers"]] == ["registered"]
        assert cluster.visible_everywhere(address)
        assert person.run("status")["nodes"][1]["lag"] == 0
        cluster.primary.stop()

        (answer,) = person.run("lookup", address)["answers"]
        assert "host=mx.example.org" in answer["texts"][0]
        person.run("lookup", "198.51.100.37", code=1)
        proved = person.run("verify", address, "--min-size", str(size), "--save", "proof.json")
        assert (proved["finding"], proved["host"]) == ("registered", "mx.example.org")
        person.run("verify", "198.51.100.37", code=1)
        nodes = person.run("status", code=1)["nodes"]
        assert [node["phase"] for node in nodes] == ["unreachable", "disconnected"]
    assert person.run("verify", address, "--from", "proof.json")["finding"] == "registered"
    person.run("lookup", address, "--timeout", "0.5", code=4)
