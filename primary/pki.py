"""The registry's own certificate authority (X.509, RFC 5280; EC P-256).

It names the primary's listeners and the nodes that may follow them. No sockets, no files:
PEM in, PEM out, the time passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from node.certificates import CERTIFICATE_DAYS, key_pem
from node.errors import ConfigurationError
from node.tls import Identity
from registry.errors import Problem
from registry.node_name import check_node_name

# What kubeadm gives its authority.
AUTHORITY_DAYS: Final = 3650
# A node's clock may run behind the primary's; of a short life only a part is given to that.
CLOCK_SKEW: Final = timedelta(hours=1)
CLOCK_SKEW_SHARE: Final = 1 / 20

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

    @classmethod
    def of(cls, texts: Sequence[str]) -> Names:
        """Names from texts, each an address or else a host name."""
        addresses = [text for text in texts if _is_address(text)]
        return cls.parse([text for text in texts if text not in addresses], addresses)

    @property
    def texts(self) -> tuple[str, ...]:
        """All of them, addresses first."""
        return (*map(str, self.addresses), *self.hosts)

    def alternative(self) -> x509.SubjectAlternativeName:
        """The extension that says so (RFC 5280, 4.2.1.6)."""
        return x509.SubjectAlternativeName(
            [x509.DNSName(host) for host in self.hosts]
            + [x509.IPAddress(address) for address in self.addresses]
        )


@dataclass(frozen=True, slots=True)
class Life:
    """How long a certificate is good: `days` from `now`, and a little before.

    Never before `after`, a time since 1970: who was removed then had others.
    """

    now: datetime
    days: float = CERTIFICATE_DAYS
    after: datetime | None = None

    @property
    def begins(self) -> datetime:
        """Before now, for clocks that are behind."""
        begins = self.now - min(CLOCK_SKEW, timedelta(days=self.days) * CLOCK_SKEW_SHARE)
        return begins if self.after is None else max(begins, self.after)

    @property
    def ends(self) -> datetime:
        """The end."""
        return self.now + timedelta(days=self.days)


class Authority:
    """Signs certificates with the authority's key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str, now: datetime) -> Authority:
        """A new authority with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(f"{name} node authority")
        certificate = (
            _builder(subject, subject, key.public_key(), Life(now, AUTHORITY_DAYS))
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
        return Identity(self._certificate.public_bytes(Encoding.PEM), key_pem(self._key))

    def issue_server(self, names: Names, now: datetime, days: float = CERTIFICATE_DAYS) -> Identity:
        """A key and a certificate for the primary's listeners."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Identity(self.certify_server(names, key.public_key(), Life(now, days)), key_pem(key))

    def issue_node(
        self, name: str, names: Names, now: datetime, days: float = CERTIFICATE_DAYS
    ) -> Identity:
        """A key and a certificate for a node called `name`; Problem when it can be no node's."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Identity(
            self.certify_node(name, names, key.public_key(), Life(now, days)), key_pem(key)
        )

    def certify_server(self, names: Names, key: ec.EllipticCurvePublicKey, life: Life) -> bytes:
        """A certificate (PEM) of the listeners' own key."""
        common = names.hosts[0] if names.hosts else names.texts[0]
        return self._certify(_builder(_subject(common), self._subject, key, life), names, _SERVER)

    def certify_node(
        self, name: str, names: Names, key: ec.EllipticCurvePublicKey, life: Life
    ) -> bytes:
        """A certificate (PEM) of a node's own key; Problem when the name can be no node's."""
        subject = _subject(check_node_name(name))
        return self._certify(_builder(subject, self._subject, key, life), names, _NODE)

    @property
    def _subject(self) -> x509.Name:
        return self._certificate.subject

    def _certify(
        self,
        builder: x509.CertificateBuilder,
        names: Names,
        usage: Sequence[x509.ObjectIdentifier],
    ) -> bytes:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(certifies=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(names.alternative(), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
        )


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


def is_loopback(text: str) -> bool:
    """Whether a name is an address of this machine alone."""
    return _is_address(text) and ip_address(text).is_loopback


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _subject(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:_MAX_COMMON_NAME])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: Life
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(life.begins)
        .not_valid_after(life.ends)
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


def authority_digest(certificate: bytes) -> bytes:
    """SHA-256 of the first certificate in a PEM file, by which a root names an authority."""
    return x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256())
