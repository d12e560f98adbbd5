"""Finds the authority's certificate at a primary, by its fingerprint alone.

The first handshake verifies nothing, and its only result is a certificate that has the fingerprint
and signed the server's. Whatever is then said is said over another one, verified with it.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from node.endpoint import Endpoint
from registry.errors import VerificationError

HANDSHAKE_SECONDS: Final = 10
# What gRPC's servers expect to be offered (RFC 9113, 3.2).
_PROTOCOLS: Final = [b"h2"]


class ImpostorError(VerificationError):
    """Whoever answers is not known by the authority that was named: send it nothing."""


def find_authority(server: Endpoint, fingerprint: bytes) -> bytes:
    """The authority's certificate (PEM), whose SHA-256 is `fingerprint`.

    ImpostorError: the server shows no such one, or is not certified by it. ConnectionError: no
    server answers, or none that speaks TLS.
    """
    chain = _shown_chain(server)
    for authority in chain:
        if authority.fingerprint(SHA256()) == fingerprint:
            _check_issued(server, chain[0], authority)
            return authority.public_bytes(Encoding.PEM)
    raise ImpostorError(
        f"{server} is not the primary that the token was made at: it is not certified by the "
        f"authority {fingerprint.hex()[:16]}.... Nothing was sent to it. Is the address "
        "right, and does nobody stand in between? Tell the primary's operator"
    )


def _check_issued(server: Endpoint, leaf: x509.Certificate, authority: x509.Certificate) -> None:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise ImpostorError(
            f"{server} shows the primary's authority, and a certificate that is not by it: "
            "somebody stands in between. Nothing was sent to it. Tell the primary's operator"
        ) from None


def _shown_chain(server: Endpoint) -> list[x509.Certificate]:
    """What the server shows in a handshake; the first is the one whose key it has."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_alpn_protos(_PROTOCOLS)
    try:
        with socket.create_connection((server.host, server.port), HANDSHAKE_SECONDS) as plain:
            # The library's handshake does not know a socket's own time-out.
            plain.settimeout(None)
            plain.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", HANDSHAKE_SECONDS, 0)
            )
            connection = SSL.Connection(context, plain)
            connection.set_connect_state()
            connection.do_handshake()
            return connection.get_peer_cert_chain(as_cryptography=True) or []
    except (SSL.Error, OSError) as error:
        raise ConnectionError(f"no primary answers on {server}: {_text(error)}") from error


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or "it does not speak TLS"
