"""The state tree, against a plain model of it and the committed vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.bucket_tree import BUCKETS, LEVELS
from registry.errors import MalformedError, ProofError
from registry.merkle import leaf_hash
from registry.state_tree import (
    SLOT_BYTES,
    Location,
    StaleStateError,
    StateProof,
    StateTree,
    slot,
    verify_state,
)
from tests.vectors.generate import FILE, make_vectors

VECTORS: dict[str, Any] = json.loads(FILE.read_text())

# Three keys that share a bucket, so that buckets with several slots are common in the tests.
CROWD = [bytes.fromhex(key) for key in VECTORS["one_bucket"]["keys"]]

keys = st.sampled_from(CROWD) | st.binary(min_size=1, max_size=3)
locations = st.builds(
    lambda index: (index, leaf_hash(index.to_bytes(8))), st.integers(0, 2**64 - 1)
)
states = st.dictionaries(keys, locations, max_size=12)
changes = st.dictionaries(keys, st.none() | locations, max_size=12)

EMPTY = StateTree()


def built(state: Mapping[bytes, Location]) -> StateTree:
    return StateTree.build(slot(key, *location) for key, location in state.items())


def model_root(state: Mapping[bytes, Location]) -> bytes:
    """The state root by its definition: every bucket, every level."""
    buckets: list[list[bytes]] = [[] for _ in range(BUCKETS)]
    for key, location in state.items():
        buckets[int.from_bytes(sha256(key).digest()[:2])].append(slot(key, *location))
    level = [sha256(b"\0" + b"".join(sorted(bucket))).digest() for bucket in buckets]
    while len(level) > 1:
        level = [
            sha256(b"\1" + level[at] + level[at + 1]).digest() for at in range(0, len(level), 2)
        ]
    return level[0]


def test_the_committed_vectors_are_what_the_script_makes() -> None:
    """The vectors others test against are the ones of this code."""
    assert FILE.read_text() == json.dumps(make_vectors(), indent=2) + "\n"


@pytest.mark.parametrize("vector", VECTORS["states"], ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    """Each state of the vectors has its root, by bulk and by the definition."""
    state = {
        bytes.fromhex(entry["key"]): (entry["index"], bytes.fromhex(entry["leaf_hash"]))
        for entry in vector["entries"]
    }
    assert vector["root"] == built(state).root.hex() == model_root(state).hex()


@pytest.mark.parametrize("vector", VECTORS["proofs"], ids=lambda vector: vector["name"])
def test_proof_vectors(vector: dict[str, Any]) -> None:
    """Each proof of the vectors tells where the key is, or that it is not live."""
    siblings = tuple(bytes.fromhex(sibling) for sibling in vector["siblings"])
    proof = StateProof(bytes.fromhex(vector["bucket"]), siblings)
    key = bytes.fromhex(vector["key"])
    location = verify_state(proof, key, bytes.fromhex(vector["root"]))
    index = vector["index"]
    assert location == (None if index is None else (index, leaf_hash(key)))


def test_a_slot_is_key_hash_index_and_leaf_hash() -> None:
    """A slot has 72 bytes: the key's hash, the index in eight bytes, the leaf's hash."""
    leaf = leaf_hash(b"entry")
    assert sha256(b"key").digest() + b"\0\0\0\0\0\0\1\2" + leaf == slot(b"key", 0x102, leaf)
    assert len(slot(b"key", 0x102, leaf)) == SLOT_BYTES


def test_the_empty_tree() -> None:
    """A tree without keys has a root of its own, however it came about."""
    assert EMPTY.live == 0
    assert EMPTY.root == StateTree.build([]).root == model_root({})


@given(states, st.lists(changes, max_size=4))
def test_changes_lead_where_a_build_leads(
    state: dict[bytes, Location], batches: list[dict[bytes, Location | None]]
) -> None:
    """After any batches, the tree equals one built in bulk from the keys that are left."""
    tree = built(state)
    for batch in batches:
        staged = tree.stage(batch)
        tree.apply(staged)
        for key, location in batch.items():
            state.pop(key, None)
            if location is not None:
                state[key] = location
        assert (staged.live, staged.root) == (tree.live, tree.root)
        for key in batch:
            assert state.get(key) == tree.get(key)
    expected = built(state)
    assert (expected.live, expected.root) == (tree.live, tree.root)
    assert len(state) == tree.live
    for key in state:
        assert expected.prove(key) == tree.prove(key)


@given(states, changes)
def test_staging_changes_nothing(
    state: dict[bytes, Location], batch: dict[bytes, Location | None]
) -> None:
    """A tree on which changes were staged stays as it was until they are applied."""
    tree = built(state)
    root, proofs = tree.root, [tree.prove(key) for key in batch]
    tree.stage(batch)
    assert (len(state), root) == (tree.live, tree.root)
    assert proofs == [tree.prove(key) for key in batch]


def test_staged_states_do_not_outlive_their_tree() -> None:
    """Of two states staged on one tree only the first can be applied; nor on another tree."""
    tree = StateTree()
    first = tree.stage({b"a": (1, leaf_hash(b"1"))})
    second = tree.stage({b"b": (2, leaf_hash(b"2"))})
    tree.apply(second)
    for stale in (first, second):
        with pytest.raises(StaleStateError):
            tree.apply(stale)
    with pytest.raises(StaleStateError):
        StateTree().apply(second)
    assert (1, second.root) == (tree.live, tree.root)


def test_deleting_what_is_not_there_changes_nothing() -> None:
    """A key made and deleted within one batch leaves no trace in the state."""
    staged = EMPTY.stage({b"never": None})
    assert (0, EMPTY.root) == (staged.live, staged.root)
    nothing = EMPTY.stage({})
    assert (0, EMPTY.root) == (nothing.live, nothing.root)


@given(states, keys)
def test_proofs_tell_what_is_live(state: dict[bytes, Location], other: bytes) -> None:
    """A proof verifies, and tells the location of a live key and that another has none."""
    tree = built(state)
    for key in [*state, other]:
        assert state.get(key) == verify_state(tree.prove(key), key, tree.root)


@given(st.data())
def test_a_changed_proof_is_refused(data: st.DataObject) -> None:
    """No byte of a proof can change, and it proves nothing to another root."""
    tree = built({key: (index, leaf_hash(key)) for index, key in enumerate(CROWD)})
    key = data.draw(st.sampled_from(CROWD))
    proof = tree.prove(key)
    at = data.draw(st.integers(0, len(proof.bucket) + LEVELS * 32 - 1))
    content = bytearray(proof.bucket + b"".join(proof.siblings))
    content[at] ^= data.draw(st.integers(1, 255))
    bucket, rest = bytes(content[: len(proof.bucket)]), bytes(content[len(proof.bucket) :])
    changed = StateProof(bucket, tuple(rest[step * 32 : step * 32 + 32] for step in range(LEVELS)))
    with pytest.raises(ProofError):
        verify_state(changed, key, tree.root)
    with pytest.raises(ProofError):
        verify_state(proof, key, EMPTY.root)


def test_a_proof_of_another_bucket_does_not_prove_absence() -> None:
    """A key cannot be shown absent with the bucket of another key."""
    tree = built({b"here": (5, leaf_hash(b"entry"))})
    with pytest.raises(ProofError):
        verify_state(tree.prove(b"elsewhere"), b"here", tree.root)


def test_a_bucket_with_a_slot_left_out_is_refused() -> None:
    """A live key cannot be shown absent by leaving it out of its bucket."""
    tree = built({key: (index, leaf_hash(key)) for index, key in enumerate(CROWD)})
    proof = tree.prove(CROWD[0])
    for at in range(0, len(proof.bucket), SLOT_BYTES):
        short = replace(proof, bucket=proof.bucket[:at] + proof.bucket[at + SLOT_BYTES :])
        with pytest.raises(ProofError):
            verify_state(short, CROWD[0], tree.root)


@pytest.mark.parametrize(
    ("bucket", "siblings"),
    [
        (b"x" * (SLOT_BYTES - 1), (bytes(32),) * LEVELS),
        (b"", (bytes(32),) * (LEVELS - 1)),
        (b"", (bytes(32),) * (LEVELS + 1)),
        (b"", (bytes(31),) * LEVELS),
    ],
)
def test_proofs_that_cannot_be(bucket: bytes, siblings: tuple[bytes, ...]) -> None:
    """A proof whose parts have the wrong sizes cannot be made."""
    with pytest.raises(MalformedError):
        StateProof(bucket, siblings)


def test_slots_that_make_no_tree() -> None:
    """A slot of the wrong size, or a second one of a key, is refused in bulk."""
    good = slot(b"key", 1, leaf_hash(b"1"))
    with pytest.raises(MalformedError):
        StateTree.build([good[:-1]])
    with pytest.raises(MalformedError):
        StateTree.build([good, slot(b"key", 2, leaf_hash(b"2"))])
    with pytest.raises(MalformedError):
        slot(b"key", 1, b"short")
    with pytest.raises(MalformedError):
        EMPTY.stage({b"key": (1, b"short")})
