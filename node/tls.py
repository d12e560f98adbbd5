"""TLS of the gRPC listeners and channels: key material from PEM files, checked when read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
from cryptography.exceptions import UnsupportedAlgorithm
from grpc.experimental import ChannelOptions

from node.errors import ConfigurationError
from node.files import read_private
from node.limits import (
    BACKOFF_FIRST_SECONDS,
    BACKOFF_MAX_SECONDS,
    KEEPALIVE_MS,
    KEEPALIVE_TIMEOUT_MS,
    MAX_MESSAGE_BYTES,
    MIN_PING_INTERVAL_MS,
)

if TYPE_CHECKING:
    from node.identity_files import IdentityFiles, Material

_COMMON_NAME: Final = "x509_common_name"
_CERTIFICATE: Final = "x509_pem_cert"

# Both ends must agree on keepalive: a half-open stream hangs silently without it, and a server
# closes clients that ping more often than it allows.
_BOTH_ENDS: Final = (
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)
CHANNEL_OPTIONS: Final = (
    *_BOTH_ENDS,
    ("grpc.initial_reconnect_backoff_ms", int(BACKOFF_FIRST_SECONDS * 1000)),
    ("grpc.max_reconnect_backoff_ms", int(BACKOFF_MAX_SECONDS * 1000)),
)
# A stream of answers is read by the thread that takes them; without this a thread of the channel
# reads, and wakes that one for each. A gRPC that no longer knows it ignores it.
READ_IN_PLACE: Final = (ChannelOptions.SingleThreadedUnaryStream, 1)
SERVER_OPTIONS: Final = (
    *_BOTH_ENDS,
    ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
    # A second process must not get the same port unnoticed, and half the calls with it.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate chain and its private key, both PEM: who a process is to its peers."""

    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Identity:
        """Reads both files; ConfigurationError unless they belong together."""
        # Not needed where there is no TLS, as with an etcd behind a socket.
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_private_key,
        )
        from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415

        chain = read_certificates(certificate)
        private = read_private(key)
        try:
            public = load_pem_private_key(private, password=None).public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigurationError(f"{key} is not a PEM private key: {error}") from error
        if load_pem_x509_certificate(chain).public_key() != public:
            raise ConfigurationError(f"{key} is not the key of {certificate}")
        return cls(chain, private)


def read_certificates(path: Path) -> bytes:
    """One or more PEM certificates; ConfigurationError for anything else."""
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415

    try:
        pem = path.read_bytes()
        load_pem_x509_certificates(pem)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} holds no PEM certificate: {error}") from error
    return pem


def server_credentials(
    identity: Identity, client_authority: bytes | None = None
) -> grpc.ServerCredentials:
    """For a listener; with `client_authority`, clients must show a certificate of that CA."""
    return grpc.ssl_server_credentials(
        [(identity.key, identity.certificate)],
        root_certificates=client_authority,
        require_client_auth=client_authority is not None,
    )


def renewed_server_credentials(
    files: IdentityFiles, *, mutual: bool = False
) -> grpc.ServerCredentials:
    """For a listener; each handshake takes what the files hold by then.

    `mutual`: clients must show a certificate of the authority. The authority's own certificate is
    shown with the listener's, so that who knows its fingerprint alone can find it.
    """
    used = files.now.version

    def renewed() -> Any:
        """None: as before, which gRPC's stubs do not know."""
        nonlocal used
        material = files.look()
        if material.version == used:
            return None
        used = material.version
        return _configuration(material, mutual=mutual)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(files.now, mutual=mutual), renewed, require_client_authentication=mutual
    )


def _configuration(material: Material, *, mutual: bool) -> grpc.ServerCertificateConfiguration:
    identity = material.identity
    chain = identity.certificate.rstrip() + b"\n" + material.authority
    return grpc.ssl_server_certificate_configuration(
        [(identity.key, chain)], root_certificates=material.authority if mutual else None
    )


def channel_credentials(
    authority: bytes, identity: Identity | None = None
) -> grpc.ChannelCredentials:
    """For a channel to a server of that CA; with `identity`, mutual TLS."""
    if identity is None:
        return grpc.ssl_channel_credentials(root_certificates=authority)
    return grpc.ssl_channel_credentials(authority, identity.key, identity.certificate)


def peer_name(auth_context: Mapping[str, object]) -> str | None:
    """The common name in a client's certificate, which the handshake has checked; None without.

    `auth_context` is what a servicer's context gives: lists of bytes, whatever the stubs say.
    """
    match auth_context.get(_COMMON_NAME):
        case [bytes(name), *_]:
            return name.decode("utf-8", "replace")
        case _:
            return None


def peer_certificate(auth_context: Mapping[str, object]) -> bytes:
    """The client's certificate, PEM, which the handshake has checked; empty without."""
    match auth_context.get(_CERTIFICATE):
        case [bytes(certificate), *_]:
            return certificate
        case _:
            return b""
