"""Snapshot files on their way here: fetched by offset, kept across restarts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from node.errors import StorageError
from node.failpoints import failpoint
from registry.errors import LimitError, MalformedError, SequenceError
from registry.snapshot import DIGEST_BYTES, LENGTH_BYTES, MAGIC, MAX_PART_BYTES
from secondary.upstream import NeedSnapshot, Upstream, UpstreamUnavailable

# What `registry.snapshot.snapshot_name` gives; nothing else becomes part of a path.
_NAME: Final = re.compile(r"([0-9]{1,19})-[0-9a-f]{64}\.snapshot")
_PART_BYTES: Final = LENGTH_BYTES + MAX_PART_BYTES
# The share of the free disk that a download may take.
DISK_SHARE: Final = 0.9


def check_announced(
    needed: NeedSnapshot, *, held: int, must_reach: int, newest: int, max_bytes: int
) -> None:
    """Check what an upstream announces, before a byte of it is read.

    It has to lead past the `held` entries, to `must_reach` of them at least, and no further than
    `newest`, the largest size of the log that the registry is known to have signed. MalformedError,
    SequenceError, LimitError: the upstream misbehaves, or there is a setting to be raised.
    """
    name = _NAME.fullmatch(needed.name)
    if name is None:
        raise MalformedError(f"{needed.name!r} is no name of a snapshot")
    if int(name[1]) != needed.size:
        raise MalformedError(f"a snapshot of {needed.size} entries with the name {needed.name!r}")
    if needed.size <= held or needed.size < must_reach:
        raise SequenceError(
            f"a snapshot of {needed.size} entries, where {max(held, must_reach)} were held already"
        )
    if needed.size > newest:
        raise SequenceError(
            f"a snapshot of {needed.size} entries, where the newest checkpoint has {newest}"
        )
    # Each record is the newest entry of its key: there are no more of them than entries.
    most = len(MAGIC) + _PART_BYTES * (1 + needed.size) + DIGEST_BYTES
    if needed.bytes > most:
        raise LimitError(
            f"a snapshot of {needed.bytes} bytes, where {needed.size} entries make {most} at most"
        )
    if needed.bytes > max_bytes:
        raise LimitError(
            f"a snapshot of {needed.bytes} bytes, and {max_bytes} are taken: if the register is "
            "that large, raise follower.max_snapshot_bytes, and etcd's quota to more than twice it"
        )


class SnapshotDownload:
    """One directory for one snapshot at a time: another name replaces what was there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fetch(
        self, upstream: Upstream, needed: NeedSnapshot, progress: Callable[[int], None]
    ) -> Path:
        """The whole file, of the announced size; what an earlier attempt got is not asked again.

        What is announced has passed `check_announced`; nothing else is verified. `progress` is
        called with the bytes so far, often, and may raise. MalformedError: the answer breaks the
        protocol. UpstreamError: as the upstream says. StorageError: the disk refuses.
        """
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
            raise StorageError(
                f"a snapshot of {needed.bytes} bytes, and {free} bytes are free in "
                f"{self._directory}: make room there, or move data_dir to a larger disk"
            )
        return path
