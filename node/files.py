"""Files that are whole or absent after a crash, and private ones that stay private."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError, StorageError

PRIVATE_MODE: Final = 0o600

# A key, a certificate chain or a settings file; more is a mistake in a path.
MAX_PRIVATE_BYTES: Final = 1024 * 1024

_NEW_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def sync_directory(directory: Path) -> None:
    """Makes the names in `directory` durable: a created or renamed file outlives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, mode: int = PRIVATE_MODE) -> None:
    """Replaces the file by `data`, durably when this returns; a crash leaves the old or the new.

    One writer a path at a time. Raises StorageError when the disk refuses; the old file
    stands then.
    """
    # One name a path, so that crashes leave one stray file and not one each.
    new = path.with_name(f".{path.name}.new")
    try:
        _write_synced(new, data, mode)
        new.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, _NEW_FILE_FLAGS, PRIVATE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        # The umask, or an older file of this name, may have given another mode.
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def read_private(path: Path) -> bytes:
    """The bytes of a secret file; ConfigurationError when it is missing or others may read it.

    The rule is PostgreSQL's for its ssl_key_file: mode 0600 at most, or 0640 at most when
    root owns it (as a Kubernetes secret volume makes it).
    """
    try:
        with path.open("rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            return file.read()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error


def _check_private(path: Path, status: os.stat_result) -> None:
    allowed = 0o640 if status.st_uid == 0 else 0o600
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{path} is not a file")
    if stat.S_IMODE(status.st_mode) & ~allowed:
        raise ConfigurationError(f"others may use {path}: run chmod 600 {path}")
    if status.st_size > MAX_PRIVATE_BYTES:
        raise ConfigurationError(f"{path} is too large for a key ({status.st_size} bytes)")
