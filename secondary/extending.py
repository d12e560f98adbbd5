"""Puts the board's extension of staleness here as a file: for when the primary is lost.

It goes into etcd, for every process that serves from this replica, and into the data directory,
for a restart while etcd is away. Both are read by its signatures alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from node.errors import ConfigurationError
from node.files import write_atomic
from registry.staleness import open_extension
from secondary.etcd import EtcdStore
from secondary.etcd_values import EtcdError
from secondary.roots import Roots
from secondary.settings import SecondarySettings

_PUBLIC_MODE: Final = 0o644


def extend(settings: SecondarySettings, file: Path, now_s: float) -> int:
    """Answer until the time that it says; that time, in seconds since 1970.

    ConfigurationError: there is no such file. VerificationError, as of `open_extension`: it is not
    the board's, or is void, and nothing changes. ConnectionError: etcd is away, so it stands in the
    data directory alone, for the next start.
    """
    try:
        note = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from error
    until_s = open_extension(note, Roots.load(settings).chain, now_s)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    write_atomic(settings.extension_file, note, _PUBLIC_MODE)
    store = EtcdStore(settings.etcd_endpoints, settings.etcd.tls)
    try:
        store.txn([], [(settings.layout.extension, note)])
    except EtcdError as error:
        raise ConnectionError(
            f"etcd did not take the extension ({error}); {settings.extension_file} holds it, and "
            "it counts from the next start: restart, or run this again when etcd is back"
        ) from error
    finally:
        store.close()
    return until_s
