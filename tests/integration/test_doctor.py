"""`smtpnic doctor` on real nodes: each thing is broken for real, and found, with what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lab.cluster import (
    DNS_PORT,
    FOLLOWER_HTTP_PORT,
    LOG_PORT,
    Cluster,
    Secondary,
    loopback_network,
    ready,
)
from lab.process import program
from node.tls import Identity
from primary.pki import Authority, Names
from tests.support.etcd import running_etcd
from tests.support.wait import wait_until

SECONDS = 60.0
# Between the epochs of NTP and UNIX.
NTP_EPOCH = 2_208_988_800
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@dataclass(frozen=True)
class Report:
    """What a doctor said, and its exit code."""

    code: int
    findings: tuple[dict[str, str], ...]

    def of(self, check: str, verdict: str) -> str:
        """What was found, and advised, of that kind."""
        return "\n".join(
            f"{one['found']} -> {one['advice']}"
            for one in self.findings
            if (one["check"], one["verdict"]) == (check, verdict)
        )

    @property
    def bad(self) -> set[str]:
        return {one["check"] for one in self.findings if one["verdict"] == "bad"}


def doctor(
    settings: Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> Report:
    """Runs it; `before` is what it is run by."""
    done = subprocess.run(
        [*before, program("smtpnic"), "doctor", str(settings), "--json", *options],
        capture_output=True,
        text=True,
        env=os.environ | dict(env or {}),
        timeout=SECONDS,
        check=False,
    )
    assert done.stdout, done.stderr
    return Report(done.returncode, tuple(json.loads(done.stdout)["findings"]))


def later(seconds: float) -> list[str]:
    """What makes a program believe that it is so much later."""
    return ["faketime", "-m", "-f", f"{seconds:+.0f}s"]


def wait_well(mirror: Secondary) -> None:
    """Until doctor has nothing to say about it."""
    wait_until(lambda: not doctor(mirror.settings_file).bad, seconds=SECONDS, what="all is well")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    primary = {
        "SMTPNIC_PRIMARY_FRESHNESS_SECONDS": "0.5",
        "SMTPNIC_PRIMARY_SET__DNS_PORT": str(DNS_PORT),
    }
    root = tmp_path_factory.mktemp("doctor")
    with Cluster(root, secondaries=2, primary_env=primary) as cluster:
        cluster.prepare()
        cluster.start_primary()
        mirror = cluster.secondaries[0]
        mirror.process.start({"SMTPNIC_SECONDARY_SET__ADDRESSES": f'["{mirror.address}"]'})
        cluster.wait_secondary(mirror)
        wait_well(mirror)
        yield cluster


@pytest.fixture(scope="module")
def mirror(cluster: Cluster) -> Secondary:
    """It runs, and all is well with it."""
    return cluster.secondaries[0]


@pytest.fixture
def asleep(mirror: Secondary, tmp_path: Path) -> Path:
    """The settings of the same mirror on another machine, where nothing of it runs yet."""
    directory = tmp_path / "mirror"
    shutil.copytree(mirror.directory, directory, ignore=shutil.ignore_patterns("data"))
    settings = directory / "secondary.toml"
    text = settings.read_text().replace(mirror.address, f"{loopback_network()}.11")
    # The certificate names the first.
    settings.write_text(text.replace("[mirror]", "[mirror]\nconnections = 10"))
    return settings


def test_a_healthy_mirror(mirror: Secondary) -> None:
    """Nothing to mend; everything was looked at."""
    report = doctor(mirror.settings_file)

    assert (0, set[str]()) == (report.code, report.bad)
    assert {"clock", "disk", "certificate", "root", "ports", "resolver", "upstream"} | {
        "etcd",
        "follower",
        "lag",
        "dns",
        "reach",
    } == {one["check"] for one in report.findings}
    assert "3 entries, signed" in report.of("upstream", "good")


def test_a_healthy_primary(cluster: Cluster) -> None:
    """The same of the primary, with what its mirrors' clocks say."""
    settings = cluster.primary_dir / "primary.toml"
    wait_until(
        lambda: "mirror-1 cosigned" in doctor(settings).of("mirrors", "good"),
        seconds=SECONDS,
        what="the mirror cosigned",
    )
    report = doctor(settings)

    assert (0, set[str]()) == (report.code, report.bad)
    # The second mirror of the cluster is up where its test came first.
    assert re.search("clocks of [12] mirrors", report.of("clock", "good"))
    assert "entries, the last checkpoint at" in report.of("log", "good")


