"""Snapshot files: from a log and back, whatever happens to them on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.batch import Record, outline_slot
from registry.contact import Opening
from registry.entry import Entry
from registry.errors import (
    LimitError,
    MalformedError,
    NewerLogError,
    ProofError,
    RootMismatchError,
    SignatureError,
    StateMismatchError,
    VerificationError,
)
from registry.kinds import ContactField, Kind, Operation
from registry.note import Signer
from registry.replay import Replay
from registry.snapshot import (
    LENGTH_BYTES,
    MAGIC,
    MAX_PART_BYTES,
    SnapshotHeader,
    SnapshotReader,
    encode_snapshot,
    snapshot_name,
)
from registry.state_tree import StateTree
from tests.support.log_builder import LogBuilder


def committed() -> LogBuilder:
    """A log with holders, registrations, deletes, replacements and an unknown kind."""
    builder = LogBuilder()
    builder.put_holder()
    gone = builder.put_registration("192.0.2.1")
    builder.put_registration("192.0.2.2")
    builder.commit()
    builder.fill(70)
    builder.delete(gone)
    builder.put_registration("192.0.2.2", reason="moved")
    builder.put(200, b"k", b"opaque")
    builder.commit()
    return builder


BUILDER = committed()
FILE = BUILDER.snapshot()
RECORDS = [record for _, record in sorted(BUILDER.records.items())]


# Field 100, which no message has.
JUNK = b"\xa2\x06\x04junk"


def part(data: bytes) -> bytes:
    """The bytes after their length, as in a file."""
    return len(data).to_bytes(LENGTH_BYTES) + data


def chunks(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, and the rest in one."""
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


def read(data: bytes) -> list[Record]:
    """All records of a file."""
    return records_of(SnapshotReader([data]))


def records_of(reader: SnapshotReader) -> list[Record]:
    """All records that a reader gives."""
    return [each.record() for each in reader]


def file_of(records: list[Record], *, announced: int | None = None) -> bytes:
    """The file of other records, with a digest that holds."""
    count = len(records) if announced is None else announced
    header = replace(BUILDER.snapshot_header(), records=count)
    return b"".join(encode_snapshot(header, records))


@given(st.lists(st.integers(0, 3000), max_size=20))
def test_a_snapshot_reads_alike_however_it_arrives(sizes: list[int]) -> None:
    """The records come out in the order of their keys, whatever the chunks."""
    reader = SnapshotReader(chunks(FILE, sizes))

    assert reader.header == BUILDER.snapshot_header()
    assert records_of(reader) == RECORDS


def test_a_snapshot_equals_a_replay() -> None:
    """The tree built from a snapshot has the signed root, and the stream goes on behind it."""
    builder = committed()
    reader = SnapshotReader([builder.snapshot()])
    position = reader.header.open(builder.verifier)

    tree = StateTree.build(outline_slot(record.encoded)[2] for record in reader)
    assert tree.root == position.state.state_root == builder.tree.root
    replay = Replay(builder.verifier, position.compact_range, tree, position.state.zone_serial)
    builder.put_registration("192.0.2.3")
    replay.advance(replay.verify(builder.commit()))
    assert replay.root == builder.root


def test_a_record_is_ready_to_be_kept() -> None:
    """Each comes with its key, and encoded as a replica keeps it: without openings."""
    for read_record, record in zip(SnapshotReader([FILE]), RECORDS, strict=True):
        assert read_record.state_key == Entry.decode(record.entry).state_key
        assert Record.decode(read_record.encoded) == replace(record, openings=())


def test_what_nobody_signed_is_not_kept() -> None:
    """A field that is no part of a record is dropped on the way in."""
    extended = FILE.replace(part(RECORDS[1].encode()), part(RECORDS[1].encode() + JUNK))
    extended = extended[:-32] + sha256(extended[:-32]).digest()

    assert len(extended) == len(FILE) + len(JUNK)
    assert [each.encoded for each in SnapshotReader([extended])] == [
        each.encoded for each in SnapshotReader([FILE])
    ]


def test_a_name_says_what_a_snapshot_is_of() -> None:
    """Size and state root name the file."""
    assert snapshot_name(1234, bytes(range(32))) == f"1234-{bytes(range(32)).hex()}.snapshot"


