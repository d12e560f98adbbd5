"""Keeps this node's certificate good: renews it at the primary, or sees that others have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from node.certificates import Shown, make_request, show
from node.errors import ConfigurationError, StorageError
from node.files import write_atomic
from node.identity_files import IdentityFiles
from node.logging import get_logger
from node.scaffold import PUBLIC_MODE
from node.times import time_text
from secondary.follower_status import StatusBoard
from secondary.upstream import UpstreamError

# How often the files are looked at: of a certificate's life so much, within these bounds.
LOOK_SHARE: Final = 1 / 200
MIN_LOOK_SECONDS: Final = 0.2
MAX_LOOK_SECONDS: Final = 60.0
# After a failure a hundredth of its life passes, an hour at most, until it is tried again.
RETRY_SHARE: Final = 1 / 100
MAX_RETRY_SECONDS: Final = 3600.0
STOP_SECONDS: Final = 5.0

_log = get_logger("certificates")


class Renewer(Protocol):
    """Who gives the next certificate: the primary."""

    def renew_certificate(self, certificate_request: bytes) -> bytes:
        """A certificate (PEM) for the key of the request; UpstreamError."""


class OwnCertificate:
    """Runs in a thread of its own; whatever happens is tried again, and shown meanwhile."""

    def __init__(
        self,
        name: str,
        files: IdentityFiles,
        renewer: Renewer | None,
        board: StatusBoard,
        on_changed: Callable[[], None],
        *,
        late: Renewer | None = None,
    ) -> None:
        """Without a `renewer` others renew the files. `on_changed` is told of another identity.

        `late` renews a certificate that has ended, which the `renewer` cannot be shown.
        """
        self._late = late
        self._name = name
        self._files = files
        self._renewer = renewer
        self._board = board
        self._on_changed = on_changed
        self._version = files.now.version
        self._retry_at = 0.0
        self._failed = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="certificate", daemon=True)
        self._show()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what is being asked."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(_share(self._files.now.shown, LOOK_SHARE, MAX_LOOK_SECONDS)):
            self.look()

    def look(self) -> None:
        """Take up what the files hold, and renew what is due."""
        material = self._files.look()
        self._tell_of_change()
        if datetime.now(UTC) < material.shown.renewal:
            self._failed = ""
        elif self._renewer is None:
            self._fail("it is due, and nobody has renewed its file yet")
        elif time.monotonic() >= self._retry_at:
            has_ended = material.shown.days_left(datetime.now(UTC)) < 0
            self._try((has_ended and self._late) or self._renewer, material.shown)
        self._show()

    def _try(self, renewer: Renewer, shown: Shown) -> None:
        try:
            self._renew(renewer)
        except (UpstreamError, ConfigurationError, StorageError) as error:
            self._retry_at = time.monotonic() + _share(shown, RETRY_SHARE, MAX_RETRY_SECONDS)
            self._fail(str(error))
        else:
            self._failed = ""

    def _renew(self, renewer: Renewer) -> None:
        key = self._files.now.identity.key
        certificate = renewer.renew_certificate(make_request(key, self._name))
        shown, before = show(certificate), self._files.now.shown
        if (shown.name, shown.key) != (before.name, before.key):
            raise ConfigurationError("the primary gave the certificate of another node")
        write_atomic(self._files.paths.certificate, certificate, PUBLIC_MODE)
        self._files.look()
        self._tell_of_change()
        _log.info("certificate.renewed", ends=time_text(shown.ends_ms))

    def _tell_of_change(self) -> None:
        if self._files.now.version != self._version:
            self._version = self._files.now.version
            self._on_changed()

    def _fail(self, reason: str) -> None:
        """Say why it is not renewed, where that is news."""
        shown = self._files.now.shown
        days = shown.days_left(datetime.now(UTC))
        if days < 0:
            reason = (
                f"it has ended, so nobody lets this node in: join again with a token ({reason})"
            )
        if reason != self._failed:
            self._failed = reason
            _log.warning("certificate.not_renewed", reason=reason, days_left=round(days, 2))

    def _show(self) -> None:
        material = self._files.now
        problem = self._files.problem or (self._failed and f"is not renewed: {self._failed}")
        self._board.set(
            certificate_ends_ms=_milliseconds(material.shown),
            authority_ends_ms=_milliseconds(show(material.authority)),
            certificate_problem=problem,
        )


def _share(shown: Shown, share: float, most: float) -> float:
    seconds = (shown.ends - shown.begins) / timedelta(seconds=1) * share
    return min(max(seconds, MIN_LOOK_SECONDS), most)


def _milliseconds(shown: Shown) -> int:
    return round(shown.ends.timestamp() * 1000)
