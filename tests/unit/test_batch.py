"""Batches, records and signed states on the wire, and their limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.batch import (
    Batch,
    LoggedEntry,
    Record,
    SignedState,
    open_signed_state,
    outline_record,
    outline_slot,
)
from registry.contact import Opening
from registry.entry import Entry
from registry.errors import (
    LimitError,
    MalformedError,
    ProofError,
    SignatureError,
    VerificationError,
)
from registry.kinds import ContactField, Kind, Operation
from registry.limits import (
    MAX_BATCH_BYTES,
    MAX_ENTRIES_PER_BATCH,
    MAX_ENTRY_BYTES,
    MAX_OPENINGS_PER_ENTRY,
)
from registry.merkle import leaf_hash
from registry.note import Signer
from registry.state_tree import slot
from registry.wire.v1 import log_pb2
from tests.support.log_builder import LogBuilder
from tests.support.strategies import entries, openings

OPENING = Opening(ContactField.NAME, bytes(32), "Example Networks")

logged_entries = st.builds(
    LoggedEntry, st.binary(max_size=100), st.lists(openings, max_size=4).map(tuple)
)
batches = st.builds(
    Batch,
    st.integers(0, 2**63 - 1),
    st.lists(logged_entries, min_size=1, max_size=4).map(tuple),
    st.binary(max_size=100),
)
records = st.builds(
    Record,
    st.integers(0, 2**63 - 1),
    st.binary(max_size=100),
    st.lists(openings, max_size=4).map(tuple),
)
signed_states = st.builds(
    SignedState,
    st.binary(max_size=100),
    st.binary(max_size=100),
    st.lists(st.binary(max_size=40), max_size=3).map(tuple),
)


def committed() -> LogBuilder:
    """A log of two batches."""
    builder = LogBuilder()
    builder.put_holder()
    builder.put_registration()
    builder.commit()
    builder.put_registration("2001:db8::24")
    builder.commit()
    return builder


COMMITTED = committed()


@given(batches)
def test_a_batch_leads_back(batch: Batch) -> None:
    """A batch's bytes decode to that batch."""
    assert Batch.decode(batch.encode()) == batch


@given(records)
def test_a_record_leads_back(record: Record) -> None:
    """A record's bytes decode to that record."""
    assert Record.decode(record.encode()) == record


@given(signed_states)
def test_a_signed_state_leads_back(signed: SignedState) -> None:
    """A signed state's bytes decode to that signed state."""
    assert SignedState.decode(signed.encode()) == signed


@pytest.mark.parametrize("codec", [Batch, Record, SignedState])
@given(data=st.binary(max_size=300))
def test_any_bytes_are_one_or_refused(
    codec: type[Batch] | type[Record] | type[SignedState], data: bytes
) -> None:
    """Arbitrary bytes give a value, a MalformedError or a LimitError."""
    try:
        value = codec.decode(data)
    except (MalformedError, LimitError):
        return
    assert codec.decode(value.encode()) == value


@given(entries(), st.integers(0, 2**63 - 1))
def test_an_outline_is_of_the_record(entry: Entry, index: int) -> None:
    """The outline says the same as record and entry decoded in full."""
    leaf = entry.encode()

    encoded = Record(index, leaf, ()).encode()
    assert outline_record(encoded) == (index, entry.state_key, leaf, entry.payload)
    expected = slot(entry.state_key, index, leaf_hash(leaf))
    assert outline_slot(encoded) == (entry.state_key, entry.payload, expected)


@given(st.binary(max_size=100))
def test_any_bytes_have_an_outline_or_are_malformed(data: bytes) -> None:
    """Arbitrary bytes give an outline or a MalformedError."""
    try:
        outline = outline_record(data)
    except MalformedError:
        return
    assert len(outline[1]) >= 1


def test_a_batch_holds_at_most_sixty_changes() -> None:
    """Sixty changes and the state entry pass; one more is beyond the limit on either side."""
    full = (LoggedEntry(b""),) * MAX_ENTRIES_PER_BATCH
    message = log_pb2.Batch(entries=[log_pb2.LoggedEntry()] * (MAX_ENTRIES_PER_BATCH + 1))

    assert Batch.decode(Batch(0, full, b"").encode()).entries == full
    with pytest.raises(LimitError):
        Batch(0, (*full, LoggedEntry(b"")), b"")
    with pytest.raises(LimitError):
        Batch.decode(message.SerializeToString())


def test_a_batch_is_never_empty() -> None:
    """There is a state entry in every batch."""
    with pytest.raises(MalformedError):
        Batch.decode(b"")


def test_a_batch_has_at_most_a_mebibyte() -> None:
    """More bytes are refused before they are taken apart, and never made."""
    with pytest.raises(LimitError):
        Batch.decode(bytes(MAX_BATCH_BYTES + 1))
    with pytest.raises(LimitError):
        Batch(0, (LoggedEntry(b""),), bytes(MAX_BATCH_BYTES)).encode()


@pytest.mark.parametrize("value", [LoggedEntry, lambda *parts: Record(0, *parts)])
def test_an_entry_and_its_openings_have_limits(value: type[LoggedEntry]) -> None:
    """8 KiB of entry and eight openings pass, and no more."""
    largest, most = bytes(MAX_ENTRY_BYTES), (OPENING,) * MAX_OPENINGS_PER_ENTRY

    value(largest, most)
    with pytest.raises(LimitError):
        value(largest + b"x")
    with pytest.raises(LimitError):
        value(b"", (*most, OPENING))


def test_a_signed_state_opens() -> None:
    """The checkpoint, its closing entry and the state in that come out."""
    builder = committed()

    checkpoint, entry, state = open_signed_state(builder.signed_state(), builder.verifier)
    assert (checkpoint.size, checkpoint.root) == (builder.size, builder.root)
    assert (entry.kind, state) == (Kind.STATE, builder.state)
    assert state.live_keys == 3


def test_the_key_of_another_log_signs_nothing() -> None:
    """Without the log's signature there is no state."""
    builder = committed()
    stranger = Signer(builder.signer.name, bytes(32)).verifier()

    with pytest.raises(SignatureError):
        open_signed_state(builder.signed_state(), stranger)


def test_only_the_last_leaf_is_the_state() -> None:
    """An older state entry, or any other leaf, does not stand at the checkpoint's end."""
    builder = committed()
    signed = builder.signed_state()
    older = replace(signed, state_entry=builder.logged[2].entry)
    moved = SignedState(signed.checkpoint, builder.logged[2].entry, builder.audit_path(2))

    for false in (older, moved):
        with pytest.raises(ProofError):
            open_signed_state(false, builder.verifier)


def test_a_log_that_ends_without_a_state_entry_has_no_state() -> None:
    """Even signed, a checkpoint over another last entry is refused."""
    builder = LogBuilder()
    entry = Entry(Kind.MEMBER, b"k", Operation.PUT, False, 1, b"").encode()
    batch = builder.seal([LoggedEntry(entry)])

    with pytest.raises(MalformedError):
        open_signed_state(SignedState(batch.checkpoint, entry, ()), builder.verifier)


@given(st.integers(min_value=0), st.integers(1, 255))
def test_any_changed_byte_of_a_signed_state_is_noticed(position: int, change: int) -> None:
    """Whatever is changed on the way, the state that comes out is the one signed."""
    builder = COMMITTED
    data = bytearray(builder.signed_state().encode())
    data[position % len(data)] ^= change

    try:
        _, _, state = open_signed_state(SignedState.decode(bytes(data)), builder.verifier)
    except VerificationError:
        return
    assert state == builder.state
