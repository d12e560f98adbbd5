"""Entries: the leaves of the log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.entry import Entry, state_key
from registry.errors import LimitError, MalformedError
from registry.kinds import Kind, Operation
from registry.limits import MAX_ENTRY_BYTES
from registry.wire.v1 import log_pb2
from tests.support.strategies import entries


@given(entries())
def test_an_entry_leads_back(entry: Entry) -> None:
    """Leaf bytes decode to the entry that gave them."""
    assert Entry.decode(entry.encode()) == entry


@given(st.binary(max_size=200))
def test_any_bytes_are_an_entry_or_malformed(data: bytes) -> None:
    """Arbitrary bytes give an entry or a MalformedError."""
    try:
        entry = Entry.decode(data)
    except MalformedError:
        return
    assert Entry.decode(entry.encode()) == entry


@given(entries(), entries())
def test_state_keys_are_unique_among_kinds(one: Entry, other: Entry) -> None:
    """Two entries share a state key only if they share kind and key."""
    same = (one.kind, one.key) == (other.kind, other.key)

    assert (one.state_key == other.state_key) == same
    assert one.state_key == state_key(one.kind, one.key)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (0, b"k"),
        (256, b"k"),
        (-1, b"k"),
        (Kind.HOLDER, bytes(15)),
        (Kind.REGISTRATION, b""),
        (Kind.REGISTRATION, bytes(5)),
        (Kind.STATE, b"k"),
        (Kind.MEMBER, b""),
        (Kind.REMOVED_KEY, bytes(31)),
        (200, bytes(256)),
    ],
)
def test_a_key_fits_its_kind(kind: int, key: bytes) -> None:
    """A kind is one byte; each kind's keys have their lengths."""
    with pytest.raises(MalformedError):
        Entry(kind, key, Operation.PUT, critical=False, time_ms=1, payload=b"")


def test_a_delete_has_no_payload() -> None:
    """What is deleted has no state."""
    with pytest.raises(MalformedError):
        Entry(Kind.HOLDER, bytes(16), Operation.DELETE, critical=False, time_ms=1, payload=b"x")


@pytest.mark.parametrize("operation", [0, 3])
def test_an_unknown_operation_is_malformed(operation: int) -> None:
    """An entry puts or deletes."""
    message = log_pb2.Entry(
        kind=log_pb2.KIND_HOLDER, key=bytes(16), operation=log_pb2.Operation.ValueType(operation)
    )

    with pytest.raises(MalformedError):
        Entry.decode(message.SerializeToString())


def test_an_entry_has_a_limit() -> None:
    """8 KiB pass; a byte more is beyond the limit, in making and in reading."""
    overhead = len(Entry(200, b"k", Operation.PUT, True, 1, bytes(8000)).encode()) - 8000
    largest = bytes(MAX_ENTRY_BYTES - overhead)
    data = Entry(200, b"k", Operation.PUT, True, 1, largest).encode()

    assert len(data) == MAX_ENTRY_BYTES
    assert Entry.decode(data).payload == largest
    with pytest.raises(LimitError):
        Entry(200, b"k", Operation.PUT, True, 1, largest + b"x").encode()
    with pytest.raises(LimitError):
        Entry.decode(bytes(MAX_ENTRY_BYTES + 1))


def test_an_unknown_field_is_passed_over() -> None:
    """What a later version adds does not stop this one, and its bytes are not lost."""
    data = Entry(200, b"k", Operation.PUT, True, 1, b"x").encode()
    extended = data + b"\xa2\x06\x03new"

    assert Entry.decode(extended) == Entry.decode(data)
