"""Certificates that renew themselves, or are renewed in files, while everything is served."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.x509 import load_pem_x509_certificate

from lab.cluster import Cluster, Secondary
from lab.process import LabError, program, run
from node.certificates import show
from node.exits import ExitCode
from node.tls import Identity
from primary.pki import Authority, Life, names_of
from tests.support.joining import joined, mirror_at, nodes
from tests.support.probe import Probe
from tests.support.registrant import Registrant, secure_channel
from tests.support.wait import wait_until

SECONDS = 60.0
LIFE_SECONDS = 9.0
RENEW = (program("smtpnic-primary"), "renew", "-c")
ADDRESSES = ("198.51.100.7", "198.51.100.8", "198.51.100.9")


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("c"), 0) as cluster:
        cluster.prepare()
        yield cluster


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A primary whose certificates are good for some seconds."""
    days = {"SMTPNIC_PRIMARY_AUTHORITY__CERTIFICATE_DAYS": str(LIFE_SECONDS / 86_400)}
    with Cluster(tmp_path_factory.mktemp("c"), 0, primary_env=days) as cluster:
        cluster.prepare()
        run([*RENEW, str(cluster.primary_dir / "primary.toml")], env=days)
        yield cluster


def registrant_of(cluster: Cluster) -> Registrant:
    registrant = Registrant(secure_channel(cluster.public, cluster.ca, cluster.primary_address))
    registrant.create_holder()
    return registrant


def ends(path: Path) -> datetime:
    return show(path.read_bytes()).ends


def wait_for_end(path: Path, later: datetime) -> None:
    """Until a certificate stands there that ends after this."""
    wait_until(lambda: ends(path) > later, seconds=SECONDS, what=f"a newer {path.name}")


def authority_of(cluster: Cluster) -> Authority:
    directory = cluster.primary_dir
    return Authority.load(
        Identity((directory / "ca.pem").read_bytes(), (directory / "ca.key").read_bytes())
    )


def renewed(cluster: Cluster, path: Path, days: float) -> bytes:
    """Another certificate for the same name, names and key, by the cluster's authority."""
    before = path.read_bytes()
    key = load_pem_x509_certificate(before).public_key()
    assert isinstance(key, EllipticCurvePublicKey)
    life = Life(datetime.now(UTC), days)
    return authority_of(cluster).certify_node(show(before).name, names_of(before), key, life)


def replace_file(path: Path, data: bytes) -> None:
    """As cert-manager does: another file under the name."""
    new = path.with_suffix(".other")
    new.write_bytes(data)
    new.replace(path)


def visible(mirror: Secondary, address: str, probe: Probe) -> None:
    wait_until(
        lambda: mirror.ask_dns(address) == "registered",
        seconds=SECONDS,
        what=f"{address}; {probe.status()}",
    )


def test_certificates_renew_themselves(short: Cluster) -> None:
    """Over several lives of them: the mirror follows on, it and the primary are known by new
    certificates, and no lookup is lost. Without the authority's key both say so; once it is back
    they go on, though their certificates ended meanwhile."""
    short.start_primary()
    mirror = joined(short, "zurich-1", 40)
    server, node = short.primary_dir / "server.pem", mirror.directory / "node.pem"
    mirror.process.start()
    try:
        short.wait_secondary(mirror)
        probe, registrant = Probe(mirror), registrant_of(short)
        registrant.register(ADDRESSES[0])
        visible(mirror, ADDRESSES[0], probe)
        wait_for_end(server, ends(server))
        first = ends(node)
        for _ in range(2):
            wait_for_end(node, ends(node))
            assert "registered" == mirror.ask_dns(ADDRESSES[0])
        wait_until(lambda: datetime.now(UTC) > first, seconds=SECONDS, what="the first one's end")
        registrant_of(short).register(ADDRESSES[1])
        visible(mirror, ADDRESSES[1], probe)
        assert "" == probe.status().certificate_problem

        key = short.primary_dir / "ca.key"
        away = key.rename(key.with_suffix(".away"))
        last = ends(node)
        wait_until(
            lambda: "authority's key" in _problem(mirror),
            seconds=SECONDS,
            what=f"the problem in the status; {probe.status()}",
        )
        wait_until(lambda: datetime.now(UTC) > last, seconds=SECONDS, what="the last one's end")
        assert "registered" == mirror.ask_dns(ADDRESSES[1])
        away.rename(key)
        wait_for_end(server, ends(server))
        wait_for_end(node, last)
        registrant_of(short).register(ADDRESSES[2])
        visible(mirror, ADDRESSES[2], probe)
    finally:
        mirror.process.stop()


