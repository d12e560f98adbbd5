"""The log's Merkle tree (RFC 6962, 2): compact ranges, and proofs verified.

Proofs are made from tiles, in `registry.tiles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from registry.errors import MalformedError, ProofError
from registry.limits import HASH_BYTES, MAX_LOG_SIZE, MAX_PROOF_HASHES

# Domain separation of leaves and inner nodes (RFC 6962, 2.1).
LEAF_PREFIX: Final = b"\x00"
NODE_PREFIX: Final = b"\x01"

EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of one entry as a leaf."""
    return sha256(LEAF_PREFIX + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node, from the hashes of its children."""
    return sha256(NODE_PREFIX + left + right).digest()


def fold_right(nodes: Sequence[bytes]) -> bytes:
    """The root of adjacent perfect subtrees, given the largest first; at least one."""
    root = nodes[-1]
    for node in reversed(nodes[:-1]):
        root = sha256(NODE_PREFIX + node + root).digest()
    return root


@dataclass(frozen=True, slots=True)
class CompactRange:
    """All that a log of `size` leaves leaves behind for whoever appends to it.

    `nodes` are the roots of its perfect subtrees, the largest first: one for each bit that is
    set in `size`. MalformedError where they do not fit the size.
    """

    size: int
    nodes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_LOG_SIZE:
            raise MalformedError(f"log size {self.size} is not within 0 and {MAX_LOG_SIZE}")
        if len(self.nodes) != self.size.bit_count():
            raise MalformedError(f"{len(self.nodes)} subtrees do not make {self.size} leaves")
        for node in self.nodes:
            _require_hash(node)

    @classmethod
    def empty(cls) -> CompactRange:
        """The range of a log without entries."""
        return cls(0, ())

    def root(self) -> bytes:
        """The root hash of the log at this size."""
        return fold_right(self.nodes) if self.nodes else EMPTY_ROOT

    def extend(self, leaf_hashes: Sequence[bytes]) -> CompactRange:
        """The range after these leaves were appended."""
        nodes = list(self.nodes)
        size = self.size
        for leaf in leaf_hashes:
            node = leaf
            carry = size
            while carry & 1:
                node = sha256(NODE_PREFIX + nodes.pop() + node).digest()
                carry >>= 1
            nodes.append(node)
            size += 1
        return CompactRange(size, tuple(nodes))

    def next_audit_path(self) -> tuple[bytes, ...]:
        """The audit path of the leaf appended next, in the tree which that leaf ends."""
        return self.nodes[::-1]


def verify_inclusion(
    index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes
) -> None:
    """Check that leaf hash `leaf` stands at `index` in the log of `size` with that root.

    RFC 9162, 2.1.3.2. ProofError otherwise.
    """
    _check_path(path)
    if not 0 <= index < size <= MAX_LOG_SIZE:
        raise ProofError(f"no leaf {index} in a log of {size}")
    node, position, last = leaf, index, size - 1
    for sibling in path:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise ProofError("the inclusion proof is too short")
    _match(node, root, f"leaf {index} is not in the log of {size} with this root")


def verify_consistency(
    size1: int, size2: int, root1: bytes, root2: bytes, path: Sequence[bytes]
) -> None:
    """Check that the log of `size1` with `root1` is a prefix of the one of `size2`.

    RFC 9162, 2.1.4.2. ProofError otherwise.
    """
    _check_path(path)
    if not 0 <= size1 <= size2 <= MAX_LOG_SIZE:
        raise ProofError(f"a log of {size1} is no prefix of a log of {size2}")
    if size1 in (0, size2):
        if path:
            raise ProofError("the consistency proof is too long")
        _match(root1, root2 if size1 else EMPTY_ROOT, f"not the root at size {size1}")
        return
    older, newer = _consistent_roots(size1, size2, root1, path)
    _match(older, root1, f"the proof does not lead to the root at size {size1}")
    _match(newer, root2, f"the proof does not lead to the root at size {size2}")


def _consistent_roots(
    size1: int, size2: int, root1: bytes, path: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """The roots at both sizes that follow from the path, 0 < size1 < size2."""
    # A perfect older tree is a node of the newer one, and is left out of the path.
    steps = list(path) if size1 & (size1 - 1) else [root1, *path]
    if not steps:
        raise ProofError("the consistency proof is too short")
    position, last = size1 - 1, size2 - 1
    while position & 1:
        position >>= 1
        last >>= 1
    older = newer = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            raise ProofError("the consistency proof is too long")
        if position & 1 or position == last:
            older = node_hash(sibling, older)
            newer = node_hash(sibling, newer)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            newer = node_hash(newer, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise ProofError("the consistency proof is too short")
    return older, newer


def _check_path(path: Sequence[bytes]) -> None:
    if len(path) > MAX_PROOF_HASHES:
        raise ProofError(f"a proof of {len(path)} hashes fits no log")
    for node in path:
        if len(node) != HASH_BYTES:
            raise ProofError(f"a hash of {len(node)} bytes in a proof")


def _require_hash(value: bytes) -> None:
    if len(value) != HASH_BYTES:
        raise MalformedError(f"a hash of {len(value)} bytes, not {HASH_BYTES}")


def _match(computed: bytes, expected: bytes, otherwise: str) -> None:
    if computed != expected:
        raise ProofError(otherwise)
