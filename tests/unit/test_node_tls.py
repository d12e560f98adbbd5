"""TLS: key material checked when read, and who gets through a handshake."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from node.errors import ConfigurationError
from node.tls import (
    CHANNEL_OPTIONS,
    SERVER_OPTIONS,
    Identity,
    channel_credentials,
    peer_name,
    read_certificates,
    server_credentials,
)


class Authority:
    """A certificate authority of a test."""

    def __init__(self) -> None:
        self._key = generate_key(SECP256R1())
        self._name = x509.Name.from_rfc4514_string("CN=test authority")
        self.certificate = self._sign(self._name, self._key, is_authority=True)

    def identity(self, name: str) -> Identity:
        key = generate_key(SECP256R1())
        subject = x509.Name.from_rfc4514_string(f"CN={name}")
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Identity(self._sign(subject, key, is_authority=False), pem)

    def _sign(
        self, subject: x509.Name, key: EllipticCurvePrivateKey, *, is_authority: bool
    ) -> bytes:
        now = datetime.now(UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, SHA256())
            .public_bytes(Encoding.PEM)
        )


@contextmanager
def serving(credentials: grpc.ServerCredentials) -> Iterator[str]:
    """A server whose one method answers with the peer's name; its target."""

    def who(_request: bytes, context: grpc.ServicerContext) -> bytes:
        return (peer_name(context.auth_context()) or "nobody").encode()

    handler = grpc.method_handlers_generic_handler(
        "test.Who", {"Who": grpc.unary_unary_rpc_method_handler(who)}
    )
    with ThreadPoolExecutor(max_workers=1) as threads:
        server = grpc.server(threads, handlers=[handler], options=SERVER_OPTIONS)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def ask(target: str, credentials: grpc.ChannelCredentials) -> str:
    with grpc.secure_channel(target, credentials, options=CHANNEL_OPTIONS) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Who/Who")
        return call(b"", timeout=10).decode()


def test_mutual_tls_names_the_peer() -> None:
    """A node with a certificate of the authority is known by its name."""
    authority = Authority()
    server = server_credentials(authority.identity("primary"), authority.certificate)

    with serving(server) as target:
        node = authority.identity("mirror-1")
        assert "mirror-1" == ask(target, channel_credentials(authority.certificate, node))


def test_mutual_tls_refuses_strangers() -> None:
    """No certificate, or one of another authority, gets no answer."""
    authority = Authority()
    server = server_credentials(authority.identity("primary"), authority.certificate)

    with serving(server) as target:
        for stranger in (None, Authority().identity("mirror-1")):
            credentials = channel_credentials(authority.certificate, stranger)
            with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
                ask(target, credentials)


def test_public_tls_asks_for_no_certificate() -> None:
    """Without a client authority anyone may call, and the server still shows who it is."""
    authority = Authority()

    with serving(server_credentials(authority.identity("primary"))) as target:
        assert "nobody" == ask(target, channel_credentials(authority.certificate))
        with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
            ask(target, channel_credentials(Authority().certificate))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_identity_is_read(tmp_path: Path) -> None:
    """A certificate and its key, as they were written; the key is in no repr."""
    identity = Authority().identity("mirror-1")
    certificate = write(tmp_path / "node.pem", identity.certificate)
    key = write(tmp_path / "node.key", identity.key)

    loaded = Identity.load(certificate, key)

    assert identity == loaded
    assert "PRIVATE" not in repr(loaded)


def test_identity_of_two_halves_is_refused(tmp_path: Path) -> None:
    """In doubt, refuse to start: the key of another certificate would fail at every call."""
    authority = Authority()
    certificate = write(tmp_path / "node.pem", authority.identity("a").certificate)
    key = write(tmp_path / "node.key", authority.identity("b").key)

    with pytest.raises(ConfigurationError, match=r"node\.key is not the key of .*node\.pem"):
        Identity.load(certificate, key)


def test_files_that_are_no_pem_are_refused(tmp_path: Path) -> None:
    """The message names the file at fault."""
    identity = Authority().identity("a")
    certificate = write(tmp_path / "node.pem", identity.certificate)
    rubbish = write(tmp_path / "rubbish", b"rubbish")

    with pytest.raises(ConfigurationError, match="rubbish is not a PEM private key"):
        Identity.load(certificate, rubbish)
    with pytest.raises(ConfigurationError, match="rubbish holds no PEM certificate"):
        read_certificates(rubbish)
    with pytest.raises(ConfigurationError, match=r"cannot read .*absent"):
        read_certificates(tmp_path / "absent")
