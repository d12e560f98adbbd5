"""Replay: honest logs go through, every kind of tampering is refused with its own error."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.address import Address
from registry.batch import LoggedEntry, open_signed_state, outline_slot
from registry.entry import state_key
from registry.errors import (
    RootMismatchError,
    SequenceError,
    VerificationError,
)
from registry.kinds import ContactField, Kind
from registry.limits import MAX_CHANGES_PER_BATCH
from registry.merkle import leaf_hash
from registry.registration import Registration
from registry.snapshot import SnapshotReader
from registry.state_tree import StaleStateError, StateTree
from tests.support.log_builder import LogBuilder
from tests.support.tampering import TAMPERING, UNKNOWN_KIND, Tamper, prepared, with_entries


@pytest.mark.parametrize(
    ("tamper", "error"), TAMPERING, ids=[tamper.__name__ for tamper, _ in TAMPERING]
)
def test_tampering_is_refused_and_changes_nothing(
    tamper: Tamper, error: type[VerificationError]
) -> None:
    """P2: each has its own error; the replay stands where it stood, and goes on from there."""
    builder, replay = prepared()
    honest = builder.batch()
    stood = (replay.size, replay.root, replay.zone_serial, replay.compact_range)

    with pytest.raises(error) as caught:
        replay.verify(tamper(builder))

    assert caught.type is error
    assert (replay.size, replay.root, replay.zone_serial, replay.compact_range) == stood
    replay.advance(replay.verify(honest))
    assert replay.size == honest.size


def test_swapped_batches_are_refused() -> None:
    """The second of two batches cannot come first, nor the first twice."""
    builder = LogBuilder()
    builder.put_registration("192.0.2.1")
    first = builder.commit()
    builder.put_registration("192.0.2.2")
    second = builder.commit()
    replay = builder.replay()

    with pytest.raises(SequenceError, match="skipping"):
        replay.verify(second)
    replay.advance(replay.verify(first))
    with pytest.raises(SequenceError, match="again"):
        replay.verify(first)
    replay.advance(replay.verify(second))
    assert replay.root == builder.root


def test_a_fork_is_no_continuation() -> None:
    """P5: a batch signed by the same key over another history is refused."""
    builder, replay = prepared()
    other = LogBuilder(signer=builder.signer)
    other.fill(2)
    other.fill(1)

    assert other.size == builder.size
    with pytest.raises(RootMismatchError):
        replay.verify(other.batch())


def test_verify_tells_all_that_follows() -> None:
    """Everything a replica stores of a batch comes out of its verification."""
    builder, replay = prepared()
    start = builder.size
    batch = builder.commit()

    verified = replay.verify(batch.encode())
    assert (verified.start, verified.size) == (start, builder.size)
    assert verified.checkpoint == builder.checkpoint
    assert verified.compact_range == builder.compact_range
    assert verified.leaf_hashes == tuple(leaf_hash(each.entry) for each in batch.entries)
    assert verified.signed_state == builder.signed_state()
    assert verified.state == builder.state
    assert [change.record() for change in verified.changes] == [
        builder.records[change.state_key] for change in verified.changes
    ]
    checkpoint, closing, state = open_signed_state(verified.signed_state, builder.verifier)
    assert (checkpoint.size, state) == (verified.size, verified.state)
    assert closing.time_ms == verified.time_ms


def test_several_changes_of_a_key_collapse_to_the_newest() -> None:
    """A store gets each key once, in the order of the entries that count."""
    builder = LogBuilder()
    twice = builder.put_registration("192.0.2.1", "old.example.org")
    gone = builder.put_registration("192.0.2.2")
    once = builder.put_registration("192.0.2.3")
    builder.put_registration("192.0.2.1", "new.example.org")
    builder.delete(gone)
    batch = builder.commit()

    verified = builder.replay().verify(batch)
    assert [(change.index, change.state_key) for change in verified.changes] == [
        (2, once),
        (3, twice),
        (4, gone),
    ]
    newest = Registration.decode(verified.changes[1].entry.payload)
    assert newest.host == "new.example.org"
    assert verified.state.live_keys == 2


def test_an_unknown_kind_is_kept_as_it_is() -> None:
    """What need not be understood is counted, stored and passed on like any other."""
    builder = LogBuilder()
    key = builder.put(UNKNOWN_KIND, b"k", b"\xff opaque")
    batch = builder.commit()

    verified = builder.replay().verify(batch)
    assert [change.state_key for change in verified.changes] == [key]
    assert verified.changes[0].entry.payload == b"\xff opaque"
    assert verified.state.live_keys == 1


def test_a_batch_without_changes_holds() -> None:
    """A serial may rise, and a checkpoint be made, with nothing changed."""
    builder, replay = LogBuilder(), LogBuilder().replay()

    verified = replay.verify(builder.commit())
    assert verified.changes == ()
    replay.advance(verified)
    assert (replay.size, replay.zone_serial) == (1, 1)


def test_a_full_batch_holds() -> None:
    """Sixty changes of the largest holders fit into one batch."""
    builder = LogBuilder()
    public = {
        ContactField.NAME: "n" * 1024,
        ContactField.POSTAL_ADDRESS: "p" * 1024,
        ContactField.EMAIL: f"postmaster@{'.'.join(['a' * 60] * 3)}",
        ContactField.TELEPHONE: "+491234567890123",
    }
    for number in range(MAX_CHANGES_PER_BATCH):
        builder.put_holder(number.to_bytes(16), public=public, private={})

    batch = builder.commit()
    assert len(builder.replay().verify(batch.encode()).changes) == MAX_CHANGES_PER_BATCH


def test_erased_openings_leave_a_batch_whole() -> None:
    """P6: without its openings a batch still verifies, to the same root."""
    builder, replay = prepared()
    batch = builder.batch()
    erased = with_entries(batch, *(LoggedEntry(each.entry) for each in batch.entries))

    assert replay.verify(erased).compact_range == replay.verify(batch).compact_range


def test_the_first_serial_may_be_any() -> None:
    """A log may begin with a serial in the upper half, and wraps past zero."""
    builder = LogBuilder(zone_serial=2**32 - 2)
    for number in range(3):
        builder.put_registration(Address(bytes([192, 0, 2, number])))
        builder.commit()

    assert builder.replayed().zone_serial == 2


def test_a_batch_is_taken_once() -> None:
    """P4: what was verified before another batch was taken cannot be taken any more."""
    builder, replay = prepared()
    verified = replay.verify(builder.commit())
    competing = replay.verify(builder.batches[-1])

    replay.advance(verified)
    for late in (verified, competing):
        with pytest.raises(StaleStateError):
            replay.advance(late)
    assert replay.root == builder.root


BUILDER, REPLAY = prepared()
HONEST = BUILDER.batch().encode()


@settings(deadline=None)
@given(st.integers(0, len(HONEST) - 1), st.integers(1, 255))
def test_no_changed_byte_gets_through(position: int, change: int) -> None:
    """P2: a batch with any byte changed is refused, or has lost openings at most."""
    data = bytearray(HONEST)
    data[position] ^= change

    try:
        verified = REPLAY.verify(bytes(data))
    except VerificationError:
        return
    honest = REPLAY.verify(HONEST)
    assert verified.leaf_hashes == honest.leaf_hashes
    for changed, expected in zip(verified.changes, honest.changes, strict=True):
        assert changed.entry_bytes == expected.entry_bytes
        assert set(changed.openings) <= set(expected.openings)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    """Arbitrary bytes give a typed error."""
    with pytest.raises(VerificationError):
        REPLAY.verify(data)


@dataclass(frozen=True)
class Step:
    """One change of a random history."""

    kind: int
    key: bytes
    put: bool

    def add_to(self, builder: LogBuilder) -> None:
        """Have the builder make the change."""
        if not self.put:
            builder.delete(state_key(self.kind, self.key))
        elif self.kind == Kind.HOLDER:
            builder.put_holder(self.key)
        elif self.kind == Kind.REGISTRATION:
            builder.put_registration(Address(self.key))
        else:
            builder.put(self.kind, self.key, b"opaque")


# Few keys, so that histories put, put again and delete the same ones.
steps = st.builds(
    Step,
    st.just(Kind.HOLDER),
    st.integers(0, 3).map(lambda number: number.to_bytes(16)),
    st.booleans(),
) | st.builds(
    Step,
    st.sampled_from([Kind.REGISTRATION, UNKNOWN_KIND]),
    st.integers(0, 7).map(lambda number: number.to_bytes(4)),
    st.booleans(),
)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(steps, max_size=12), min_size=1, max_size=5))
def test_any_honest_history_replays_to_its_snapshot(history: list[list[Step]]) -> None:
    """Whatever happened, a replay, a snapshot and the primary agree on log and state."""
    builder = LogBuilder()
    for changes in history:
        for change in changes:
            change.add_to(builder)
        builder.commit()
    replay = builder.replayed()

    reader = SnapshotReader([builder.snapshot()])
    position = reader.header.open(builder.verifier)
    slots = [outline_slot(record.encoded)[2] for record in reader]
    assert (replay.size, replay.root) == (builder.size, builder.root)
    assert position.compact_range == replay.compact_range
    assert StateTree.build(slots).root == position.state.state_root == builder.tree.root
    assert len(slots) == position.state.live_keys == builder.tree.live
