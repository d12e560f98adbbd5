"""Looks at a replica in etcd all the time, as any reader may: revision by revision, and whole.

It knows the layout and the registry's key, and holds the follower to P4: wherever a reader may
take what it sees, the records there lead to exactly the state root that the cursor signs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from registry.batch import Record
from registry.checkpoint import CheckpointKeys
from registry.content import check_content
from registry.entry import Entry
from registry.errors import VerificationError
from registry.merkle import leaf_hash
from registry.state_tree import StateTree
from secondary.cursor import Cursor, Position
from secondary.etcd import EtcdStore
from secondary.etcd_values import EtcdCompacted, EtcdError, Event, Revision
from secondary.layout import Generation, Layout, Section
from tests.support.wait import wait_until

# Between two looks at the whole, of the time that a look takes: the watch sees every revision.
REST = 5
RETRY_SECONDS = 0.05
CATCH_UP_SECONDS = 60


@dataclass
class Copy:
    """One generation, as the revisions so far made it; records and openings by state key."""

    tree: StateTree = field(default_factory=StateTree)
    records: dict[bytes, bytes] = field(default_factory=dict)
    openings: dict[bytes, bytes] = field(default_factory=dict)
    position: Position | None = None

    def take(
        self, generation: Generation, events: list[Event], verifier: CheckpointKeys
    ) -> set[Section]:
        """Applies what one revision did to it; which sections that changed."""
        staged: dict[bytes, tuple[int, bytes] | None] = {}
        sections = set()
        for key, value in events:
            place = generation.place(key)
            assert place is not None, f"no key of the layout: {key!r}"
            sections.add(place.section)
            if place.section is Section.CURSOR:
                self.position = None if value is None else Cursor.decode(value).open(verifier)
            elif place.section is Section.RECORD:
                staged[place.state_key] = _location(place.state_key, value)
                _put(self.records, place.state_key, value)
            elif place.section is Section.OPENINGS:
                _put(self.openings, place.state_key, value)
        self.tree.apply(self.tree.stage(staged))
        return sections

    def check(self) -> None:
        """AssertionError or VerificationError unless a reader may take it as it is."""
        assert self.position is not None, "no cursor"
        state = self.position.state
        assert (self.tree.live, self.tree.root) == (state.live_keys, state.state_root), (
            f"{self.tree.live} records are not those of the cursor at "
            f"{self.position.checkpoint.size}"
        )
        for state_key, openings in self.openings.items():
            entry = Entry.decode(Record.decode(self.records[state_key]).entry)
            check_content(entry, Record.decode(openings).openings)


class RevisionAuditor:
    """Two threads that look from the first revision on; a context manager that ends them.

    `faults` says what a reader must never see; empty while all is well.
    """

    def __init__(self, endpoint: str, layout: Layout, verifier: CheckpointKeys) -> None:
        self.faults: list[str] = []
        # How many revisions a reader would have applied, and how many times all was read.
        self.applied = 0
        self.looks = 0
        self.revision = 0
        self._store = EtcdStore([endpoint], call_seconds=2)
        self._layout = layout
        self._verifier = verifier
        self._copies: dict[int, Copy] = {}
        self._current: int | None = None
        self._largest = 0
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(step,), name=step.__name__)
            for step in (self._watch, self._look)
        ]

    def __enter__(self) -> RevisionAuditor:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        # Ends the calls that the threads may wait in.
        self._store.close()
        for thread in self._threads:
            thread.join()

    @property
    def size(self) -> int:
        """The size of the log that readers have by now; 0 before the first."""
        return self._largest

    @property
    def generation(self) -> int:
        """The number of the generation that readers have; 0 before the first."""
        return self._current or 0

    def check(self) -> Copy:
        """What readers have by now; AssertionError if they ever saw something else."""
        newest = wait_until(self._newest, seconds=CATCH_UP_SECONDS, what="etcd answers")
        wait_until(
            lambda: self.faults or self.revision >= newest,
            seconds=CATCH_UP_SECONDS,
            what=f"the auditor has seen revision {newest}",
        )
        assert self.faults == []
        assert self._current is not None
        return self._copies[self._current]

    def _number(self, value: bytes | None) -> int | None:
        generation = self._layout.served(value)
        return generation.number if generation else None

    def _newest(self) -> int:
        try:
            return self._store.get(self._layout.current).revision
        except EtcdError:
            return 0

    def _repeat(self, step: Callable[[], None]) -> None:
        """Goes on through every outage of etcd, until the first fault."""
        while not self._stopping.is_set() and not self.faults:
            try:
                step()
            except EtcdCompacted as error:
                self.faults.append(f"revisions went unseen: {error}")
            except EtcdError:
                self._stopping.wait(RETRY_SECONDS)
            except (AssertionError, VerificationError) as error:
                self.faults.append(f"{step.__name__} after {self.revision}: {error!r}")
            except ValueError:
                # What gRPC raises once `__exit__` has closed the store.
                assert self._stopping.is_set()

    def _watch(self) -> None:
        with self._store.watch(self._layout.all, self.revision + 1) as watch:
            for revision in watch:
                self._take(revision)
                self.revision = revision.number

    def _take(self, revision: Revision) -> None:
        before = self._current
        events: dict[Generation, list[Event]] = {}
        for event in revision.events:
            generation = self._layout.generation_of(event.key)
            if generation is not None:
                events.setdefault(generation, []).append(event)
            elif event.key == self._layout.current:
                assert event.value is not None, "readers are told that there is nothing"
                self._current = self._number(event.value)
        may_apply = self._current != before
        for generation, changed in events.items():
            copy = self._copies.setdefault(generation.number, Copy())
            sections = copy.take(generation, changed, self._verifier)
            if generation.number == self._current:
                is_change = not sections.isdisjoint({Section.RECORD, Section.OPENINGS})
                moves = Section.CURSOR in sections
                assert moves or not is_change, f"{revision.number}: records without the cursor"
                may_apply = may_apply or moves
        if may_apply:
            self._apply()

    def _apply(self) -> None:
        """Does what a reader does at this revision."""
        assert self._current is not None
        copy = self._copies[self._current]
        copy.check()
        assert copy.position is not None
        size = copy.position.checkpoint.size
        assert size >= self._largest, f"readers go back from {self._largest} to {size}"
        self._largest = size
        self.applied += 1

    def _look(self) -> None:
        """Reads everything at one revision, as a reader that loads."""
        started = time.monotonic()
        current = self._store.get(self._layout.current)
        number = self._number(current.value)
        if number is not None:
            generation = self._layout.generation(number)
            copy = Copy()
            for page in self._store.range_pages(generation.prefix, current.revision):
                copy.take(generation, [Event(*pair) for pair in page], self._verifier)
            copy.check()
            self.looks += 1
        self._stopping.wait(REST * (time.monotonic() - started))


def _location(state_key: bytes, value: bytes | None) -> tuple[int, bytes] | None:
    if value is None:
        return None
    record = Record.decode(value)
    assert Entry.decode(record.entry).state_key == state_key, "a record at the key of another"
    assert not record.openings
    return record.index, leaf_hash(record.entry)


def _put(values: dict[bytes, bytes], key: bytes, value: bytes | None) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value
