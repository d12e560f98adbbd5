"""Keeps a directory up with the primary's database: loads it, and takes what is committed since."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from node.errors import StorageError
from node.logging import get_logger
from node.lookup.directory import AsOf, Directory
from primary.checkpoint_file import CheckpointFile
from primary.store.errors import StoreUnavailableError
from primary.store.reader import Reader
from primary.store.values import StoredBatch
from registry.address import Address
from registry.batch import Record
from registry.checkpoint import Checkpoint
from registry.entry import Entry, state_key
from registry.kinds import Kind, Operation
from registry.note import UnverifiedNote

# Of 60 entries each: some ten thousand changes a second are taken.
BATCHES_AT_ONCE: Final = 200

_log = get_logger("lookup")


class LookupFeed:
    """Owns the thread that reads the database; `directory` is None until all of it is in.

    Only what the primary has signed is shown: the database is ahead of that for a moment.
    """

    def __init__(
        self,
        reader: Reader,
        checkpoint_file: CheckpointFile,
        pause_seconds: float,
        clock: Callable[[], int],
    ) -> None:
        self.directory: Directory | None = None
        self._reader = reader
        self._checkpoint_file = checkpoint_file
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        """Begins to load."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; the directory stays as it is."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        loaded: tuple[Directory, int] | None = None
        while not self._stopping.is_set():
            try:
                directory, size = loaded or self._load()
                loaded = directory, self._advance(directory, size)
            except (StoreUnavailableError, StorageError) as error:
                _log.warning("lookup.behind", reason=str(error))
            self._stopping.wait(self._pause_seconds)

    def _load(self) -> tuple[Directory, int]:
        """A directory of all that is in the database now, and the size of the log there."""
        directory = Directory(self._last_look)
        with self._reader.snapshot() as view:
            for record in view.records():
                _put(directory, record)
            return directory, view.head.size

    def _advance(self, directory: Directory, size: int) -> int:
        """Takes what is signed beyond `size`; how far that led."""
        signed = self._signed()
        while size < signed.size and not self._stopping.is_set():
            batches = self._reader.batches_from(size, BATCHES_AT_ONCE)
            for batch in batches:
                # A batch beyond the checkpoint just read is signed a moment later.
                if batch.size > signed.size:
                    return size
                _take(directory, batch)
                size = batch.size
            if not batches:
                raise StorageError(f"no batch follows {size} of {signed.size} entries")
        if size == signed.size:
            directory.stand(AsOf(signed, self._clock() / 1000))
            self.directory = directory
        return size

    def _last_look(self, address: Address, holder_id: bytes) -> int:
        try:
            return self._reader.verified_ms(address, holder_id)
        except StoreUnavailableError:
            # The log's date is there still.
            return 0

    def _signed(self) -> Checkpoint:
        """The newest checkpoint: the primary's own file, which it read and wrote itself."""
        note = self._checkpoint_file.read()
        if note is None:
            raise StorageError("nothing is signed yet")
        return Checkpoint.parse(UnverifiedNote.parse(note).text)


def _take(directory: Directory, batch: StoredBatch) -> None:
    for index, logged in enumerate(batch.entries, batch.start):
        entry = Entry.decode(logged.entry)
        if entry.kind == Kind.STATE:
            continue
        if entry.operation is Operation.DELETE:
            directory.remove(entry.state_key)
            directory.remove_openings(entry.state_key)
        else:
            _put(directory, Record(index, logged.entry, logged.openings))


def _put(directory: Directory, record: Record) -> None:
    entry = Entry.decode(record.entry)
    key = state_key(entry.kind, entry.key)
    directory.put(key, entry.payload, Record(record.index, record.entry).encode())
    if record.openings:
        directory.put_openings(key, Record(0, b"", record.openings).encode())
    elif entry.kind == Kind.HOLDER:
        directory.remove_openings(key)
