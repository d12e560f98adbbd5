"""Mirrors one behind the other: what they pass on is signed, so nothing hangs on who they are."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import grpc
import pytest

from lab.cluster import NODES_PORT, Cluster, Secondary
from registry.checkpoint import Checkpoint
from registry.note import UnverifiedNote
from registry.wire.v1 import replication_pb2 as pb
from registry.wire.v1.replication_pb2_grpc import ReplicationStub
from secondary.settings import SecondarySettings
from tests.support.founder import decide
from tests.support.joining import (
    join,
    joined,
    make_token,
    mirror_at,
    node_channel,
    primary,
    refusal,
)
from tests.support.probe import QUICK, Probe
from tests.support.registrant import Registrant, addresses, secure_channel
from tests.support.wait import wait_until

SECONDS = 90.0
RELAY_PORT = 7446
IDLE_ADDRESS = "127.0.0.9"
# What is promised.
CUT_SECONDS = 60.0
FRESH = {"SMTPNIC_PRIMARY_FRESHNESS_SECONDS": "0.3"}


class Chain:
    """A primary, a mirror of it, and two behind that one."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._addresses = addresses()
        self.first, self.second, self.third = cluster.secondaries
        for one in (self.first, self.second):
            one.process.env["SMTPNIC_SECONDARY_RELAY__LISTEN"] = self.relay_of(one)
        for one in (self.second, self.third):
            # The second by its settings, the third as someone tries it out.
            one.process.env["SMTPNIC_SECONDARY_COSIGNING__REPORT_TO"] = (
                f"{cluster.primary_address}:{NODES_PORT}"
            )
        self.second.process.env["SMTPNIC_SECONDARY_UPSTREAM"] = self.relay_of(self.first)
        self.third.process.command += ["--upstream", self.relay_of(self.first)]

    def relay_of(self, one: Secondary) -> str:
        return f"{one.address}:{RELAY_PORT}"

    def start(self, one: Secondary) -> None:
        """Unless it runs."""
        if not one.process.running:
            one.process.start()
        self.cluster.wait_secondary(one)

    def register(self) -> str:
        """The next address, by a holder of its own."""
        cluster, address = self.cluster, next(self._addresses)
        with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
            registrant = Registrant(channel)
            registrant.create_holder()
            registrant.register(address)
        return address

    def wait_answered(self, address: str, *mirrors: Secondary) -> None:
        for one in mirrors:
            wait_until(
                lambda one=one: one.ask_dns(address) == "registered",  # type: ignore[misc]
                seconds=SECONDS,
                what=f"{address} at {one.name}; {Probe(one).status()}",
            )


def following(channel: grpc.Channel) -> pb.SubscribeRequest:
    """From where the log ends by now."""
    shown = ReplicationStub(channel).GetCheckpoint(pb.GetCheckpointRequest(), timeout=SECONDS)
    checkpoint = Checkpoint.parse(UnverifiedNote.parse(shown.checkpoint).text)
    return pb.SubscribeRequest(size=checkpoint.size, root_hash=checkpoint.root)


def refused_at(
    cluster: Cluster, relay: str, node: Secondary, why: str = "removed by the board"
) -> None:
    """It is told why, whatever it calls."""
    with node_channel(cluster, node.directory, relay) as channel:
        for call, request in (
            (ReplicationStub(channel).GetCheckpoint, pb.GetCheckpointRequest()),
            (ReplicationStub(channel).GetRoots, pb.GetRootsRequest()),
        ):
            code, text = refusal(call, request)
            assert (grpc.StatusCode.PERMISSION_DENIED, True) == (code, why in text)


def let_in_at(cluster: Cluster, relay: str, node: Secondary) -> bool:
    """Whether its calls are answered."""
    with node_channel(cluster, node.directory, relay) as channel:
        code, _ = refusal(ReplicationStub(channel).GetCheckpoint, pb.GetCheckpointRequest())
        return code is grpc.StatusCode.OK


@contextmanager
def idle_at(chain: Chain, node: Secondary) -> Iterator[ssl.SSLSocket]:
    """A connection to the first mirror's relay, with a good certificate and without a call."""
    context = ssl.create_default_context(cafile=str(chain.cluster.ca))
    context.load_cert_chain(node.directory / "node.pem", node.directory / "node.key")
    context.set_alpn_protocols(["h2"])
    at = (chain.first.address, RELAY_PORT)
    with (
        socket.create_connection(at, timeout=SECONDS, source_address=(IDLE_ADDRESS, 0)) as plain,
        context.wrap_socket(plain, server_hostname=chain.first.address) as secured,
    ):
        # HTTP/2's preface, and empty settings (RFC 9113, 3.4).
        secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        yield secured


