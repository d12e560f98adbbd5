"""The primary's own certificate: which authority it is by, and how it is renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.x509 import load_pem_x509_certificate

from node.authority import check_authority
from node.certificates import Shown, show
from node.errors import ConfigurationError, StorageError
from node.files import write_atomic
from node.identity_files import IdentityFiles, Paths
from node.logging import get_logger
from node.scaffold import PUBLIC_MODE
from node.times import time_text
from node.workers import Workers
from primary.enrolment import load_authority
from primary.pki import Life, names_of
from primary.settings import PrimarySettings
from registry.root import Root

# How often it is looked at, and again after a failure: of a certificate's life so much, within
# these bounds.
LOOK_SHARE: Final = 1 / 200
MIN_LOOK_SECONDS: Final = 0.2
MAX_LOOK_SECONDS: Final = 60.0
NOT_NAMED: Final = (
    "put the right file back, or have the board name this one ('smtpnic board propose-root')"
)

_log = get_logger("certificates")


def open_certificates(settings: PrimarySettings, root: Root) -> IdentityFiles:
    """The listeners' files; ConfigurationError unless the board's root names the authority."""
    files = IdentityFiles(Paths(settings.tls.ca, settings.tls.certificate, settings.tls.key))
    check_authority(settings.tls.ca, files.now.authority, root, NOT_NAMED)
    return files


class OwnCertificate:
    """Renews the certificate, for the key that it has; for the event loop's thread only."""

    def __init__(
        self,
        settings: PrimarySettings,
        files: IdentityFiles,
        clerk: Workers,
        count_failure: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._files = files
        self._clerk = clerk
        self._count_failure = count_failure
        self._failed = ""

    def days_left(self) -> dict[str, float]:
        """Of the listeners' certificate and of the authority's."""
        now, material = datetime.now(UTC), self._files.now
        return {
            "listeners": material.shown.days_left(now),
            "authority": show(material.authority).days_left(now),
        }

    @property
    def ends_ms(self) -> int:
        """When the listeners' certificate ends, in milliseconds since 1970."""
        return round(self._files.now.shown.ends.timestamp() * 1000)

    @property
    def problem(self) -> str:
        """What a person should know; empty when all is well."""
        return self._files.problem or self._failed

    async def run(self) -> None:
        """Looks at the files and renews what is due, until it is cancelled."""
        while True:
            await self._clerk.run(self._look)
            await asyncio.sleep(_pause(self._files.now.shown))

    def _look(self) -> None:
        shown = self._files.look().shown
        if not self._settings.authority.renew or datetime.now(UTC) < shown.renewal:
            self._failed = ""
            return
        try:
            self._renew()
        except (ConfigurationError, StorageError) as error:
            self._count_failure()
            left = shown.days_left(datetime.now(UTC))
            failed = f"the listeners' certificate could not be renewed: {error}"
            if failed != self._failed:
                _log.warning("certificate.not_renewed", reason=str(error), days_left=round(left, 2))
            self._failed = failed
        else:
            self._failed = ""

    def _renew(self) -> None:
        certificate = self._files.now.identity.certificate
        key = load_pem_x509_certificate(certificate).public_key()
        if not isinstance(key, EllipticCurvePublicKey):
            raise ConfigurationError("it is not of an elliptic curve, so not this authority's")
        life = Life(datetime.now(UTC), self._settings.authority.certificate_days)
        authority = load_authority(self._settings)
        renewed = authority.certify_server(names_of(certificate), key, life)
        write_atomic(self._settings.tls.certificate, renewed, PUBLIC_MODE)
        self._files.look()
        _log.info("certificate.renewed", ends=time_text(self._files.now.shown.ends_ms))


def _pause(shown: Shown) -> float:
    share = (shown.ends - shown.begins) / timedelta(seconds=1) * LOOK_SHARE
    return min(max(share, MIN_LOOK_SECONDS), MAX_LOOK_SECONDS)