def test_the_snapshot_of_the_smallest_log() -> None:
    """A log of one state entry has a snapshot without records."""
    builder = LogBuilder()
    builder.commit()
    reader = SnapshotReader([builder.snapshot()])

    assert reader.header.open(builder.verifier).state.live_keys == 0
    assert list(reader) == []


@given(st.integers(0, len(FILE) - 1))
def test_a_snapshot_cut_off_is_malformed(length: int) -> None:
    """However much is missing at the end, it is noticed."""
    with pytest.raises(MalformedError):
        read(FILE[:length])


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(position: int, change: int) -> None:
    """No byte of the file can be changed: it is refused, or its digest fails."""
    data = bytearray(FILE)
    data[position] ^= change

    with pytest.raises(VerificationError):
        read(bytes(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    """Arbitrary bytes, with the magic line or without, give a typed error."""
    for attempt in (data, MAGIC + data):
        with pytest.raises((MalformedError, LimitError)):
            read(attempt)


def test_nothing_follows_the_digest() -> None:
    """What is appended to a file is noticed, in the last chunk or behind it."""
    for extended in ([FILE + b"x"], [FILE, b"", b"x"]):
        with pytest.raises(MalformedError, match="after its digest"):
            list(SnapshotReader(extended))


def test_a_part_has_a_limit() -> None:
    """A length beyond the limit is refused before anything of that length is waited for."""
    endless = MAGIC + (MAX_PART_BYTES + 1).to_bytes(LENGTH_BYTES)

    with pytest.raises(LimitError):
        SnapshotReader([endless])


@pytest.mark.parametrize(
    "records",
    [
        [RECORDS[1], RECORDS[0], *RECORDS[2:]],
        [RECORDS[0], RECORDS[0], *RECORDS[2:]],
    ],
)
def test_records_are_in_order_and_once(records: list[Record]) -> None:
    """A snapshot has one form: swapped or repeated records are refused."""
    with pytest.raises(MalformedError, match="out of order"):
        read(file_of(records))


@pytest.mark.parametrize("announced", [len(RECORDS) - 1, len(RECORDS) + 1])
def test_the_header_announces_what_follows(announced: int) -> None:
    """A record more or less than the header says is refused."""
    with pytest.raises((MalformedError, LimitError)):
        read(file_of(RECORDS, announced=announced))


@pytest.mark.parametrize(
    "entry",
    [
        Entry(Kind.REGISTRATION, bytes(4), Operation.DELETE, False, 1, b""),
        Entry(Kind.STATE, b"", Operation.PUT, False, 1, b""),
    ],
)
def test_a_snapshot_holds_records_alone(entry: Entry) -> None:
    """Deletes and state entries leave no record."""
    with pytest.raises(MalformedError):
        read(file_of([Record(0, entry.encode())]))


def test_a_critical_unknown_kind_stops() -> None:
    """A snapshot is no way around a kind that must be understood."""
    entry = Entry(200, b"k", Operation.PUT, True, 1, b"")

    with pytest.raises(NewerLogError):
        read(file_of([Record(0, entry.encode())]))


def test_a_false_opening_is_refused() -> None:
    """Openings are outside every hash, so each is checked against its commitment."""
    holder = replace(RECORDS[0], openings=(Opening(ContactField.NAME, bytes(32), "Imposter"),))
    registration = replace(RECORDS[1], openings=holder.openings)

    with pytest.raises(ProofError):
        read(file_of([holder]))
    with pytest.raises(MalformedError):
        read(file_of([registration]))


def test_a_header_of_another_key_is_refused() -> None:
    """Only what the log's key signed is opened."""
    stranger = Signer(BUILDER.signer.name, bytes(32)).verifier()

    with pytest.raises(SignatureError):
        BUILDER.snapshot_header().open(stranger)


def test_a_header_adds_up() -> None:
    """Compact range and number of records are those of the signed state."""
    header: SnapshotHeader = BUILDER.snapshot_header()
    nodes = (bytes(32), *header.compact_range[1:])

    with pytest.raises(RootMismatchError):
        replace(header, compact_range=nodes).open(BUILDER.verifier)
    with pytest.raises(MalformedError):
        replace(header, compact_range=header.compact_range[1:]).open(BUILDER.verifier)
    with pytest.raises(StateMismatchError):
        replace(header, records=header.records + 1).open(BUILDER.verifier)


def test_the_digest_is_of_all_before_it() -> None:
    """Any SHA-256 tool can check a file."""
    assert FILE[-32:] == sha256(FILE[:-32]).digest()
