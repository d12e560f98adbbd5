"""What a node shows and believes: certificates, and the board's root."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from node.doctor.finding import Finding, bad, good, poor
from node.errors import ConfigurationError
from node.tls import Identity, read_certificates
from registry.board_text import format_time
from registry.root import Root, Validity

# As the alert SmtpnicCertificateExpires: it should have been renewed ten days before.
POOR_DAYS: Final = 20
_DAY: Final = 86400
_ANY: Final = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def check_certificate(
    certificate: Path, key: Path, authority: Path, hosts: Sequence[str], mend: str
) -> Iterator[Finding]:
    """Whether key, names, authority and dates of a certificate fit.

    `hosts` is where it is served; `mend` says how a new one is made.
    """
    try:
        shown = x509.load_pem_x509_certificate(Identity.load(certificate, key).certificate)
        issuers = x509.load_pem_x509_certificates(read_certificates(authority))
    except (ConfigurationError, ValueError) as error:
        yield bad("certificate", str(error), mend)
        return
    if not any(_is_issued_by(shown, issuer) for issuer in issuers):
        yield bad(
            "certificate",
            f"{certificate} was not issued by {authority}",
            f"put the authority of this registry there, or {mend}",
        )
    missing = [host for host in hosts if host not in _ANY and host not in _names(shown)]
    if missing:
        named = ", ".join(sorted(_names(shown)))
        yield bad("certificate", f"it is for {named}, not for {', '.join(missing)}", mend)
    yield _check_days(certificate, shown, mend)


def _check_days(path: Path, certificate: x509.Certificate, mend: str) -> Finding:
    now = datetime.now(UTC)
    days = (certificate.not_valid_after_utc - now).total_seconds() / _DAY
    if certificate.not_valid_before_utc > now:
        return bad("certificate", f"{path} is not good yet", "is the clock right?")
    if days < 0:
        return bad("certificate", f"{path} ended {-days:.0f} days ago", mend)
    found = f"{path} is good for {days:.0f} more days"
    return poor("certificate", found, mend) if days < POOR_DAYS else good("certificate", found)


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        kind = x509.SubjectAlternativeName
        names = certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return set()
    addresses = names.get_values_for_type(x509.IPAddress)
    return {*names.get_values_for_type(x509.DNSName), *map(str, addresses)}


def check_root(root: Root) -> Finding:
    """How long the board's root is good."""
    found = f"version {root.version}, good until {format_time(root.expires_s)}"
    match root.validity(time.time()):
        case Validity.EXPIRED:
            advice = "all goes on, but the board decides nothing more before the next root: ask it"
            return bad("root", f"version {root.version} expired", advice)
        case Validity.DUE:
            return poor("root", found, "the board has to sign the next: smtpnic board propose-root")
    return good("root", found)


def check_forks(directory: Path) -> Iterator[Finding]:
    """Evidence that somebody signed two logs."""
    for path in sorted(directory.glob("fork-*.json")):
        yield bad(
            "fork",
            f"{path} proves that the log forked",
            "publish it, tell the board, and see docs/runbooks/SmtpnicForked.md",
        )
