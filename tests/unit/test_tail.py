"""The tail: which revisions of etcd move a view on, and which must not."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from registry.address import Address
from registry.batch import Batch, Record
from registry.entry import Entry
from registry.errors import (
    ForkError,
    MalformedError,
    SequenceError,
    SignatureError,
    VerificationError,
)
from registry.kinds import Operation
from registry.note import Signer
from secondary.dns.table import DictTable
from secondary.etcd_values import Event, Revision
from secondary.loading import Loaded
from secondary.tail import Tail
from tests.support.log_builder import ORIGIN, START_MS, LogBuilder
from tests.support.replicas import LAYOUT, cursor_of, fill_view, trust_in

FIRST, SECOND = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
GENERATION = LAYOUT.generation(1)
OTHER = LAYOUT.generation(2)
LOADED_AT = 10


@dataclass
class Followed:
    """A log of one registration, a tail that was loaded at its end, and etcd's next revision."""

    log: LogBuilder = field(default_factory=LogBuilder)
    revision: int = LOADED_AT

    def __post_init__(self) -> None:
        self.log.put_registration(FIRST)
        self.log.commit()
        table = DictTable()
        fill_view(table, self.log)
        loaded = Loaded(table, GENERATION, LOADED_AT, cursor_of(self.log))
        self.tail = Tail(loaded, LAYOUT, trust_in(self.log))

    @property
    def table(self) -> DictTable:
        return self.tail.view

    @property
    def size(self) -> int:
        return self.tail.standing.position.checkpoint.size

    def apply(self, *events: Event) -> None:
        """The next revision, of these events."""
        self.revision += 1
        self.tail.apply(Revision(self.revision, events))


def cursor_event(log: LogBuilder, fresh_s: int | None = None) -> Event:
    return Event(GENERATION.cursor, cursor_of(log, fresh_s))


def record_events(batch: Batch) -> list[Event]:
    """What a follower writes for the batch, but for the cursor."""
    events = []
    for index, logged in enumerate(batch.entries[:-1], batch.start):
        entry = Entry.decode(logged.entry)
        gone = entry.operation is Operation.DELETE
        value = None if gone else Record(index, logged.entry).encode()
        events.append(Event(GENERATION.record(entry.state_key), value))
    return events


def test_a_batch_is_applied_with_its_cursor() -> None:
    """P4: records and cursor of one revision are taken together."""
    followed = Followed()
    followed.log.put_registration(SECOND)
    batch = followed.log.commit()

    followed.apply(*record_events(batch), cursor_event(followed.log))

    assert followed.table.find(SECOND) is not None
    assert followed.log.size == followed.size
    assert followed.log.state.zone_serial == followed.table.standing.position.state.zone_serial


def test_a_delete_is_applied() -> None:
    """A withdrawn registration leaves the view."""
    followed = Followed()
    followed.log.delete(b"\x02" + FIRST.packed)
    batch = followed.log.commit()

    followed.apply(*record_events(batch), cursor_event(followed.log))

    assert 0 == len(followed.table)


def test_records_without_the_cursor_are_ignored_and_counted() -> None:
    """A stranger's write and a stranger's delete change nothing in the view."""
    followed = Followed()
    followed.log.put_registration(SECOND)
    events = record_events(followed.log.commit())

    followed.apply(*events)
    followed.apply(Event(GENERATION.record(b"\x02" + FIRST.packed), None))

    assert followed.table.find(FIRST) is not None
    assert followed.table.find(SECOND) is None
    assert 2 == followed.tail.strange_revisions
    assert followed.revision == followed.tail.revision


def test_other_generations_and_other_keys_are_no_news() -> None:
    """Loading another generation, deleting an old one, or other keys: nothing happens."""
    followed = Followed()

    followed.apply(
        Event(OTHER.record(b"\x02" + FIRST.packed), None),
        Event(OTHER.cursor, cursor_of(followed.log)),
        Event(LAYOUT.all + b"else", b"x"),
        Event(GENERATION.claim, b"me"),
    )

    assert followed.table.find(FIRST) is not None
    assert 0 == followed.tail.strange_revisions


