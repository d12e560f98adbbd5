"""Mirrors join with tokens, follow at once, and are cut off when they are removed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from lab.cluster import Cluster
from lab.process import LabError
from node.certificates import make_key, make_request
from node.exits import ExitCode
from node.tls import Identity
from primary.membership.values import callable_methods
from primary.pki import Authority, Names
from registry.errors import Problem
from registry.join_token import JoinToken
from registry.wire.v1 import joining_pb2
from registry.wire.v1 import replication_pb2 as pb
from registry.wire.v1.joining_pb2_grpc import JoiningStub, MembershipStub
from registry.wire.v1.replication_pb2_grpc import ReplicationStub
from secondary.settings import SecondarySettings
from tests.support.founder import decide
from tests.support.joining import (
    join,
    joined,
    make_token,
    node_channel,
    nodes,
    primary,
    refusal,
    tickets,
)
from tests.support.probe import Probe
from tests.support.registrant import Registrant, secure_channel
from tests.support.wait import wait_until

SECONDS = 60.0
ADDRESS, LATER = "198.51.100.7", "198.51.100.8"
DENIED, UNKNOWN = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A primary that knows two nodes, which do not run; the path of etcd's socket is short."""
    with Cluster(tmp_path_factory.mktemp("c"), 2) as cluster:
        cluster.prepare()
        cluster.start_primary()
        yield cluster


@pytest.fixture(scope="module")
def registrant(cluster: Cluster) -> Iterator[Registrant]:
    with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
        registrant = Registrant(channel)
        registrant.create_holder()
        registrant.register(ADDRESS)
        yield registrant


def wait_for_advice(probe: Probe, words: str) -> None:
    """Until the mirror's status gives this advice."""
    wait_until(
        lambda: words in probe.status().advice,
        seconds=SECONDS,
        what=f"advice: {words}; {probe.status()}",
    )


def test_a_mirror_joins_follows_is_removed_and_joins_again(
    cluster: Cluster, registrant: Registrant
) -> None:
    """With one word; its keys are its own; removed, its stream ends and nothing lets it back in,
    while what it has is served on; a new token lets it in again, with all that it had."""
    mirror = joined(cluster, "zurich-1", 40)
    assert 0o600 == (mirror.directory / "node.key").stat().st_mode & 0o777
    pinned = (mirror.directory / "root.note").read_bytes()
    assert (cluster.primary_dir / "root.note").read_bytes() == pinned
    mirror.process.start()
    try:
        cluster.wait_secondary(mirror)
        probe = Probe(mirror)
        wait_until(
            lambda: mirror.ask_dns(ADDRESS) == "registered",
            seconds=SECONDS,
            what=f"{ADDRESS}; {probe.status()}",
        )
        assert probe.metric("follower", "smtpnic_certificate_expires_days", certificate="node")
        assert not nodes(cluster)["zurich-1"].is_removed

        primary(cluster, "node", "remove", "zurich-1")
        wait_for_advice(probe, "zurich-1 was removed by the primary's operator")
        with node_channel(cluster, mirror.directory) as channel:
            stub = ReplicationStub(channel)
            code, text = refusal(stub.GetCheckpoint, pb.GetCheckpointRequest())
            assert (DENIED, True) == (code, "was removed" in text)
            request = make_request((mirror.directory / "node.key").read_bytes(), "zurich-1")
            asked = joining_pb2.RenewCertificateRequest(certificate_request=request)
            assert DENIED == refusal(MembershipStub(channel).RenewCertificate, asked)[0]
        with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
            ended = joining_pb2.RenewEndedRequest(name="zurich-1", certificate_request=request)
            code, text = refusal(JoiningStub(channel).RenewEnded, ended)
            assert (grpc.StatusCode.NOT_FOUND, True) == (code, "join with a token" in text)
        registrant.register(LATER)
        assert "registered" == mirror.ask_dns(ADDRESS)
        assert "NXDOMAIN" == mirror.ask_dns(LATER)

        token = primary(
            cluster, "token", "create", "--name=zurich-1", f"--address={mirror.address}"
        )
        said = join(token, mirror.directory, "--again")
        assert (0, said.text) == (said.code, said.text)
        wait_until(
            lambda: mirror.ask_dns(LATER) == "registered",
            seconds=SECONDS,
            what=f"{LATER}; {probe.status()}",
        )
        assert not nodes(cluster)["zurich-1"].is_removed
    finally:
        mirror.process.stop()


