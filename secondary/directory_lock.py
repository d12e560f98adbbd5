"""One process at a time in a directory."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final, Self

from node.errors import ConfigurationError

POLL_SECONDS: Final = 0.1


class DirectoryLock:
    """A lock that ends with the last process that holds it, however that ends.

    Child processes that are given `descriptor` hold it too.
    """

    def __init__(self, path: Path, wait_seconds: float) -> None:
        """Take the lock; ConfigurationError if another process still holds it after the wait."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.descriptor: Final = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_seconds
        while not self._try():
            if time.monotonic() > deadline:
                self.close()
                raise ConfigurationError(f"{path.parent} is in use by another process")
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Give the lock up, as far as this process is concerned."""
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _try(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