def test_a_flip_is_noticed_and_deletes_after_it_are_not_strange() -> None:
    """Once another generation is current, this one may be deleted; the view stays whole."""
    followed = Followed()

    followed.apply(Event(LAYOUT.current, b"2"))
    followed.apply(
        Event(GENERATION.record(b"\x02" + FIRST.packed), None), Event(GENERATION.cursor, None)
    )

    assert followed.tail.is_superseded
    assert followed.table.find(FIRST) is not None
    assert 0 == followed.tail.strange_revisions


def test_a_fresher_cursor_moves_the_time_alone() -> None:
    """P7: a cosignature at the same size tells that the registry still vouches."""
    followed = Followed()
    fresh_s = START_MS // 1000 + 500

    followed.apply(cursor_event(followed.log, fresh_s))

    assert fresh_s == followed.tail.standing.vouched_s


def test_the_time_never_goes_back() -> None:
    """A batch that carries an older cosignature does not make the view older."""
    followed = Followed()
    fresh_s = START_MS // 1000 + 500
    followed.apply(cursor_event(followed.log, fresh_s))

    followed.apply(cursor_event(followed.log, fresh_s - 100))

    assert fresh_s == followed.tail.standing.vouched_s


def refused(followed: Followed, expected: type[VerificationError], *events: Event) -> None:
    """The revision raises `expected` and changes nothing."""
    standing, size = followed.tail.standing, len(followed.table)
    with pytest.raises(expected):
        followed.apply(*events)
    assert standing == followed.tail.standing
    assert size == len(followed.table)
    assert followed.table.find(FIRST) is not None


def test_a_forged_cursor_is_refused() -> None:
    """P2: a cursor of another key of the same name."""
    followed = Followed()
    forger = LogBuilder(signer=Signer.generate(ORIGIN))
    forger.put_registration(SECOND)
    forger.commit()
    batch = forger.commit()

    refused(followed, SignatureError, *record_events(batch), cursor_event(forger))


def test_a_cursor_that_is_none_is_refused() -> None:
    """P2: bytes that are no cursor."""
    refused(Followed(), MalformedError, Event(GENERATION.cursor, b"\xff\xff"))


def test_a_cursor_that_goes_back_is_refused() -> None:
    """A replayed cursor, with whatever records, does not turn the view back."""
    followed = Followed()
    old = cursor_event(followed.log)
    followed.log.put_registration(SECOND)
    followed.apply(*record_events(followed.log.commit()), cursor_event(followed.log))

    refused(followed, SequenceError, old)


def test_records_beside_a_cursor_that_stands_are_refused() -> None:
    """A stranger who copies the cursor beside a record of his gets nothing changed."""
    followed = Followed()
    gone = Event(GENERATION.record(b"\x02" + FIRST.packed), None)

    refused(followed, SequenceError, gone, cursor_event(followed.log))


def test_another_log_of_the_same_size_is_a_fork() -> None:
    """P5: two signed checkpoints that disagree are evidence, and both notes are in it."""
    followed = Followed()
    other = LogBuilder()
    other.put_registration(SECOND)
    other.commit()

    with pytest.raises(ForkError) as caught:
        followed.apply(cursor_event(other))

    assert followed.log.checkpoint == caught.value.ours
    assert other.checkpoint == caught.value.theirs
    assert followed.table.find(FIRST) is not None


def test_a_serial_that_does_not_rise_is_refused() -> None:
    """RFC 1982: secondaries of the zone would not see the change."""
    followed = Followed()
    other = LogBuilder(zone_serial=0)
    other.put_registration(FIRST)
    other.put_registration(SECOND)
    other.commit()

    refused(followed, SequenceError, cursor_event(other))


@pytest.mark.parametrize("index", [0, 9])
def test_a_record_that_is_not_of_the_new_entries_is_refused(index: int) -> None:
    """An old record put back beside an honest batch is not taken, nor is one of the future."""
    followed = Followed()
    (old,) = followed.log.records.values()
    followed.log.put_registration(SECOND)
    batch = followed.log.commit()
    event = Event(GENERATION.record(b"\x02" + FIRST.packed), Record(index, old.entry).encode())

    refused(followed, SequenceError, *record_events(batch), event, cursor_event(followed.log))


def test_a_record_at_the_key_of_another_is_refused() -> None:
    """What stands at a key has to be of that key."""
    followed = Followed()
    followed.log.put_registration(SECOND)
    (event,) = record_events(followed.log.commit())
    moved = Event(GENERATION.record(b"\x02" + FIRST.packed), event.value)

    refused(followed, MalformedError, moved, cursor_event(followed.log))