def test_a_token_is_good_for_one_key(cluster: Cluster, tmp_path: Path) -> None:
    """Another key is refused and told of; a name has one node; without a name none is chosen."""
    token = make_token(cluster, "oslo-1", f"{cluster.network}.41")
    assert 0 == join(token, tmp_path / "first").code
    thief = join(token, tmp_path / "second")
    assert ExitCode.REFUSED == thief.code
    assert "was used at" in thief.text
    assert "if that was not you" in thief.text
    assert tickets(cluster)["oslo-1"].contested_ms > 0
    assert "ANOTHER KEY CAME WITH IT" in primary(cluster, "token", "list")
    assert "token.used_twice" in cluster.primary.log.read_text()
    # The directory that has joined says so, and loses nothing.
    again = join(token, tmp_path / "first")
    assert (ExitCode.USAGE, True) == (again.code, "has joined already" in again.text)

    with pytest.raises(Problem, match="is a node already"):
        make_token(cluster, "oslo-1")
    free = make_token(cluster, "", f"{cluster.network}.41")
    unnamed = join(free, tmp_path / "third")
    assert (ExitCode.USAGE, True) == (unnamed.code, "give --name" in unnamed.text)
    taken = join(free, tmp_path / "third", "--name=oslo-1")
    assert (ExitCode.REFUSED, True) == (taken.code, "another node's name" in taken.text)
    other = join(free, tmp_path / "third", "--name=oslo-2", "--address=192.0.2.1")
    assert (ExitCode.REFUSED, True) == (other.code, "does not allow" in other.text)
    # Nothing of that spent the token.
    assert 0 == join(free, tmp_path / "third", "--name=oslo-2").code


def test_a_join_that_broke_off_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    """Killed when the primary has answered: the same command ends it, with the same key."""
    token = make_token(cluster, "lima-1", f"{cluster.network}.42")
    directory = tmp_path / "lima-1"
    killed = join(token, directory, env={"SMTPNIC_FAILPOINT": "join.before_settings"})
    assert -signal.SIGKILL == killed.code
    assert not (directory / "secondary.toml").exists()
    key = (directory / "node.key").read_bytes()
    assert 0 == join(token, directory).code
    assert key == (directory / "node.key").read_bytes()
    Identity.load(directory / "node.pem", directory / "node.key")
    assert 0 == tickets(cluster)["lima-1"].contested_ms


def test_a_token_that_ended_lets_nobody_in(cluster: Cluster, tmp_path: Path) -> None:
    """Expired, revoked, or never made: each is said."""
    late = join(make_token(cluster, "rome-1", life_ms=1), tmp_path / "late")
    assert (ExitCode.REFUSED, True) == (late.code, "the token expired at" in late.text)
    revoked = make_token(cluster, "rome-2")
    primary(cluster, "token", "revoke", tickets(cluster)["rome-2"].label)
    refused = join(revoked, tmp_path / "revoked")
    assert (ExitCode.REFUSED, True) == (refused.code, "was revoked" in refused.text)
    made_up = replace(JoinToken.parse(revoked), secret=os.urandom(16)).encode()
    strange = join(made_up, tmp_path / "strange")
    assert (ExitCode.REFUSED, True) == (strange.code, "is not known here" in strange.text)
    cut = join(revoked[:-4], tmp_path / "cut")
    assert (ExitCode.USAGE, True) == (cut.code, "is not whole" in cut.text)


def test_an_impostor_gets_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """Another registry's primary at the token's address, known by another authority: the token's
    secret is not sent to it, and stays good."""
    token = make_token(cluster, "bern-1", f"{cluster.network}.43")
    with Cluster(tmp_path / "c", 0) as other:
        other.prepare()
        other.start_primary()
        lured = replace(JoinToken.parse(token), address=other.public).encode()
        said = join(lured, tmp_path / "bern-1")
        assert ExitCode.UNVERIFIED == said.code
        assert "is not the primary that the token was made at" in said.text
        assert "join" not in other.primary.log.read_text()
    nobody = join(lured, tmp_path / "bern-1")
    assert (ExitCode.UNREACHABLE, True) == (nobody.code, "no primary answers" in nobody.text)
    assert 0 == tickets(cluster)["bern-1"].used_ms
    assert 0 == join(token, tmp_path / "bern-1").code


