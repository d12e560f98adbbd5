"""The tree above the buckets: the compiled one beside the one in pure Python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.bucket_tree import BUCKETS, BucketTree, PureBucketTree

compiled = pytest.importorskip("registry.compiled.bucket_tree")

# Neighbours are common, and so are both ends.
numbers = st.integers(0, BUCKETS - 1) | st.integers(0, 8) | st.integers(BUCKETS - 8, BUCKETS - 1)
changes = st.dictionaries(numbers, st.binary(max_size=200), max_size=70)


def nodes(tree: BucketTree) -> list[bytes]:
    """Every node, the root first."""
    return [tree.node(position) for position in range(1, 2 * BUCKETS)]


@pytest.fixture(scope="module")
def trees() -> tuple[BucketTree, BucketTree]:
    """One of each, which the examples of a test change further and further."""
    return PureBucketTree(), compiled.CompiledBucketTree()


def test_empty_trees_are_alike(trees: tuple[BucketTree, BucketTree]) -> None:
    """Every node of both."""
    assert nodes(PureBucketTree()) == nodes(compiled.CompiledBucketTree())


@given(st.lists(changes, max_size=3))
def test_the_same_changes_lead_to_the_same_hashes(
    trees: tuple[BucketTree, BucketTree], steps: list[dict[int, bytes]]
) -> None:
    """On the way to each changed bucket, and beside it; and staging alone changes nothing."""
    pure, fast = trees
    for step in steps:
        before = fast.node(1)
        staged, staged_fast = pure.stage(step), fast.stage(step)
        assert staged.root == staged_fast.root
        assert before == fast.node(1)
        pure.apply(staged)
        fast.apply(staged_fast)
        way = {(BUCKETS + number) >> level for number in step for level in range(17)}
        around = {1, *way, *(position ^ 1 for position in way if position > 1)}
        assert [pure.node(at) for at in around] == [fast.node(at) for at in around]


def test_all_buckets_at_once() -> None:
    """As when a table is loaded."""
    pure, fast = PureBucketTree(), compiled.CompiledBucketTree()
    buckets = {number: number.to_bytes(3) * 24 for number in range(BUCKETS)}
    pure.apply(pure.stage(buckets))
    fast.apply(fast.stage(buckets))
    assert nodes(pure) == nodes(fast)


@pytest.mark.parametrize("make", [PureBucketTree, compiled.CompiledBucketTree])
@pytest.mark.parametrize("position", [0, 2 * BUCKETS])
def test_there_are_no_other_nodes(make: type[BucketTree], position: int) -> None:
    """IndexError."""
    with pytest.raises(IndexError):
        make().node(position)
