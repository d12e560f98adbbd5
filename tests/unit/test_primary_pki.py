"""The registry's certificate authority."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from node.certificates import CERTIFICATE_DAYS, show
from node.errors import ConfigurationError
from node.tls import Identity
from primary.pki import Authority, Names, names_of
from registry.errors import Problem

NOW = datetime.now(UTC).replace(microsecond=0)
LOCAL = Names.parse(["localhost"], ["127.0.0.1", "::1"])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("example.org", NOW)


def _files(directory: Path, name: str, identity: Identity) -> tuple[Path, Path]:
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    certificate.write_bytes(identity.certificate)
    key.write_bytes(identity.key)
    return certificate, key


def _context(
    protocol: int, directory: Path, name: str, identity: Identity, ca: bytes
) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.load_cert_chain(*_files(directory, name, identity))
    context.load_verify_locations(cadata=ca.decode())
    return context


def test_openssl_accepts_both_sides_of_a_mutual_handshake(
    authority: Authority, tmp_path: Path
) -> None:
    """A node and the primary accept each other's certificates, names checked."""
    ca = authority.identity.certificate
    server = _context(
        ssl.PROTOCOL_TLS_SERVER, tmp_path, "server", authority.issue_server(LOCAL, NOW), ca
    )
    server.verify_mode = ssl.CERT_REQUIRED
    client = _context(
        ssl.PROTOCOL_TLS_CLIENT, tmp_path, "node", authority.issue_node("alpha", LOCAL, NOW), ca
    )
    ours, theirs = socket.socketpair()
    seen: list[object] = []

    def accept() -> None:
        with server.wrap_socket(theirs, server_side=True) as accepted:
            seen.append(accepted.getpeercert())

    thread = threading.Thread(target=accept)
    thread.start()
    with client.wrap_socket(ours, server_hostname="127.0.0.1"):
        thread.join(10)
    assert "alpha" in str(seen)


def test_a_node_is_client_and_server_and_the_primary_only_server(authority: Authority) -> None:
    """Mirrors can be chained, so a node's certificate serves too; a server's never follows."""

    def usage(pem: bytes) -> set[x509.ObjectIdentifier]:
        certificate = x509.load_pem_x509_certificate(pem)
        return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)

    both = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert both == usage(authority.issue_node("alpha", LOCAL, NOW).certificate)
    server = usage(authority.issue_server(LOCAL, NOW).certificate)
    assert {ExtendedKeyUsageOID.SERVER_AUTH} == server


def test_names_and_end_are_read_back(authority: Authority) -> None:
    """A certificate can be renewed for the names it stands for."""
    pem = authority.issue_server(LOCAL, NOW).certificate
    assert names_of(pem) == LOCAL
    assert NOW + timedelta(days=CERTIFICATE_DAYS) == show(pem).ends


def test_a_kept_authority_goes_on(authority: Authority) -> None:
    """What a loaded authority issues, the first one's certificate verifies."""
    loaded = Authority.load(authority.identity)
    issued = x509.load_pem_x509_certificate(loaded.issue_node("b", LOCAL, NOW).certificate)
    issued.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.identity.certificate))


def test_a_strange_key_is_refused(authority: Authority) -> None:
    """A key of another authority is noticed when loaded, not at the first connection."""
    other = Authority.create("example.net", NOW).identity
    with pytest.raises(ConfigurationError, match="does not belong"):
        Authority.load(Identity(authority.identity.certificate, other.key))


@pytest.mark.parametrize("name", ["", "Alpha", "-a", "a.b", "a" * 64])
def test_a_node_is_named_by_one_label(authority: Authority, name: str) -> None:
    """Names that would not do as a label are refused."""
    with pytest.raises(Problem):
        authority.issue_node(name, LOCAL, NOW)


def test_a_certificate_needs_names() -> None:
    """A certificate without names would be good for nothing."""
    with pytest.raises(Problem):
        Names.parse([], [])
    with pytest.raises(Problem):
        Names.parse([], ["127.0.0"])
