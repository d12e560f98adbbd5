"""The tree above the state's buckets: 65,536 leaves, sixteen levels of hashes over them.

Two implementations of one interface give the same hashes: a compiled one, where it could be
built, and pure Python. A node's position is counted from the root, which is 1; below n stand
2n and 2n + 1, so bucket n is at 65,536 + n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.util import find_spec
from typing import Any, Final, Protocol

from registry.merkle import LEAF_PREFIX, NODE_PREFIX

LEVELS: Final = 16
BUCKETS: Final = 1 << LEVELS


class Nodes(Protocol):
    """The nodes that a change of buckets changes, for `apply` of the tree that made it."""

    @property
    def root(self) -> bytes:
        """The root then."""


class BucketTree(Protocol):
    """All the hashes; at first, those of empty buckets. For one thread at a time."""

    def node(self, position: int) -> bytes:
        """The hash at a position. IndexError where there is none."""

    def stage(self, buckets: Mapping[int, bytes]) -> Any:
        """The `Nodes` that change with these buckets by number; the tree stays as it is."""

    def apply(self, nodes: Any, /) -> None:
        """Takes the nodes over, which were staged since the last time."""


def new_bucket_tree() -> BucketTree:
    """The compiled one where it was built: a sixth of the cost of a change."""
    if find_spec("registry.compiled.bucket_tree") is None:
        return PureBucketTree()
    from registry.compiled.bucket_tree import CompiledBucketTree  # noqa: PLC0415 - if it is there

    return CompiledBucketTree()


@dataclass(frozen=True, slots=True)
class PureNodes:
    """The nodes that change, by position."""

    root: bytes
    by_position: dict[int, bytes] = field(repr=False)


class PureBucketTree:
    """The hashes as Python's own objects, one list for all."""

    __slots__ = ("_nodes",)

    def __init__(self) -> None:
        levels = []
        node = sha256(LEAF_PREFIX).digest()
        for level in range(LEVELS + 1):
            levels.append([node] * (BUCKETS >> level))
            node = sha256(NODE_PREFIX + node + node).digest()
        self._nodes: list[bytes] = [b""]
        for nodes in reversed(levels):
            self._nodes += nodes

    def node(self, position: int) -> bytes:
        """The hash at a position."""
        if not 0 < position < 2 * BUCKETS:
            raise IndexError("no such node")
        return self._nodes[position]

    def stage(self, buckets: Mapping[int, bytes]) -> PureNodes:
        """The nodes that change with these buckets."""
        nodes = self._nodes
        changed = {
            BUCKETS + number: sha256(LEAF_PREFIX + bucket).digest()
            for number, bucket in buckets.items()
        }
        by_position = dict(changed)
        for _ in range(LEVELS):
            parents: dict[int, bytes] = {}
            for position, node in changed.items():
                sibling = position ^ 1
                if sibling not in changed:
                    other = nodes[sibling]
                    pair = other + node if position & 1 else node + other
                elif position & 1:
                    pair = changed[sibling] + node
                else:
                    # Two changed children make one parent: the right one makes it.
                    continue
                parents[position >> 1] = sha256(NODE_PREFIX + pair).digest()
            changed = parents
            by_position |= parents
        return PureNodes(by_position.get(1, nodes[1]), by_position)

    def apply(self, nodes: PureNodes) -> None:
        """Takes the nodes over."""
        own = self._nodes
        for position, node in nodes.by_position.items():
            own[position] = node
