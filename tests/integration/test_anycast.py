"""Routes that a real BGP neighbour hears while a mirror answers well: by ExaBGP, and by BIRD."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.cluster import Cluster, Secondary
from lab.process import LabProcess, program, run
from tests.support.wait import wait_until

SECONDS = 60.0
PREFIX = "192.0.2.0/24"
NODE_AS, PEER_AS = 65002, 65001
PEER_PORT, NODE_PORT = 1790, 1791

pytestmark = [
    pytest.mark.skipif(shutil.which("birdc") is None, reason="needs bird2"),
    pytest.mark.skipif(os.geteuid() != 0, reason="birdc is in root's path"),
]


class Bird:
    """A BIRD that speaks BGP with one neighbour, and touches no route of the machine."""

    def __init__(self, directory: Path, name: str, protocols: str, router_id: str) -> None:
        self.socket = directory / f"{name}.ctl"
        config = directory / f"{name}.conf"
        config.write_text(f"router id {router_id};\nlog stderr all;\n{protocols}")
        command = ["bird", "-f", "-c", str(config), "-s", str(self.socket)]
        command += ["-P", str(directory / f"{name}.pid")]
        self.process = LabProcess(name, command, directory / f"{name}.log")

    def say(self, *words: str) -> str:
        """What birdc prints; empty while BIRD is not there."""
        command = ["birdc", "-s", str(self.socket), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout

    @property
    def hears_route(self) -> bool:
        return PREFIX in self.say("show", "route")


def peer_of(directory: Path, node: str, peer: str) -> Bird:
    """The router of the network in front of the node."""
    protocols = f"""protocol device {{ }}
protocol bgp node {{
  local {peer} port {PEER_PORT} as {PEER_AS};
  neighbor {node} as {NODE_AS};
  multihop; passive yes;
  ipv4 {{ import all; export none; }};
}}
"""
    return Bird(directory, "peer", protocols, "192.0.2.254")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("any"), 1) as cluster:
        cluster.prepare()
        cluster.start_primary()
        yield cluster


@pytest.fixture
def mirror(cluster: Cluster) -> Iterator[Secondary]:
    """Running, and drained by nobody."""
    (mirror,) = cluster.secondaries
    if not mirror.process.running:
        mirror.process.start()
    cluster.wait_secondary(mirror)
    yield mirror
    secondary(mirror, "undrain")


@contextmanager
def running(*processes: LabProcess) -> Iterator[None]:
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in reversed(processes):
            if process.running:
                process.stop()


def secondary(mirror: Secondary, *words: str) -> None:
    run([program("smtpnic-secondary"), *words, "-c", str(mirror.settings_file)])


def health(mirror: Secondary, *words: str) -> list[str]:
    command = [program("smtpnic-secondary"), "health", "-c", str(mirror.settings_file)]
    return [*command, "--every=0.2", *words]


def check_routes(mirror: Secondary, peer: Bird, watching: LabProcess) -> None:
    """Announced while all is well; withdrawn when it is drained, when its DNS server is gone, and
    when nobody watches any more."""

    def heard(expected: bool, what: str) -> None:
        wait_until(lambda: peer.hears_route is expected, seconds=SECONDS, what=what)

    heard(True, "the route of a node that is well")
    secondary(mirror, "drain")
    heard(False, "the route withdrawn after a drain")
    secondary(mirror, "undrain")
    heard(True, "the route again")
    mirror.process.stop()
    heard(False, "the route withdrawn, for nothing answers")
    mirror.process.start()
    heard(True, "the route after a start")
    watching.stop()
    heard(False, "the route withdrawn, for nobody watches")


@pytest.mark.skipif(shutil.which("exabgp") is None, reason="needs exabgp")
def test_exabgp_announces_while_all_is_well(
    cluster: Cluster, mirror: Secondary, tmp_path: Path
) -> None:
    """`health --exabgp` as its process, as the documentation has it."""
    node, peer_address = f"{cluster.network}.71", f"{cluster.network}.72"
    peer = peer_of(tmp_path, node, peer_address)
    config = tmp_path / "exabgp.conf"
    words = " ".join(health(mirror, f"--exabgp={PREFIX}"))
    config.write_text(
        f"""process smtpnic {{ run {words}; encoder text; }}
neighbor {peer_address} {{
  router-id 192.0.2.1;
  local-address {node};
  local-as {NODE_AS};
  peer-as {PEER_AS};
  connect {PEER_PORT};
  family {{ ipv4 unicast; }}
  api {{ processes [ smtpnic ]; }}
}}
"""
    )
    env = {"exabgp.daemon.user": "root", "exabgp.api.cli": "false"}
    exabgp = LabProcess("exabgp", ["exabgp", str(config)], tmp_path / "exabgp.log", env)
    with running(peer.process, exabgp):
        check_routes(mirror, peer, exabgp)


def test_bird_announces_while_all_is_well(
    cluster: Cluster, mirror: Secondary, tmp_path: Path
) -> None:
    """`health --bird` beside it; a BIRD that was restarted is told again."""
    node, peer_address = f"{cluster.network}.73", f"{cluster.network}.74"
    peer = peer_of(tmp_path, node, peer_address)
    protocols = f"""protocol device {{ }}
protocol static anycast {{ disabled; ipv4; route {PREFIX} blackhole; }}
protocol bgp network {{
  local {node} port {NODE_PORT} as {NODE_AS};
  neighbor {peer_address} port {PEER_PORT} as {PEER_AS};
  multihop;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import none; export where proto = "anycast"; next hop self; }};
}}
"""
    own = Bird(tmp_path, "own", protocols, "192.0.2.1")
    words = ("--bird=anycast", f"--bird-socket={own.socket}")
    watching = LabProcess("health", health(mirror, *words), tmp_path / "health.log")
    with running(peer.process, own.process, watching):
        wait_until(lambda: peer.hears_route, seconds=SECONDS, what="the route")
        own.process.stop()
        wait_until(lambda: not peer.hears_route, seconds=SECONDS, what="the session's end")
        own.process.start()
        check_routes(mirror, peer, watching)


def test_a_protocol_that_bird_does_not_know_is_told_of(
    cluster: Cluster, mirror: Secondary, tmp_path: Path
) -> None:
    """Once, and not at every look."""
    own = Bird(tmp_path, "own", "protocol device { }\n", "192.0.2.1")
    words = ("--bird=anycast", f"--bird-socket={own.socket}")
    watching = LabProcess("health", health(mirror, *words), tmp_path / "health.log")
    with running(own.process):
        wait_until(lambda: "ready" in own.say("show", "status"), seconds=SECONDS, what="BIRD")
        with running(watching):
            wait_until(
                lambda: "unexpected" in watching.log.read_text(),
                seconds=SECONDS,
                what="the problem",
            )
    assert 1 == watching.log.read_text().count("unexpected")
