"""Snapshot files on their way here: fetched by offset, kept across restarts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from node.errors import StorageError
from node.failpoints import failpoint
from registry.errors import LimitError, MalformedError
from secondary.upstream import NeedSnapshot, Upstream, UpstreamUnavailable

# What `registry.snapshot.snapshot_name` gives; nothing else becomes part of a path.
_NAME: Final = re.compile(r"[0-9]{1,19}-[0-9a-f]{64}\.snapshot")
# The share of the free disk that a download may take.
DISK_SHARE: Final = 0.9


class SnapshotDownload:
    """One directory for one snapshot at a time: another name replaces what was there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fetch(
        self, upstream: Upstream, needed: NeedSnapshot, progress: Callable[[int], None]
    ) -> Path:
        """The whole file, of the announced size; what an earlier attempt got is not asked again.

        `progress` is called with the bytes so far, often, and may raise. Nothing is verified.
        MalformedError or LimitError: the announcement or the answer breaks the protocol.
        UpstreamError: as the upstream says. StorageError: the disk refuses.
        """
        if not _NAME.fullmatch(needed.name):
            raise MalformedError(f"{needed.name!r} is no name of a snapshot")
        try:
            path = self._prepare(needed)
            offset = path.stat().st_size if path.exists() else 0
            with path.open("ab") as file:
                while offset < needed.bytes:
                    start = offset
                    for data in upstream.read_snapshot(needed.name, offset):
                        offset += len(data)
                        if offset > needed.bytes:
                            raise MalformedError("more of a snapshot than was announced")
                        file.write(data)
                        failpoint("snapshot.download")
                        progress(offset)
                    if offset == start:
                        raise UpstreamUnavailable("the snapshot ends before its announced size")
        except OSError as error:
            raise StorageError(f"cannot keep the snapshot: {error}") from error
        return path

    def clear(self) -> None:
        """Delete what was fetched."""
        for path in self._directory.glob("*.snapshot"):
            path.unlink()

    def _prepare(self, needed: NeedSnapshot) -> Path:
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / needed.name
        for other in self._directory.glob("*.snapshot"):
            if other != path or other.stat().st_size > needed.bytes:
                other.unlink()
        held = path.stat().st_size if path.exists() else 0
        free = shutil.disk_usage(self._directory).free
        if needed.bytes - held > free * DISK_SHARE:
            raise LimitError(f"a snapshot of {needed.bytes} bytes, and {free} free on the disk")
        return path
