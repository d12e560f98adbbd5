"""Mirrors cosign what they have stored, the primary checks each word and publishes them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from lab.cluster import NODES_PORT, Cluster, Secondary
from lab.process import program, run
from primary.keys import Keys
from registry.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from registry.cosigning import cosigner_name, open_cosigned, sign_for
from registry.fork import ForkEvidence
from registry.note import CosignatureVerifier, Cosigner, Signer, UnverifiedNote
from registry.wire.v1 import replication_pb2 as pb
from registry.wire.v1.replication_pb2_grpc import ReplicationStub
from secondary.cosigner import KEY_NAME
from tests.support.probe import Probe
from tests.support.registrant import Registrant, secure_channel
from tests.support.wait import wait_until

SECONDS = 60.0
NOW_S = 1_700_000_000
ORIGIN = "smtpnic.org"
FRESH = {"SMTPNIC_PRIMARY_FRESHNESS_SECONDS": "0.3"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A primary and two mirrors of it."""
    root = tmp_path_factory.mktemp("cluster")
    with Cluster(root, 2, primary_env=FRESH) as cluster:
        cluster.prepare()
        cluster.start_primary()
        cluster.start_secondaries()
        known = cluster.primary_dir / "data" / "cosigners"
        wait_until(lambda: len(list(known.glob("*.vkey"))) == 2, seconds=SECONDS, what="both keys")
        yield cluster


@contextmanager
def node(cluster: Cluster, secondary: Secondary) -> Iterator[ReplicationStub]:
    """Replication, as that mirror calls it."""
    credentials = grpc.ssl_channel_credentials(
        cluster.ca.read_bytes(),
        (secondary.directory / "node.key").read_bytes(),
        (secondary.directory / "node.pem").read_bytes(),
    )
    with grpc.secure_channel(f"{cluster.primary_address}:{NODES_PORT}", credentials) as channel:
        yield ReplicationStub(channel)


def published(stub: ReplicationStub) -> bytes:
    return stub.GetCheckpoint(pb.GetCheckpointRequest(), timeout=5).cosigned


def signers(note: bytes) -> set[str]:
    return {one.name for one in UnverifiedNote.parse(note).signatures} if note else set()


def key_of(secondary: Secondary) -> Cosigner:
    return Cosigner.from_text((secondary.directory / "data" / KEY_NAME).read_text().strip())


def keys(cluster: Cluster) -> Keys:
    directory = cluster.primary_dir
    return Keys.load(directory / "log.key", directory / "freshness.key", ORIGIN)


def refused(stub: ReplicationStub, key: CosignatureVerifier, note: bytes) -> grpc.StatusCode:
    request = pb.ReportCosignatureRequest(key=key.vkey(), checkpoint=note)
    with pytest.raises(grpc.RpcError) as caught:
        stub.ReportCosignature(request, timeout=5)
    code: grpc.StatusCode = caught.value.code()
    return code


def test_the_published_checkpoint_carries_the_mirrors_word(cluster: Cluster) -> None:
    """Log, freshness and every mirror sign one checkpoint of the newest log; status shows it."""
    names = {
        ORIGIN,
        f"{ORIGIN}/freshness",
        *(cosigner_name(ORIGIN, one.name) for one in cluster.secondaries),
    }
    with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
        registrant = Registrant(channel)
        registrant.create_holder()
        done = registrant.register("198.18.0.1")
    log_key = keys(cluster).log.verifier()
    size = open_checkpoint(done.checkpoint, log_key).size
    with node(cluster, cluster.secondaries[0]) as stub:

        def is_cosigned() -> bool:
            note = published(stub)
            return names == signers(note) and open_checkpoint(note, log_key).size >= size

        wait_until(is_cosigned, seconds=SECONDS, what="both cosignatures")
        note = published(stub)
    for secondary in cluster.secondaries:
        verifier = key_of(secondary).verifier()
        assert size <= open_cosigned(note, verifier, log_key).checkpoint.size
        assert size <= Probe(secondary).status().cosigned_size
    config = str(cluster.primary_dir / "primary.toml")
    shown = run([program("smtpnic-primary"), "status", "-c", config])
    assert all(f"cosigned by  {one.name}" in shown for one in cluster.secondaries)
    # They look at names for the primary, too.
    wanted = f"look for us  {', '.join(one.name for one in cluster.secondaries)}\n"
    status = [program("smtpnic-primary"), "status", "-c", config]
    wait_until(lambda: wanted in run(status), seconds=SECONDS, what="both mirrors look")