def test_people_get_a_table(mirror: Secondary) -> None:
    """The same without --json; and without a file, from the node's directory."""
    done = subprocess.run(
        [program("smtpnic"), "doctor"],
        cwd=mirror.directory,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert ["check", "verdict", "found", "what", "to", "do"] == done.stdout.splitlines()[0].split()
    assert done.stdout.splitlines()[-1].endswith(" skipped")


def test_a_clock_that_is_ahead(mirror: Secondary) -> None:
    """What the primary signs seems old."""
    report = doctor(mirror.settings_file, before=later(3600))

    assert "last signed 36" in report.of("clock", "bad")
    assert "this clock is ahead" in report.of("clock", "bad")
    assert 1 == report.code


def test_a_clock_that_is_behind(mirror: Secondary) -> None:
    """What the primary signs comes from the future."""
    report = doctor(mirror.settings_file, before=later(-60))

    assert "behind what the primary signed -> set the clock by NTP" in report.of("clock", "bad")


def test_a_primary_whose_clock_is_wrong(cluster: Cluster, mirror: Secondary) -> None:
    """A server of NTP says so before anybody else."""
    settings = cluster.primary_dir / "primary.toml"
    with ntp_server(offset=-300.0) as server:
        found = doctor(settings, "--ntp", server).of("clock", "bad")
        assert f"300.0 s ahead of NTP server {server}" in found
    with ntp_server(offset=0.0) as server:
        assert f"NTP server {server}" in doctor(mirror.settings_file, "--ntp", server).of(
            "clock", "good"
        )
    assert "does not answer" in doctor(settings, "--ntp", server).of("clock", "skipped")


def reach(settings: Path, env: Mapping[str, str] | None = None) -> Report:
    """What a doctor says once the primary tries ports again."""

    def tried() -> list[Report]:
        report = doctor(settings, env=env)
        return [] if "again in" in report.of("reach", "skipped") else [report]

    (report,) = wait_until(tried, seconds=SECONDS, what="the primary tries ports")
    return report


def test_what_the_primary_reaches(mirror: Secondary) -> None:
    """It connects back to every port that others use, and says so."""
    expected = [
        f"the primary reaches DNS over UDP at {mirror.address}:{DNS_PORT} -> ",
        f"the primary reaches DNS over TCP at {mirror.address}:{DNS_PORT} -> ",
        f"the primary reaches the log over HTTP at {mirror.address}:{LOG_PORT} -> ",
        f"the primary reaches proofs over TLS at {mirror.mirror} -> ",
    ]
    # What another test stopped may be on its way up, and the primary hears of addresses by and by.
    wait_until(
        lambda: reach(mirror.settings_file).of("reach", "good").splitlines() == expected,
        seconds=SECONDS,
        what="the primary reaches all of it",
        poll_seconds=1,
    )


def test_what_the_primary_does_not_reach(cluster: Cluster) -> None:
    """A mirror that follows, and whose DNS and log nobody reaches, is told which ports to open."""
    closed = cluster.secondaries[1]
    closed.process.start(
        {
            "SMTPNIC_SECONDARY_ROLES": '["follower"]',
            "SMTPNIC_SECONDARY_SET__ADDRESSES": f'["{closed.address}"]',
            "SMTPNIC_SECONDARY_LOG__LISTEN": "127.0.0.1:0",
        }
    )
    wait_until(
        lambda: ready(closed.address, FOLLOWER_HTTP_PORT), seconds=SECONDS, what="it follows"
    )
    wait_until(
        lambda: "announced no address" not in reach(closed.settings_file).of("reach", "skipped"),
        seconds=SECONDS,
        what="the primary heard the address",
        poll_seconds=1,
    )
    report = reach(closed.settings_file)

    found = report.of("reach", "bad")
    for service, port in (
        ("DNS over UDP", DNS_PORT),
        ("DNS over TCP", DNS_PORT),
        ("the log over HTTP", LOG_PORT),
    ):
        where = f"{service} at {closed.address}:{port}: Connection refused"
        assert f"from the primary, {where}" in found
    assert "let the way there be open to all: firewall, forwarded port, load balancer, " in found
    assert f"reaches proofs over TLS at {closed.mirror}" in report.of("reach", "good")
    assert 1 == report.code


@contextmanager
def ntp_server(offset: float) -> Iterator[str]:
    """A server of SNTP (RFC 4330) whose clock is off by so much."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))

        def serve() -> None:
            _, client = listening.recvfrom(100)
            now = time.time() + offset + NTP_EPOCH
            stamp = int(now), int(now % 1 * 2**32)
            reply = struct.pack("!BBBb3I", 0x24, 1, 0, -20, 0, 0, 0)
            listening.sendto(reply + struct.pack("!8I", *stamp, 0, 0, *stamp, *stamp), client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join(SECONDS)


def test_what_has_expired(mirror: Secondary) -> None:
    """More than a year later neither certificate nor root is good."""
    report = doctor(mirror.settings_file, before=later(400 * 86400))

    assert "ended 310 days ago -> it is renewed by itself where" in report.of("certificate", "bad")
    assert "version 1 expired" in report.of("root", "bad")


def test_what_will_expire(mirror: Secondary) -> None:
    """It is said before, and is no failure yet."""
    report = doctor(mirror.settings_file, before=later(350 * 86400))
    assert "smtpnic board propose-root" in report.of("root", "advice")

    report = doctor(mirror.settings_file, before=later(60 * 86400))
    assert "is good for 30 more days" in report.of("certificate", "good")
    report = doctor(mirror.settings_file, before=later(75 * 86400))
    assert "is good for 15 more days" in report.of("certificate", "advice")


def test_a_certificate_that_does_not_fit(cluster: Cluster, asleep: Path, mirror: Secondary) -> None:
    """Of another authority, for another name, without its key: each is told."""
    directory = asleep.parent
    report = doctor(asleep)
    assert f"it is for {mirror.address}, not for 127." in report.of("certificate", "bad")

    stranger = Authority.create("stranger", datetime.now(UTC))
    (directory / "ca.pem").write_bytes(stranger.identity.certificate)
    report = doctor(asleep)
    assert "was not issued by" in report.of("certificate", "bad")
    assert "does its certificate fit ca?" in report.of("upstream", "bad")

    shutil.copy(cluster.ca, directory / "ca.pem")
    authority = Authority.load(Identity.load(cluster.ca, cluster.primary_dir / "ca.key"))
    old = datetime.now(UTC) - timedelta(days=500)
    identity = authority.issue_node("mirror-1", Names.parse([], [mirror.address]), old)
    (directory / "node.pem").write_bytes(identity.certificate)
    report = doctor(asleep)
    assert "certificate" in report.bad
    (directory / "node.key").write_bytes(identity.key)
    assert "ended 410 days ago" in doctor(asleep).of("certificate", "bad")


def test_ports_that_others_have(asleep: Path) -> None:
    """A process in the way is found before the secondary starts; so is an address of nobody."""
    address = next(
        line.split('"')[1].rpartition(":")[0]
        for line in asleep.read_text().splitlines()
        if line.startswith("listen")
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((address, 5353))
        report = doctor(asleep)
    found = report.of("ports", "bad")
    assert f"another process has {address}:5353 (UDP, dns.listen) -> find it with: ss" in found
    assert f"{address}:5353 (TCP, dns.listen) is free" in report.of("ports", "good")
    assert "follower does not answer" in report.of("process", "bad")
    assert "no answer from" in report.of("dns", "bad")
    assert "no secondary answers" in report.of("follower", "skipped")

    elsewhere = {"SMTPNIC_SECONDARY_WHOIS__LISTEN": "192.0.2.99:43"}
    found = doctor(asleep, env=elsewhere).of("ports", "bad")
    assert "this machine has no address 192.0.2.99, for whois.listen" in found


@needs_root
def test_ports_and_directories_that_need_a_privilege(asleep: Path) -> None:
    """What this user may not do is told, with what gives it."""
    open_up(asleep.parent)
    (asleep.parent / "data").mkdir(mode=0o755)
    as_nobody = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", "--bounding-set=-all"]
    # A port that is a privilege again, in a network of its own.
    own_network = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
    command = [program("python"), "-m", "secondary", "doctor", "--json", "-c", str(asleep)]
    env = {"SMTPNIC_SECONDARY_DNS__LISTEN": "127.0.0.1:53"}
    done = subprocess.run(
        [*own_network, *as_nobody, *command],
        capture_output=True,
        text=True,
        env=os.environ | env,
        check=False,
    )
    if not done.stdout:
        pytest.skip(f"nobody cannot run the interpreter: {done.stderr}")
    report = Report(done.returncode, tuple(json.loads(done.stdout)["findings"]))

    assert "may not listen at 127.0.0.1:53" in report.of("ports", "bad")
    assert "CAP_NET_BIND_SERVICE" in report.of("ports", "bad")
    assert "cannot write to" in report.of("disk", "bad")


def open_up(path: Path) -> None:
    for one in (*path.rglob("*"), *[path, *path.parents][:5]):
        if str(one).startswith("/tmp/"):
            one.chmod(0o755)


@needs_root
def test_a_disk_that_is_nearly_full(asleep: Path) -> None:
    """In a file system of a few MiB."""
    (asleep.parent / "data").mkdir()
    mount = f'mount -t tmpfs -o size=4m tmpfs {asleep.parent}/data; exec "$@"'
    report = doctor(asleep, before=["unshare", "--mount", "sh", "-c", mount, "sh"])

    assert "0.0 of 0.0 GiB free" in report.of("disk", "bad")


def test_a_name_that_cannot_be_looked_up(mirror: Secondary) -> None:
    """Of the upstream: the resolver, or the name."""
    env = {"SMTPNIC_SECONDARY_UPSTREAM": "no-such-host.invalid:7442"}
    report = doctor(mirror.settings_file, env=env)

    assert "no-such-host.invalid cannot be looked up" in report.of("resolver", "bad")
    assert "upstream" in report.bad


def test_an_etcd_that_is_away(mirror: Secondary) -> None:
    """Of a cluster that was given."""
    env = {"SMTPNIC_SECONDARY_ETCD__ENDPOINTS": '["127.0.0.1:1"]'}
    report = doctor(mirror.settings_file, env=env)

    assert "etcd does not answer: 127.0.0.1:1" in report.of("etcd", "bad")


def test_an_etcd_that_is_full(mirror: Secondary, tmp_path: Path) -> None:
    """Its alarm is told, with what to do."""
    with running_etcd(tmp_path, "--quota-backend-bytes", str(16 << 20)) as etcd:
        etcd.fill(b"filling")
        env = {"SMTPNIC_SECONDARY_ETCD__ENDPOINTS": f'["{etcd.endpoint}"]'}
        report = doctor(mirror.settings_file, env=env)

    found = report.of("etcd", "bad")
    assert "etcd raises the alarm NOSPACE -> compact and defragment it" in found


def test_an_etcd_that_loses_data(asleep: Path, tmp_path: Path) -> None:
    """The installed program says that it is of such a version."""
    binary = tmp_path / "etcd"
    binary.write_text("#!/bin/sh\necho etcd Version: 3.5.1\n")
    binary.chmod(0o755)
    report = doctor(asleep, env={"SMTPNIC_SECONDARY_ETCD__BINARY": str(binary)})
    assert "loses data after a crash" in report.of("etcd", "bad")

    report = doctor(asleep, env={"SMTPNIC_SECONDARY_ETCD__BINARY": "no-such-etcd"})
    assert "no program 'no-such-etcd'" in report.of("etcd", "bad")


def test_a_fork(mirror: Secondary) -> None:
    """Evidence that lies in the data directory is pointed to, whatever runs."""
    evidence = mirror.directory / "data" / "fork-1a2b3c4d5e6f7a8b.json"
    evidence.write_text("{}")
    try:
        report = doctor(mirror.settings_file)
    finally:
        evidence.unlink()

    assert "proves that the log forked -> publish it" in report.of("fork", "bad")


def test_a_primary_that_is_away(cluster: Cluster, mirror: Secondary) -> None:
    """The mirror cannot reach it, and does not follow; on the primary its ports are free."""
    cluster.primary.stop()
    try:
        wait_until(
            lambda: "follower" in doctor(mirror.settings_file).bad,
            seconds=SECONDS,
            what="the follower noticed",
        )
        report = doctor(mirror.settings_file)
        assert "cannot be reached" in report.of("upstream", "bad")
        assert "it is disconnected" in report.of("follower", "bad")
        assert "answers for smtpnic.org" in report.of("dns", "good")

        report = doctor(cluster.primary_dir / "primary.toml")
        assert "the primary does not answer" in report.of("process", "bad")
        assert "is free" in report.of("ports", "good")
        assert "the primary on" in report.of("mirrors", "skipped")
    finally:
        cluster.start_primary()
        # Whatever test is next finds it as it was.
        wait_well(mirror)


def test_a_primary_in_doubt(cluster: Cluster, tmp_path: Path) -> None:
    """A checkpoint file that is lost, keys that are another log's: it would not start."""
    directory = tmp_path / "primary"
    shutil.copytree(cluster.primary_dir, directory, ignore=shutil.ignore_patterns("run", "*.sock"))
    settings = directory / "primary.toml"
    checkpoint = directory / "data" / "checkpoint"
    kept = checkpoint.read_bytes()
    checkpoint.unlink()
    assert "checkpoint is missing -> docs/operations.md" in doctor(settings).of("log", "bad")

    checkpoint.write_bytes(kept)
    (directory / "log.key").write_text("no key")
    assert "log.key" in doctor(settings).of("keys", "bad")


def test_resolvers_and_mail_of_a_primary(cluster: Cluster) -> None:
    """Where registering asks for proofs: a resolver and a mail server that are not there."""
    env = {
        "SMTPNIC_PRIMARY_LAB": "false",
        "SMTPNIC_PRIMARY_REGISTERING__RESOLVERS": '["127.0.0.1:1"]',
        "SMTPNIC_PRIMARY_MAIL__SERVER": "127.0.0.1:1",
    }
    report = doctor(cluster.primary_dir / "primary.toml", env=env)

    assert "127.0.0.1:1 does not answer" in report.of("resolver", "bad")
    assert "name three, in different networks" in report.of("resolver", "advice")
    assert "Connection refused" in report.of("mail", "bad")


def test_a_file_that_is_no_nodes(tmp_path: Path) -> None:
    """It is not guessed what it may be."""
    done = subprocess.run(
        [program("smtpnic"), "doctor", str(tmp_path / "other.toml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 2 == done.returncode
    assert "expected a file named secondary.toml or primary.toml" in done.stderr
