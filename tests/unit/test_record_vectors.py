"""Our own encodings, against the committed vectors."""

from __future__ import annotations

import json
from typing import Any

from registry.address import Address
from registry.batch import Batch, SignedState, open_signed_state
from registry.contact import Commitment, Opening, check_opening
from registry.entry import Entry
from registry.holder import Holder
from registry.kinds import ContactField, Operation, Status
from registry.label import parse_dashed, parse_reversed
from registry.merkle import CompactRange
from registry.note import Verifier
from registry.proof import Lookup, verify_lookup
from registry.registration import Registration
from registry.replay import Replay
from registry.snapshot import SnapshotReader
from registry.state import State
from registry.state_tree import StateTree
from tests.vectors.generate_records import PATH, vectors

VECTORS: dict[str, Any] = json.loads(PATH.read_text())
LOG = VECTORS["log"]


def test_the_vectors_are_what_their_script_makes() -> None:
    """The file is up to date: the encodings have not changed unnoticed."""
    assert vectors() == VECTORS


def test_addresses() -> None:
    """Text, bytes and both forms of label lead to one another."""
    for vector in VECTORS["addresses"]:
        address = Address(bytes.fromhex(vector["packed"]))

        assert Address.parse(vector["text"]) == address
        assert Address.parse(vector["canonical"]) == address
        assert str(address) == vector["canonical"]
        assert parse_dashed(vector["dashed"]) == address
        assert parse_reversed(vector["reversed"].split(".")) == address
        assert address.special_purpose() == vector["special_purpose"]


def test_the_commitment_opens() -> None:
    """Salt and value open the digest."""
    vector = VECTORS["commitment"]
    field = ContactField(vector["field"])
    opening = Opening(field, bytes.fromhex(vector["salt"]), vector["value"])

    check_opening(Commitment(field, bytes.fromhex(vector["digest"])), opening)


def test_payloads_decode() -> None:
    """Holder, registration and state have the values beside their encodings."""
    holder, registration, state = (
        VECTORS["holder"],
        VECTORS["registration"],
        VECTORS["state"],
    )

    assert Holder.decode(bytes.fromhex(holder["encoded"])) == Holder(
        Status(holder["status"]),
        holder["created_ms"],
        tuple(
            Commitment(ContactField(each["field"]), bytes.fromhex(each["digest"]))
            for each in holder["commitments"]
        ),
    )
    assert Registration.decode(bytes.fromhex(registration["encoded"])) == Registration(
        bytes.fromhex(registration["holder_id"]),
        registration["host"],
        registration["domain"],
        Status(registration["status"]),
        registration["registered_ms"],
        registration["reason"],
    )
    assert State.decode(bytes.fromhex(state["encoded"])) == State(
        state["live_keys"], bytes.fromhex(state["state_root"]), state["zone_serial"]
    )


def test_entries_decode() -> None:
    """Entries have the values and the state key beside their encodings."""
    for vector in VECTORS["entries"]:
        entry = Entry.decode(bytes.fromhex(vector["encoded"]))

        assert entry == Entry(
            vector["kind"],
            bytes.fromhex(vector["key"]),
            Operation(vector["operation"]),
            vector["critical"],
            vector["time_ms"],
            bytes.fromhex(vector["payload"]),
        )
        assert entry.state_key.hex() == vector["state_key"]


def test_the_log_replays() -> None:
    """The batches lead from nothing to the log and state beside them."""
    verifier = Verifier.from_vkey(LOG["vkey"])
    replay = Replay(verifier, CompactRange.empty(), StateTree(), 0)
    for encoded in LOG["batches"]:
        verified = replay.verify(Batch.decode(bytes.fromhex(encoded)))
        replay.advance(verified)

    assert (replay.size, replay.root.hex()) == (LOG["size"], LOG["root"])
    assert verified.state.live_keys == LOG["live_keys"]
    assert verified.state.state_root.hex() == LOG["state_root"]
    assert verified.signed_state == SignedState.decode(bytes.fromhex(LOG["signed_state"]))


def test_the_logs_proofs_hold() -> None:
    """Signed state, snapshot and lookups verify with the key alone."""
    verifier = Verifier.from_vkey(LOG["vkey"])
    signed = SignedState.decode(bytes.fromhex(LOG["signed_state"]))
    reader = SnapshotReader([bytes.fromhex(LOG["snapshot"])])

    assert open_signed_state(signed, verifier)[2].state_root.hex() == LOG["state_root"]
    assert reader.header.open(verifier).checkpoint.size == LOG["size"]
    assert len(list(reader)) == LOG["live_keys"]
    for vector in LOG["lookups"]:
        lookup = Lookup.decode(bytes.fromhex(vector["encoded"]))
        verified = verify_lookup(lookup, verifier, bytes.fromhex(vector["state_key"]))
        index = None if verified.record is None else verified.record.index
        assert index == vector["index"]