def test_it_goes_on_after_a_kill(cluster: Cluster) -> None:
    """kill -9 of the follower: the same key goes on from what it had said."""
    secondary = cluster.secondaries[1]
    probe, key = Probe(secondary), key_of(secondary)
    pid, before = probe.child_pid("follower"), probe.status().cosigned_ms
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: (
            probe.child_pid("follower") not in (0, pid)
            and probe.status().cosigned_ms > before
            and not probe.status().cosigning_problem
        ),
        seconds=SECONDS,
        what="a newer cosignature",
    )
    assert key == key_of(secondary)


def test_a_false_word_is_refused(cluster: Cluster) -> None:
    """Another's key, a second key, a false signature, another log's key, a log that is longer."""
    secondary = cluster.secondaries[0]
    mine, log = key_of(secondary), keys(cluster).log
    with node(cluster, secondary) as stub:
        note = stub.GetCheckpoint(pb.GetCheckpointRequest(), timeout=5).checkpoint
        checkpoint = open_checkpoint(note, log.verifier())
        theirs = key_of(cluster.secondaries[1])
        cosigned = sign_for(note, theirs, NOW_S).note
        assert grpc.StatusCode.PERMISSION_DENIED == refused(stub, theirs.verifier(), cosigned)
        second = Cosigner(mine.name, bytes(32))
        cosigned = sign_for(note, second, NOW_S).note
        assert grpc.StatusCode.PERMISSION_DENIED == refused(stub, second.verifier(), cosigned)
        assert grpc.StatusCode.INVALID_ARGUMENT == refused(stub, mine.verifier(), note)
        stranger = sign_checkpoint(checkpoint, Signer(ORIGIN, bytes(32)))
        cosigned = sign_for(stranger, mine, NOW_S).note
        assert grpc.StatusCode.INVALID_ARGUMENT == refused(stub, mine.verifier(), cosigned)
        later = sign_for(note, mine, 1 << 40).note
        assert grpc.StatusCode.INVALID_ARGUMENT == refused(stub, mine.verifier(), later)
        longer = sign_checkpoint(Checkpoint(ORIGIN, checkpoint.size + 9, bytes(32)), log)
        cosigned = sign_for(longer, mine, NOW_S).note
        assert grpc.StatusCode.INVALID_ARGUMENT == refused(stub, mine.verifier(), cosigned)


@pytest.mark.parametrize("smaller_by", [0, 1])
def test_a_mirror_of_another_log_raises_an_alarm(cluster: Cluster, smaller_by: int) -> None:
    """What the log's key signed twice is written down at the primary, with its proof."""
    secondary = cluster.secondaries[0]
    mine, log = key_of(secondary), keys(cluster).log
    data_dir: Path = cluster.primary_dir / "data"
    with node(cluster, secondary) as stub:
        note = stub.GetCheckpoint(pb.GetCheckpointRequest(), timeout=5).checkpoint
        size = open_checkpoint(note, log.verifier()).size - smaller_by
        other = sign_checkpoint(Checkpoint(ORIGIN, size, bytes(32)), log)
        cosigned = sign_for(other, mine, NOW_S).note
        assert grpc.StatusCode.FAILED_PRECONDITION == refused(stub, mine.verifier(), cosigned)
    kept = [ForkEvidence.decode(path.read_bytes()) for path in data_dir.glob("fork-*.json")]
    (evidence,) = [one for one in kept if cosigned == one.theirs]
    assert size == evidence.verify(log.verifier()).smaller.size


def test_a_new_key_counts_once_the_old_is_forgotten(cluster: Cluster) -> None:
    """The primary's operator says so; a name that is not known is an error."""
    config = str(cluster.primary_dir / "primary.toml")
    name = cluster.secondaries[0].name
    run([program("smtpnic-primary"), "forget-cosigner", name, "-c", config])
    # The mirror shows its key again within seconds.
    known = cluster.primary_dir / "data" / "cosigners" / f"{name}.vkey"
    wait_until(known.exists, seconds=SECONDS, what="the key again")
    assert key_of(cluster.secondaries[0]).verifier().vkey() == known.read_text().strip()