def is_open(connection: ssl.SSLSocket) -> bool:
    """Whether the other side has not ended it; what it has said is read."""
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except (ssl.SSLWantReadError, BlockingIOError):
        return True
    except OSError:
        pass
    return False


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """The primary and the first mirror run."""
    root = tmp_path_factory.mktemp("chain")
    with Cluster(root, 3, primary_env=FRESH, secondary_env=QUICK) as cluster:
        chain = Chain(cluster)
        cluster.prepare()
        cluster.start_primary()
        chain.register()
        chain.start(chain.first)
        yield chain


def test_a_mirror_follows_a_mirror(chain: Chain) -> None:
    """All of it verified; its place is shown; its word reaches the primary."""
    chain.start(chain.second)
    chain.wait_answered(chain.register(), chain.first, chain.second)
    status = Probe(chain.second).status()
    assert [chain.first.name, chain.second.name] == list(status.path)
    assert [chain.first.name] == list(Probe(chain.first).status().path)
    wait_until(
        lambda: (
            Probe(chain.second).status().cosigned_size >= status.size
            and not Probe(chain.second).status().cosigning_problem
        ),
        seconds=SECONDS,
        what="its cosignature, reported to the primary",
    )


def test_one_that_lacks_too_much_begins_with_the_mirrors_own_snapshot(chain: Chain) -> None:
    """After a restart the first has no old batches: it makes a snapshot from its replica."""
    before = chain.register()
    chain.wait_answered(before, chain.first)
    pid = Probe(chain.first).child_pid("follower")
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: (
            Probe(chain.first).child_pid("follower") not in (0, pid)
            and Probe(chain.first).status().phase == "following"
        ),
        seconds=SECONDS,
        what="the first mirror again",
    )
    chain.start(chain.third)
    chain.wait_answered(before, chain.third)
    assert Probe(chain.third).events("snapshot.served")
    # The public contact came along, the private did not.
    wait_until(
        lambda: "postmaster@example.org" in chain.third.ask_whois(before),
        seconds=SECONDS,
        what="the contact in WHOIS",
    )
    assert "Example Street" not in chain.third.ask_whois(before)
    assert list((chain.first.directory / "data" / "relayed").glob("*.snapshot"))
    chain.wait_answered(chain.register(), chain.first, chain.third)


def test_the_chain_goes_on_after_a_kill(chain: Chain) -> None:
    """Everything of the first is killed, the second waits and serves; then it follows again."""
    chain.start(chain.second)
    before = chain.register()
    chain.wait_answered(before, chain.second)
    chain.first.process.kill()
    wait_until(
        lambda: Probe(chain.second).status().phase == "disconnected",
        seconds=SECONDS,
        what="the second, alone",
    )
    assert "registered" == chain.second.ask_dns(before)
    meanwhile = chain.register()
    chain.start(chain.first)
    chain.wait_answered(meanwhile, chain.first, chain.second)
    assert {0.0} == {
        Probe(one).metric("dns", "smtpnic_view_diverged_total")
        for one in (chain.first, chain.second)
    }


def test_who_is_removed_is_cut_off_at_a_mirror_too(chain: Chain) -> None:
    """By the board, which the mirror reads in the log: the stream ends within a minute, nothing
    lets it in again but joining anew, and others go on; after a restart the mirror knows it too."""
    cluster, relay = chain.cluster, chain.relay_of(chain.first)
    chain.start(chain.second)
    removed = joined(cluster, "passing-1", 61)
    with node_channel(cluster, removed.directory, relay) as channel:
        stream = ReplicationStub(channel).Subscribe(following(channel), timeout=SECONDS)
        assert next(iter(stream)).freshness
        chain.wait_answered(chain.register(), chain.first, chain.second)
        decide(cluster, "remove", "passing-1")
        started = time.monotonic()
        with pytest.raises(grpc.RpcError, match="passing-1 was removed by the board"):
            for _ in stream:
                pass
        assert time.monotonic() - started < CUT_SECONDS
    assert Probe(chain.first).events("node.cut", node="passing-1", by="board")
    refused_at(cluster, relay, removed)
    chain.wait_answered(chain.register(), chain.first, chain.second)
    chain.first.process.stop()
    chain.start(chain.first)
    chain.wait_answered(chain.register(), chain.first)
    refused_at(cluster, relay, removed)
    again = join(make_token(cluster, "passing-1", removed.address), removed.directory, "--again")
    assert (0, again.text) == (again.code, again.text)
    with node_channel(cluster, removed.directory, relay) as channel:
        assert ReplicationStub(channel).GetCheckpoint(pb.GetCheckpointRequest()).checkpoint


BY_OPERATOR = "was removed by the primary's operator"


