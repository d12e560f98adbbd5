"""A certificate's own side: its key, the request for it, what it says and when it is renewed.

No files and no clock: PEM or DER in and out, the time passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from node.errors import ConfigurationError
from registry.errors import Problem

# As Let's Encrypt's certificates and cert-manager's: short enough that nobody renews by hand.
CERTIFICATE_DAYS: Final = 90.0
# cert-manager's and certbot's rule; the last third is for failures.
RENEW_AFTER: Final = 2 / 3
# Spread, so that mirrors that joined together do not come together.
RENEW_SPREAD: Final = 1 / 12
# A request of an elliptic curve has some 300 bytes.
MAX_REQUEST_BYTES: Final = 4096

DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Shown:
    """What a certificate says: its common name, its key's SHA-256, and when it is good."""

    name: str
    key: bytes
    begins: datetime
    ends: datetime
    digest: bytes

    @property
    def begins_ms(self) -> int:
        """When it begins to be good, in milliseconds since 1970."""
        return _milliseconds(self.begins)

    @property
    def ends_ms(self) -> int:
        """When it ends, in milliseconds since 1970."""
        return _milliseconds(self.ends)

    @property
    def renewal(self) -> datetime:
        """When to renew it: after two thirds of its life, some a little later than others."""
        life = self.ends - self.begins
        share = int.from_bytes(self.digest[:4], "big") / (1 << 32)
        return self.begins + life * (RENEW_AFTER + RENEW_SPREAD * share)

    def days_left(self, now: datetime) -> float:
        """Days until it ends; negative afterwards."""
        return (self.ends - now) / timedelta(days=1)


def show(certificate: bytes) -> Shown:
    """What the first certificate in a PEM file says; ConfigurationError when there is none."""
    try:
        found = x509.load_pem_x509_certificate(certificate)
        names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = key_digest(found.public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"not a PEM certificate: {error}") from None
    name = str(names[0].value) if names else ""
    digest = found.fingerprint(hashes.SHA256())
    return Shown(name, key, found.not_valid_before_utc, found.not_valid_after_utc, digest)


def fingerprints(certificates: bytes) -> list[bytes]:
    """The SHA-256 of each certificate in a PEM file; ConfigurationError when there is none."""
    try:
        found = x509.load_pem_x509_certificates(certificates)
    except ValueError as error:
        raise ConfigurationError(f"not a PEM certificate: {error}") from None
    return [each.fingerprint(hashes.SHA256()) for each in found]


def key_digest(key: CertificatePublicKeyTypes) -> bytes:
    """What tells a key from others: the SHA-256 of its SubjectPublicKeyInfo (RFC 7469, 2.4)."""
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return sha256(encoded).digest()


def make_key() -> bytes:
    """A new private key, PEM; P-256 (RFC 8446, 9.1: what everyone has)."""
    return key_pem(ec.generate_private_key(ec.SECP256R1()))


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as it is kept in a file: PKCS #8, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make_request(key: bytes, name: str) -> bytes:
    """A request for a certificate of this key (RFC 2986, DER), signed with it.

    ConfigurationError: the key is none, or of a kind that nodes do not use.
    """
    private = _load_key(key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(private, hashes.SHA256()).public_bytes(Encoding.DER)


def public_digest(key: bytes) -> bytes:
    """`key_digest` of a private key's public half; ConfigurationError as of `make_request`."""
    return key_digest(_load_key(key).public_key())


def read_request(data: bytes) -> ec.EllipticCurvePublicKey:
    """The key that a request is for; Problem "request" unless whoever made it has that key."""
    if len(data) > MAX_REQUEST_BYTES:
        raise Problem("request", f"a certificate request has at most {MAX_REQUEST_BYTES} bytes")
    try:
        request = x509.load_der_x509_csr(data)
        is_signed = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Problem("request", "not a certificate request") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        key.curve, ec.SECP256R1 | ec.SECP384R1
    ):
        raise Problem("request", "a node's key is one of the curve P-256 or P-384")
    if not is_signed:
        raise Problem("request", "the certificate request is not signed with its own key")
    return key


def _milliseconds(when: datetime) -> int:
    return round(when.timestamp() * 1000)


def _load_key(key: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"not a PEM private key: {error}") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ConfigurationError("a node's key is one of an elliptic curve")
    return private
