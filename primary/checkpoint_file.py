"""The last checkpoint that was signed, on disk before anyone hears of it.

A primary that finds a log shorter than this file, or another one, does not sign: it would be a
fork. The file has two slots that are written in turn, each with its own checksum, so that a
crash in the middle of one leaves the other; overwriting in place costs one sync of one block,
a third of what a new file and its directory cost.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError, StorageError
from node.files import write_atomic

# A block of any common disk and file system: one slot's write never touches the other.
SLOT_BYTES: Final = 4096
DIGEST_BYTES: Final = 32
COUNTER_BYTES: Final = 8
LENGTH_BYTES: Final = 4
MAX_CHECKPOINT_BYTES: Final = SLOT_BYTES - DIGEST_BYTES - COUNTER_BYTES - LENGTH_BYTES


@dataclass(frozen=True, slots=True)
class _Slot:
    """One write: the how manyth, and the note."""

    counter: int
    note: bytes

    def encode(self) -> bytes:
        body = self.counter.to_bytes(COUNTER_BYTES) + len(self.note).to_bytes(LENGTH_BYTES)
        body += self.note
        return (sha256(body).digest() + body).ljust(SLOT_BYTES, b"\0")

    @classmethod
    def decode(cls, data: bytes) -> _Slot | None:
        """The slot in a block; None if the block is damaged or was never written."""
        digest, body = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        counter, rest = body[:COUNTER_BYTES], body[COUNTER_BYTES:]
        end = LENGTH_BYTES + int.from_bytes(rest[:LENGTH_BYTES])
        if sha256(counter + rest[:end]).digest() != digest:
            return None
        return cls(int.from_bytes(counter), rest[LENGTH_BYTES:end])


class CheckpointFile:
    """The file at one path. Locked from `lock` until `close`; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._lock: int | None = None
        self._counter = 0

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def lock(self) -> None:
        """Makes this process the only one that may write it; ConfigurationError if another is."""
        lock = os.open(self._lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise ConfigurationError(
                f"another primary runs with {self._path}: stop it first"
            ) from None
        self._lock = lock

    def read(self) -> bytes | None:
        """The last note; None if there is no file. StorageError if it cannot be read whole."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self._path}: {error.strerror or error}") from error
        slots = (_Slot.decode(data[:SLOT_BYTES]), _Slot.decode(data[SLOT_BYTES : 2 * SLOT_BYTES]))
        written = [slot for slot in slots if slot is not None]
        if not written:
            raise StorageError(f"{self._path} is damaged")
        newest = max(written, key=lambda slot: slot.counter)
        self._counter = newest.counter
        return newest.note

    def write(self, note: bytes) -> None:
        """Takes the place of the last note, durably when this returns.

        StorageError when the disk refuses; the last note or this one stands then. Only after
        `lock` and `read`.
        """
        if len(note) > MAX_CHECKPOINT_BYTES:
            raise StorageError(f"a checkpoint of {len(note)} bytes; {MAX_CHECKPOINT_BYTES} fit")
        slot = _Slot(self._counter + 1, note)
        try:
            if self._counter == 0:
                write_atomic(self._path, slot.encode() + slot.encode())
            else:
                self._overwrite(slot)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror or error}") from error
        self._counter = slot.counter

    def close(self) -> None:
        """Gives the lock back."""
        for descriptor in (self._descriptor, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._descriptor = self._lock = None

    def _overwrite(self, slot: _Slot) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        data = slot.encode()
        at = slot.counter % 2 * SLOT_BYTES
        if os.pwrite(self._descriptor, data, at) != len(data):
            raise StorageError(f"cannot write all of {self._path}")
        os.fdatasync(self._descriptor)

    def _lock_path(self) -> Path:
        # A file of its own: the first write puts a new file in the place of the old.
        return self._path.with_name(f"{self._path.name}.lock")