def test_whom_the_administrator_removed_is_cut_off_at_every_mirror(chain: Chain) -> None:
    """Which reads it in the log: its streams end within a minute, at the mirror and at the one
    behind, its calls are refused, also by a mirror that restarts while the primary is away; others
    go on. Let in again by the administrator, it is let in there too."""
    cluster, relays = chain.cluster, [chain.relay_of(one) for one in (chain.first, chain.second)]
    for one in (chain.second, chain.third):
        chain.start(one)
    removed = joined(cluster, "passing-3", 63)
    with ExitStack() as stack:
        streams = []
        for relay in relays:
            channel = stack.enter_context(node_channel(cluster, removed.directory, relay))
            asked = following(channel)
            streams.append(ReplicationStub(channel).Subscribe(asked, timeout=SECONDS))
            assert next(iter(streams[-1])).freshness
        primary(cluster, "node", "remove", "passing-3")
        primary(cluster, "node", "remove", chain.third.name)
        started = time.monotonic()
        for stream in streams:
            with pytest.raises(grpc.RpcError, match=f"passing-3 {BY_OPERATOR}"):
                for _ in stream:
                    pass
        assert time.monotonic() - started < CUT_SECONDS
    wait_until(
        lambda: f"{chain.third.name} {BY_OPERATOR}" in Probe(chain.third).status().advice,
        seconds=CUT_SECONDS,
        what=f"advice; {Probe(chain.third).status()}",
    )
    assert Probe(chain.first).events("node.cut", node="passing-3", by="administrator")
    for relay in relays:
        refused_at(cluster, relay, removed, BY_OPERATOR)
    chain.wait_answered(chain.register(), chain.first, chain.second)

    cluster.primary.stop()
    chain.first.process.stop()
    chain.start(chain.first)
    wait_until(
        lambda: let_in_at(cluster, relays[0], chain.second), seconds=SECONDS, what="the second"
    )
    refused_at(cluster, relays[0], removed, BY_OPERATOR)
    refused_at(cluster, relays[0], chain.third, BY_OPERATOR)
    cluster.start_primary()

    for each in (removed, chain.third):
        primary(cluster, "node", "add", str(each.directory / "node.pem"))
    for relay in relays:
        wait_until(
            lambda relay=relay: let_in_at(cluster, relay, removed),  # type: ignore[misc]
            seconds=SECONDS,
            what=f"passing-3 at {relay}",
        )
    chain.wait_answered(chain.register(), chain.first, chain.second, chain.third)


def test_a_key_that_was_taken_is_of_no_use_at_a_mirror(chain: Chain) -> None:
    """The name joins anew, with another key: that is let in, a copy of the key before is not."""
    cluster, relay = chain.cluster, chain.relay_of(chain.first)
    rightful = joined(cluster, "passing-4", 64)
    thief = mirror_at(cluster, "passing-4-copy", rightful.address)
    shutil.copytree(rightful.directory, thief.directory)
    assert let_in_at(cluster, relay, thief)
    primary(cluster, "node", "remove", "passing-4")
    token = make_token(cluster, "passing-4", rightful.address)
    again = join(token, rightful.directory, "--again")
    assert (0, again.text) == (again.code, again.text)
    wait_until(lambda: not let_in_at(cluster, relay, thief), seconds=CUT_SECONDS, what="the copy")
    refused_at(cluster, relay, thief, BY_OPERATOR)
    assert let_in_at(cluster, relay, rightful)


def test_one_address_does_not_take_every_place_at_a_mirror(chain: Chain) -> None:
    """Whoever connects and says nothing keeps its share of the connections; others follow on."""
    chain.start(chain.second)
    passing = joined(chain.cluster, "passing-2", 62)
    share = SecondarySettings.load(chain.first.settings_file).relay.connections_per_client
    with ExitStack() as stack:
        idle = [stack.enter_context(idle_at(chain, passing)) for _ in range(share + 10)]
        wait_until(
            lambda: share == sum(map(is_open, idle)),
            seconds=SECONDS,
            what=f"{share} connections left",
        )
        chain.wait_answered(chain.register(), chain.first, chain.second)
        assert share == sum(map(is_open, idle))
    assert Probe(chain.first).events("connections.cut", client=IDLE_ADDRESS)


def test_a_circle_is_refused(chain: Chain) -> None:
    """A mirror that would follow itself, over others, says so and follows nobody."""
    chain.start(chain.second)
    # The path is what the second last heard from the first.
    wait_until(
        lambda: len(Probe(chain.second).status().path) == 2, seconds=SECONDS, what="the path"
    )
    command = list(chain.first.process.command)
    chain.first.process.stop()
    chain.first.process.command += ["--upstream", chain.relay_of(chain.second)]
    chain.first.process.start()
    wait_until(
        lambda: "choose another upstream" in Probe(chain.first).status().advice,
        seconds=SECONDS,
        what=f"advice; {Probe(chain.first).status()}",
    )
    chain.first.process.stop()
    chain.first.process.command = command
    chain.start(chain.first)
    chain.wait_answered(chain.register(), chain.first, chain.second)