def test_a_certificate_with_another_key_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    """A good certificate of a known name, by the authority itself, and not the node's: no call."""
    directory = cluster.primary_dir
    authority = Authority.load(
        Identity((directory / "ca.pem").read_bytes(), (directory / "ca.key").read_bytes())
    )
    forged = authority.issue_node("mirror-1", Names.parse([], ["127.0.0.1"]), datetime.now(UTC))
    unknown = authority.issue_node("nobody", Names.parse([], ["127.0.0.1"]), datetime.now(UTC))
    for identity, words in ((forged, "has another key"), (unknown, "no node nobody is known")):
        (tmp_path / "node.pem").write_bytes(identity.certificate)
        (tmp_path / "node.key").write_bytes(identity.key)
        with node_channel(cluster, tmp_path) as channel:
            stub = ReplicationStub(channel)
            code, text = refusal(stub.GetCheckpoint, pb.GetCheckpointRequest())
            assert (UNKNOWN, True) == (code, words in text)
    with node_channel(cluster, cluster.secondaries[0].directory) as channel:
        ReplicationStub(channel).GetCheckpoint(pb.GetCheckpointRequest(), timeout=10)


def test_strangers_are_not_given_certificates(cluster: Cluster) -> None:
    """Only a node's own key is certified without a token."""
    own = (cluster.secondaries[0].directory / "node.key").read_bytes()
    with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
        stub = JoiningStub(channel)

        def ask(key: bytes) -> tuple[grpc.StatusCode, str]:
            request = make_request(key, "mirror-1")
            ended = joining_pb2.RenewEndedRequest(name="mirror-1", certificate_request=request)
            return refusal(stub.RenewEnded, ended)

        assert grpc.StatusCode.OK == ask(own)[0]
        code, text = ask(make_key())
        assert (grpc.StatusCode.INVALID_ARGUMENT, True) == (code, "keeps its key" in text)


def test_whatever_nodes_are_offered_some_role_may_call(cluster: Cluster) -> None:
    """A service that is added to the listener for nodes is given to a role as well."""
    with node_channel(cluster, cluster.secondaries[0].directory) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        offered = {
            f"/{service}/{method.name}"
            for service in database.get_services()
            if service.startswith("smtpnic.")
            for method in pool.FindServiceByName(service).methods
        }
    assert callable_methods() == offered


def test_a_reader_does_not_vouch(cluster: Cluster) -> None:
    """Each role may make its own calls, and no others."""
    reader = joined(cluster, "reader-1", 44, role="reader")
    assert not SecondarySettings.load(reader.settings_file).cosigning.report
    with node_channel(cluster, reader.directory) as channel:
        stub = ReplicationStub(channel)
        assert stub.GetCheckpoint(pb.GetCheckpointRequest(), timeout=10).checkpoint
        code, text = refusal(stub.ReportCosignature, pb.ReportCosignatureRequest())
        assert (DENIED, True) == (code, "is a reader" in text)


def test_the_board_cuts_off_whom_it_removes(cluster: Cluster) -> None:
    """Admitted by the board, it is removed by the board alone, and at once."""
    decide(cluster, "admit", "mirror-2")
    with pytest.raises(LabError, match="so the board removes it"):
        primary(cluster, "node", "remove", "mirror-2")
    with node_channel(cluster, cluster.secondaries[1].directory) as channel:
        stub = ReplicationStub(channel)
        stream = stub.Subscribe(pb.SubscribeRequest(size=0, root_hash=_EMPTY), timeout=SECONDS)
        assert next(iter(stream)).HasField("batch")
        decide(cluster, "remove", "mirror-2")
        with pytest.raises(grpc.RpcError, match="mirror-2 was removed by the board"):
            for _ in stream:
                pass
        assert DENIED == refusal(stub.GetCheckpoint, pb.GetCheckpointRequest())[0]
    # Nor is it let in by a start that reads the decision again.
    cluster.primary.stop()
    cluster.start_primary()
    assert "board" == nodes(cluster)["mirror-2"].removed_by


_EMPTY = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
