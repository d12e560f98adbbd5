"""The log's Merkle tree, against the public vectors and RFC 6962's own definitions."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedError, ProofError
from registry.limits import MAX_LOG_SIZE
from registry.merkle import (
    EMPTY_ROOT,
    CompactRange,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.support.reference_tree import consistency_proof, inclusion_proof, tree_root

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "rfc6962.json").read_text()
)
LEAF_HASHES = [bytes.fromhex(value) for value in VECTORS["leaf_hashes"]]
ROOTS = [bytes.fromhex(value) for value in VECTORS["roots_by_size"]]


def leaf_hashes(count: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4)) for number in range(count)]


def hashes(path: list[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in path]


def test_leaf_hashes_of_the_reference_tree() -> None:
    """Leaf hashes equal the published ones."""
    assert LEAF_HASHES == [leaf_hash(bytes.fromhex(leaf)) for leaf in VECTORS["leaves"]]


@pytest.mark.parametrize("size", range(9))
def test_roots_of_the_reference_tree(size: int) -> None:
    """The compact range has the published root at every size of the reference tree."""
    assert ROOTS[size] == CompactRange.empty().extend(LEAF_HASHES[:size]).root()


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=str)
def test_inclusion_vectors(vector: dict[str, Any]) -> None:
    """Published audit paths are accepted."""
    index, size = vector["index"], vector["size"]
    verify_inclusion(index, size, LEAF_HASHES[index], hashes(vector["path"]), ROOTS[size])


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=str)
def test_consistency_vectors(vector: dict[str, Any]) -> None:
    """Published consistency proofs are accepted."""
    size1, size2 = vector["size1"], vector["size2"]
    verify_consistency(size1, size2, ROOTS[size1], ROOTS[size2], hashes(vector["path"]))


@given(st.integers(0, 70), st.lists(st.integers(0, 40), max_size=5))
def test_extending_in_steps_is_extending_at_once(first: int, more: list[int]) -> None:
    """How leaves are split into batches does not matter to the range they leave."""
    leaves = leaf_hashes(first + sum(more))
    grown = CompactRange.empty().extend(leaves[:first])
    for count in more:
        grown = grown.extend(leaves[grown.size : grown.size + count])
    assert CompactRange.empty().extend(leaves) == grown
    assert tree_root(leaves) == grown.root()


@given(st.data())
def test_inclusion_of_every_leaf(data: st.DataObject) -> None:
    """RFC 6962's PATH verifies at its own index and leaf, and at no other."""
    size = data.draw(st.integers(1, 130))
    index = data.draw(st.integers(0, size - 1))
    leaves = leaf_hashes(size)
    path, root = inclusion_proof(index, leaves), tree_root(leaves)
    verify_inclusion(index, size, leaves[index], path, root)
    other = data.draw(st.integers(0, size))
    if other != index:
        with pytest.raises(ProofError):
            verify_inclusion(other, size, leaves[index], path, root)
    with pytest.raises(ProofError):
        verify_inclusion(index, size, leaf_hash(b"other"), path, root)


@given(st.data())
def test_consistency_of_every_pair(data: st.DataObject) -> None:
    """RFC 6962's PROOF verifies between its own two roots, and not from another one."""
    size2 = data.draw(st.integers(1, 130))
    size1 = data.draw(st.integers(0, size2))
    leaves = leaf_hashes(size2)
    path = consistency_proof(size1, leaves)
    root1, root2 = tree_root(leaves[:size1]), tree_root(leaves)
    verify_consistency(size1, size2, root1, root2, path)
    with pytest.raises(ProofError):
        verify_consistency(size1, size2, sha256(root1).digest(), root2, path)
    if size1:
        with pytest.raises(ProofError):
            verify_consistency(size1, size2, root1, sha256(root2).digest(), path)


@given(st.data())
def test_a_changed_proof_is_refused(data: st.DataObject) -> None:
    """A step added, removed or changed in either kind of proof is noticed."""
    size2 = data.draw(st.integers(2, 130))
    size1 = data.draw(st.integers(1, size2 - 1))
    leaves = leaf_hashes(size2)
    root1, root2 = tree_root(leaves[:size1]), tree_root(leaves)
    audit = changed(data, inclusion_proof(size1, leaves))
    with pytest.raises(ProofError):
        verify_inclusion(size1, size2, leaves[size1], audit, root2)
    consistency = changed(data, consistency_proof(size1, leaves))
    with pytest.raises(ProofError):
        verify_consistency(size1, size2, root1, root2, consistency)


def changed(data: st.DataObject, path: list[bytes]) -> list[bytes]:
    at = data.draw(st.integers(0, len(path) - 1))
    how = data.draw(st.sampled_from(["add", "remove", "change", "shorten"]))
    if how == "add":
        return [*path[:at], sha256(b"more").digest(), *path[at:]]
    if how == "remove":
        return path[:at] + path[at + 1 :]
    value = path[at][:-1] if how == "shorten" else sha256(path[at]).digest()
    return [*path[:at], value, *path[at + 1 :]]


@given(
    st.integers(-2, 2**64),
    st.integers(-2, 2**64),
    st.lists(st.binary(min_size=31, max_size=33) | st.just(EMPTY_ROOT), max_size=70),
)
def test_any_proof_is_answered(first: int, second: int, path: list[bytes]) -> None:
    """Whatever a peer sends as a proof of a leaf that is not there ends in a ProofError."""
    with pytest.raises(ProofError):
        verify_inclusion(first, second, leaf_hash(b"x"), path, leaf_hash(b"root"))
    with pytest.raises(ProofError):
        verify_consistency(first, second, leaf_hash(b"x"), leaf_hash(b"root"), path)


def test_an_empty_log_is_a_prefix_of_every_log() -> None:
    """Consistency with the empty log needs its root and no steps."""
    root = tree_root(leaf_hashes(5))
    verify_consistency(0, 5, EMPTY_ROOT, root, [])
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    with pytest.raises(ProofError):
        verify_consistency(0, 5, EMPTY_ROOT, root, [root])


@given(st.integers(0, 130))
def test_the_next_leaf_has_the_range_as_its_audit_path(size: int) -> None:
    """A leaf that ends its tree is proved by the range before it."""
    leaves = leaf_hashes(size + 1)
    path = CompactRange.empty().extend(leaves[:size]).next_audit_path()
    assert tuple(inclusion_proof(size, leaves)) == path


@pytest.mark.parametrize(
    ("size", "nodes"),
    [
        (-1, ()),
        (MAX_LOG_SIZE + 1, (EMPTY_ROOT,)),
        (1, ()),
        (2, (EMPTY_ROOT, EMPTY_ROOT)),
        (1, (b"",)),
    ],
)
def test_a_range_that_fits_no_log(size: int, nodes: tuple[bytes, ...]) -> None:
    """A range whose nodes do not fit its size cannot be made."""
    with pytest.raises(MalformedError):
        CompactRange(size, nodes)