def _problem(mirror: Secondary) -> str:
    """What its log says of renewals, for its own service's certificate may have ended too."""
    events = Probe(mirror).events("certificate.not_renewed")
    return str(events[-1]["reason"]) if events else ""


def test_files_that_others_renew_are_taken_up(cluster: Cluster) -> None:
    """Both sides notice a certificate that somebody put in the place of theirs, key and all, and
    leave alone what does not fit together yet."""
    os.environ["SMTPNIC_PRIMARY_AUTHORITY__RENEW"] = "false"
    try:
        cluster.start_primary()
    finally:
        del os.environ["SMTPNIC_PRIMARY_AUTHORITY__RENEW"]
    joined(cluster, "oslo-1", 40)
    directory = cluster.root / "oslo-1"
    # Of a life in which the files are looked at all the time.
    replace_file(directory / "node.pem", renewed(cluster, directory / "node.pem", 60 / 86_400))
    mirror = mirror_at(cluster, "oslo-1", f"{cluster.network}.40")
    mirror.process.start({"SMTPNIC_SECONDARY_TLS__RENEW": "false"})
    try:
        cluster.wait_secondary(mirror)
        probe = Probe(mirror)
        other = authority_of(cluster).issue_node(
            "oslo-1", names_of((directory / "node.pem").read_bytes()), datetime.now(UTC)
        )
        good = renewed(cluster, directory / "node.pem", 30.0)
        replace_file(directory / "node.pem", other.certificate)
        wait_until(
            lambda: "is not the key of" in probe.status().certificate_problem,
            seconds=SECONDS,
            what=f"the halves that do not fit; {probe.status()}",
        )
        replace_file(directory / "node.pem", good)
        shown_ms = round(show(good).ends.timestamp() * 1000)
        wait_until(
            lambda: nodes(cluster)["oslo-1"].certificate_ends_ms == shown_ms,
            seconds=SECONDS,
            what="the primary sees the new certificate",
        )
        assert ("following", "") == (probe.status().phase, probe.status().certificate_problem)

        # Another key and certificate for the listeners: whoever connects now sees them.
        run([*RENEW, str(cluster.primary_dir / "primary.toml")])
        registrant_of(cluster).register(ADDRESSES[2])
        visible(mirror, ADDRESSES[2], probe)
    finally:
        mirror.process.stop()


def test_the_authority_is_the_one_that_the_board_named(cluster: Cluster) -> None:
    """Another in ca.pem: a secondary follows nobody and says why, a primary does not start."""
    cluster.start_primary()
    mirror = joined(cluster, "rome-1", 40)
    stranger = Authority.create("smtpnic.org", datetime.now(UTC)).identity.certificate
    good = (mirror.directory / "ca.pem").read_bytes()
    # Beside the good one, which alone would open no connection.
    (mirror.directory / "ca.pem").write_bytes(good + stranger)
    mirror.process.start()
    try:
        probe = Probe(mirror)
        wait_until(
            lambda: "of the board names" in probe.status().advice,
            seconds=SECONDS,
            what=f"advice; {probe.status()}",
        )
        assert ("stopped", 0) == (probe.status().phase, probe.status().size)
        replace_file(mirror.directory / "ca.pem", good)
        cluster.wait_secondary(mirror)
    finally:
        mirror.process.stop()
    cluster.primary.stop()
    cluster.ca.write_bytes(good + stranger)
    with pytest.raises(LabError, match="of the board names"):
        cluster.start_primary()
    assert ExitCode.USAGE == cluster.primary.wait()
