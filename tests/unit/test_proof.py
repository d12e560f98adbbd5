"""Proofs of lookups: what a mirror may say, and what it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.address import Address
from registry.batch import Record
from registry.contact import Opening
from registry.entry import Entry, state_key
from registry.errors import MalformedError, ProofError, SignatureError, VerificationError
from registry.kinds import ContactField, Kind
from registry.merkle import leaf_hash
from registry.note import Signer
from registry.proof import Lookup, verify_lookup
from registry.registration import Registration
from tests.support.log_builder import LogBuilder

ABSENT = state_key(Kind.REGISTRATION, Address.parse("203.0.113.1").packed)


def committed() -> tuple[LogBuilder, bytes, bytes, bytes]:
    """A log, and the state keys of a holder, a registration twice put, and one deleted."""
    builder = LogBuilder()
    holder = builder.put_holder()
    current = builder.put_registration("192.0.2.36")
    deleted = builder.put_registration("192.0.2.37")
    builder.commit()
    builder.fill(20)
    builder.put_registration("192.0.2.36", "new.example.org")
    builder.delete(deleted)
    builder.commit()
    return builder, holder, current, deleted


BUILDER, HOLDER, CURRENT, DELETED = committed()


def superseded() -> Record:
    """The record of CURRENT before it was put again."""
    return Record(1, BUILDER.logged[1].entry)


def test_a_current_record_is_proved() -> None:
    """What comes out is the newest record, its entry, and the state it stands in."""
    lookup = BUILDER.lookup(CURRENT)

    verified = verify_lookup(Lookup.decode(lookup.encode()), BUILDER.verifier, CURRENT)
    assert verified.record == lookup.record
    assert verified.entry is not None
    assert Registration.decode(verified.entry.payload).host == "new.example.org"
    assert (verified.checkpoint.size, verified.state) == (BUILDER.size, BUILDER.state)
    assert verified.time_ms == Entry.decode(BUILDER.logged[-1].entry).time_ms


@pytest.mark.parametrize("key", [ABSENT, DELETED])
def test_absence_is_proved(key: bytes) -> None:
    """A key that never was, or is no longer, has no record, and that can be shown."""
    lookup = Lookup.decode(BUILDER.lookup(key).encode())

    verified = verify_lookup(lookup, BUILDER.verifier, key)
    assert verified.record is None
    assert verified.entry is None


def test_public_openings_are_proved_with_the_record() -> None:
    """A holder's record comes with openings that hold, or without them."""
    lookup = BUILDER.lookup(HOLDER)
    assert lookup.record is not None
    erased = replace(lookup, record=replace(lookup.record, openings=()))

    for each in (lookup, erased):
        assert verify_lookup(each, BUILDER.verifier, HOLDER).record == each.record


def test_a_superseded_record_is_refused() -> None:
    """A record that is in the log, and included in its root, is not current by that."""
    lookup = replace(BUILDER.lookup(CURRENT), record=superseded(), audit_path=BUILDER.audit_path(1))

    with pytest.raises(ProofError, match="current"):
        verify_lookup(lookup, BUILDER.verifier, CURRENT)


def test_a_deleted_record_is_refused() -> None:
    """Nothing can be shown of a key that was deleted, though its old entry is in the log."""
    lookup = replace(
        BUILDER.lookup(DELETED),
        record=Record(2, BUILDER.logged[2].entry),
        audit_path=BUILDER.audit_path(2),
    )

    with pytest.raises(ProofError):
        verify_lookup(lookup, BUILDER.verifier, DELETED)


def test_a_record_cannot_be_hidden() -> None:
    """Leaving the record out is no proof of absence."""
    with pytest.raises(ProofError, match="left out"):
        verify_lookup(replace(BUILDER.lookup(CURRENT), record=None), BUILDER.verifier, CURRENT)


def test_another_keys_proof_shows_nothing() -> None:
    """The proof of one key does not answer for another."""
    with pytest.raises(ProofError):
        verify_lookup(BUILDER.lookup(ABSENT), BUILDER.verifier, CURRENT)
    with pytest.raises(ProofError):
        verify_lookup(BUILDER.lookup(CURRENT), BUILDER.verifier, HOLDER)


def test_a_false_index_bucket_or_path_is_refused() -> None:
    """Each part has to lead to what was signed."""
    lookup = BUILDER.lookup(CURRENT)
    assert lookup.record is not None
    false = [
        replace(lookup, record=replace(lookup.record, index=lookup.record.index - 1)),
        replace(lookup, audit_path=lookup.audit_path[:-1]),
        replace(lookup, audit_path=(bytes(32), *lookup.audit_path[1:])),
        replace(lookup, state_proof=replace(lookup.state_proof, bucket=b"")),
        replace(lookup, signed_state=replace(lookup.signed_state, audit_path=())),
    ]

    for each in false:
        with pytest.raises(ProofError):
            verify_lookup(each, BUILDER.verifier, CURRENT)


def test_a_false_opening_is_refused() -> None:
    """A mirror cannot make up contact details."""
    lookup = BUILDER.lookup(HOLDER)
    assert lookup.record is not None
    opening = Opening(ContactField.NAME, bytes(32), "Example Imposters")

    with pytest.raises(ProofError):
        verify_lookup(
            replace(lookup, record=replace(lookup.record, openings=(opening,))),
            BUILDER.verifier,
            HOLDER,
        )


def test_a_strangers_signature_is_refused() -> None:
    """Only the log's key speaks for the log."""
    stranger = Signer(BUILDER.signer.name, bytes(32)).verifier()

    with pytest.raises(SignatureError):
        verify_lookup(BUILDER.lookup(CURRENT), stranger, CURRENT)


def test_a_key_whose_current_entry_is_not_its_own_is_malformed() -> None:
    """Even signed, a state that gives one key another key's entry is refused."""
    builder = LogBuilder()
    other = builder.put_registration("192.0.2.1")
    leaf = Entry.decode(builder.batch().entries[0].entry).encode()
    builder.tree.apply(builder.tree.stage({CURRENT: (0, leaf_hash(leaf))}))
    builder.commit()
    lookup = replace(builder.lookup(CURRENT), record=builder.records[other])

    with pytest.raises(MalformedError):
        verify_lookup(replace(lookup, audit_path=builder.audit_path(0)), builder.verifier, CURRENT)


LOOKUP_BYTES = BUILDER.lookup(CURRENT).encode()


@given(st.integers(0, len(LOOKUP_BYTES) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(position: int, change: int) -> None:
    """Whatever is changed on the way, what comes out is what was signed."""
    data = bytearray(LOOKUP_BYTES)
    data[position] ^= change

    try:
        verified = verify_lookup(Lookup.decode(bytes(data)), BUILDER.verifier, CURRENT)
    except VerificationError:
        return
    assert verified.record == BUILDER.records[CURRENT]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_lookup_or_refused(data: bytes) -> None:
    """Arbitrary bytes give typed errors, in decoding or in verifying."""
    with pytest.raises(VerificationError):
        verify_lookup(Lookup.decode(data), BUILDER.verifier, CURRENT)
