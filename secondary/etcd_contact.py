"""Whether etcd answers: said once when it stops, and once when it is back."""

from __future__ import annotations

import threading
import time

from node.logging import get_logger
from secondary.etcd_values import EtcdError

_log = get_logger("etcd")


class EtcdContact:
    """Remembers when etcd last answered; any thread may report and ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered = time.monotonic()
        self._away = False

    @property
    def silence_seconds(self) -> float:
        """How long ago etcd last answered; since the start, if it never did."""
        return time.monotonic() - self._answered

    @property
    def is_away(self) -> bool:
        """Whether the last attempt failed."""
        return self._away

    def answered(self) -> None:
        """etcd answered, or told of a change."""
        now = time.monotonic()
        with self._lock:
            silence, self._answered = now - self._answered, now
            was_away, self._away = self._away, False
        if was_away:
            _log.info("etcd.back", silence_seconds=round(silence, 1))

    def failed(self, error: EtcdError) -> None:
        """etcd could not be asked."""
        with self._lock:
            was_away, self._away = self._away, True
        if not was_away:
            _log.warning(
                "etcd.away",
                error=type(error).__name__,
                reason=str(error),
                advice="what was loaded serves on; trying again",
            )
