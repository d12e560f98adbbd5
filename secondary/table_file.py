"""What a view was loaded from, in a local file: a restart serves at once, and asks etcd then.

A magic line; how many bytes the cursor has, and the head: generation, revision, cursor as etcd held
them, and a page of the board's records that say how long it is served; pages: how many records,
their lengths, the records; and a page of none. Nothing in it is believed: cursor and board's
records are signed, and the records have to lead to the cursor's state root. Public openings are
not in it, for whoever erases them reaches etcd and not this file.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

from node.files import PRIVATE_MODE, sync_directory
from node.logging import get_logger
from registry.errors import LimitError, MalformedError
from registry.limits import KIB

MAGIC: Final = b"smtpnic table 2\n"
# A cursor holds a note, a state entry and hashes: some kilobytes.
MAX_CURSOR_BYTES: Final = 64 * KIB
# A page of etcd's is the largest that is written.
MAX_PAGE_RECORDS: Final = 1 << 16
MAX_PAGE_BYTES: Final = 64 * KIB * KIB

_HEAD: Final = struct.Struct("<QQI")
_PAGE: Final = struct.Struct("<II")
_LENGTHS: Final = "I"

_log = get_logger("reader")


@dataclass(frozen=True, slots=True)
class TableHead:
    """Where the records stood in etcd: generation, revision, and the cursor at that revision.

    `decided` are the records of roots and decisions that say how long they are served.
    """

    generation: int
    revision: int
    cursor: bytes
    decided: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.generation < 1 or self.revision < 1 or len(self.cursor) > MAX_CURSOR_BYTES:
            raise MalformedError("a table file's head does not say where it comes from")


class TableWriter:
    """Writes a table file beside the one there is; `keep` puts it in its place.

    Without a file serving goes on as well, so that a disk which refuses is told of, no more.
    """

    def __init__(self, path: Path, head: TableHead) -> None:
        self._path = path
        self._new = path.with_name(f".{path.name}.new")
        self._file: BinaryIO | None = None
        try:
            self._file = open(self._new, "wb", opener=_private)  # noqa: SIM115
            self._write(MAGIC, _HEAD.pack(head.generation, head.revision, len(head.cursor)))
            self._write(head.cursor, *_page(head.decided))
        except OSError as error:
            self._give_up(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, records: Sequence[bytes]) -> None:
        """Appends a page of records; one of none is left out."""
        if not records:
            return
        try:
            self._write(*_page(records))
        except OSError as error:
            self._give_up(error)

    def keep(self) -> None:
        """Puts the file in its place: what was added is all, and was found to be true."""
        try:
            self._write(*_page(()))
            if self._file is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._new.replace(self._path)
                sync_directory(self._path.parent)
        except OSError as error:
            self._give_up(error)

    def _write(self, *pieces: bytes) -> None:
        if self._file is not None:
            self._file.writelines(pieces)

    def _give_up(self, error: OSError) -> None:
        _log.warning(
            "table_file.failed",
            file=str(self._path),
            reason=error.strerror or str(error),
            advice="a restart will load from etcd; mend the disk, or set dns.table_file to false",
        )
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as error:
                self._give_up(error)
        self._new.unlink(missing_ok=True)


class TableReader:
    """Reads a table file: first `head`, then the pages of records, once."""

    def __init__(self, file: BinaryIO) -> None:
        """Reads the head; MalformedError if there is none."""
        self._file = file
        if file.read(len(MAGIC)) != MAGIC:
            raise MalformedError("not a table file of this version")
        generation, revision, length = _HEAD.unpack(self._take(_HEAD.size))
        if length > MAX_CURSOR_BYTES:
            raise LimitError(f"a cursor of {length} bytes in a table file")
        cursor = self._take(length)
        self.head: Final = TableHead(generation, revision, cursor, tuple(self._take_page()))

    def __iter__(self) -> Iterator[list[bytes]]:
        """The pages; MalformedError or LimitError where the file was cut off or changed."""
        while page := self._take_page():
            yield page

    def _take_page(self) -> list[bytes]:
        count, size = _PAGE.unpack(self._take(_PAGE.size))
        if count > MAX_PAGE_RECORDS or size > MAX_PAGE_BYTES:
            raise LimitError(f"a page of {count} records and {size} bytes in a table file")
        lengths = array(_LENGTHS, self._take(count * array(_LENGTHS).itemsize))
        if sum(lengths) != size:
            raise MalformedError("a page of a table file has another length than its records")
        return list(_cut(self._take(size), lengths))

    def _take(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise MalformedError("a table file that was cut off")
        return data


def _page(records: Sequence[bytes]) -> tuple[bytes, bytes, bytes]:
    data = b"".join(records)
    lengths = array(_LENGTHS, map(len, records)).tobytes()
    return _PAGE.pack(len(records), len(data)), lengths, data


def _cut(data: bytes, lengths: Sequence[int]) -> Iterator[bytes]:
    at = 0
    for length in lengths:
        end = at + length
        yield data[at:end]
        at = end


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_MODE)
