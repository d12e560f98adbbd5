"""The registry's own certificate authority (X.509, RFC 5280; EC P-256).

It names the primary's listeners and the nodes that may follow them. No sockets, no files:
PEM in, PEM out, the time passed in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from node.errors import ConfigurationError
from node.tls import Identity
from registry.errors import Problem

# What kubeadm gives its authority.
AUTHORITY_DAYS: Final = 3650
# The longest that browsers took from public authorities (CA/Browser Forum, SC31).
CERTIFICATE_DAYS: Final = 398
# A node's clock may run behind the primary's.
CLOCK_SKEW: Final = timedelta(hours=1)

# A host name's label (RFC 1123, 2.1): it becomes a certificate's name and a metric's label.
_NODE_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# X.520's upper bound of a common name.
_MAX_COMMON_NAME: Final = 64

_SERVER: Final = (ExtendedKeyUsageOID.SERVER_AUTH,)
# A node follows its upstream as a client and serves what it follows to others.
_NODE: Final = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


@dataclass(frozen=True, slots=True)
class Names:
    """What a certificate is good for: DNS names and addresses, at least one."""

    hosts: tuple[str, ...]
    addresses: tuple[IPv4Address | IPv6Address, ...]

    def __post_init__(self) -> None:
        if not self.hosts and not self.addresses:
            raise Problem("names", "give at least one name or address for the certificate")
        for host in self.hosts:
            if not host.isascii() or not host:
                raise Problem("name", f"{host!r} is not an ASCII host name", "name")

    @classmethod
    def parse(cls, hosts: Sequence[str], addresses: Sequence[str]) -> Names:
        """Names from text; Problem when an address is none."""
        try:
            return cls(tuple(hosts), tuple(ip_address(text) for text in addresses))
        except ValueError as error:
            raise Problem("address", f"{error}", "address") from None

    def alternative(self) -> x509.SubjectAlternativeName:
        """The extension that says so (RFC 5280, 4.2.1.6)."""
        return x509.SubjectAlternativeName(
            [x509.DNSName(host) for host in self.hosts]
            + [x509.IPAddress(address) for address in self.addresses]
        )


class Authority:
    """Signs certificates with the authority's key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str, now: datetime) -> Authority:
        """A new authority with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(f"{name} node authority"[:_MAX_COMMON_NAME])
        certificate = (
            _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(certifies=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, identity: Identity) -> Authority:
        """The authority from its files; ConfigurationError when they are not one's."""
        try:
            certificate = x509.load_pem_x509_certificate(identity.certificate)
            key = load_pem_private_key(identity.key, password=None)
        except ValueError as error:
            raise ConfigurationError(f"the authority's certificate or key: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigurationError("the authority's key is not an elliptic curve key")
        if key.public_key() != certificate.public_key():
            raise ConfigurationError("the authority's key does not belong to its certificate")
        return cls(certificate, key)

    @property
    def identity(self) -> Identity:
        """Its certificate and key, to be kept."""
        return Identity(self._certificate.public_bytes(Encoding.PEM), _key_pem(self._key))

    def issue_server(self, names: Names, now: datetime) -> Identity:
        """A certificate for the primary's listeners."""
        common = names.hosts[0] if names.hosts else str(names.addresses[0])
        return self._issue(common, names, _SERVER, now)

    def issue_node(self, name: str, names: Names, now: datetime) -> Identity:
        """A certificate for a node called `name`; Problem when the name is no label."""
        return self._issue(check_node_name(name), names, _NODE, now)

    def _issue(
        self, common: str, names: Names, usage: Sequence[x509.ObjectIdentifier], now: datetime
    ) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(
                _subject(common[:_MAX_COMMON_NAME]),
                self._certificate.subject,
                key.public_key(),
                now,
                CERTIFICATE_DAYS,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(certifies=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(names.alternative(), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Identity(certificate.public_bytes(Encoding.PEM), _key_pem(key))


def check_node_name(name: str) -> str:
    """`name` if it can name a node; Problem otherwise."""
    if not _NODE_NAME.fullmatch(name):
        raise Problem(
            "name", f"{name!r}: use lower-case letters, digits and dashes, 63 at most", "name"
        )
    return name


def expires(certificate: bytes) -> datetime:
    """When a PEM certificate ends; ConfigurationError when it is none."""
    return _load(certificate).not_valid_after_utc


def names_of(certificate: bytes) -> Names:
    """The names a PEM certificate is good for."""
    extension = _load(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return Names(
        tuple(extension.value.get_values_for_type(x509.DNSName)),
        tuple(one for one in addresses if isinstance(one, (IPv4Address, IPv6Address))),
    )


def _load(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise ConfigurationError(f"not a PEM certificate: {error}") from None


def _subject(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certifies,
        key_cert_sign=certifies,
        crl_sign=certifies,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def authority_digest(certificate: bytes) -> bytes:
    """SHA-256 of the first certificate in a PEM file, by which a root names an authority."""
    return x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256())
