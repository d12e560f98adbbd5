"""RFC 6962's recursive definitions of roots and proofs, word for word and slow."""

from __future__ import annotations

from collections.abc import Sequence

from registry.merkle import EMPTY_ROOT, node_hash


def tree_root(leaf_hashes: Sequence[bytes]) -> bytes:
    """MTH(D[n]), RFC 6962, 2.1."""
    if not leaf_hashes:
        return EMPTY_ROOT
    if len(leaf_hashes) == 1:
        return leaf_hashes[0]
    split = _split(len(leaf_hashes))
    return node_hash(tree_root(leaf_hashes[:split]), tree_root(leaf_hashes[split:]))


def inclusion_proof(index: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]), RFC 6962, 2.1.1."""
    if len(leaf_hashes) == 1:
        return []
    split = _split(len(leaf_hashes))
    left, right = leaf_hashes[:split], leaf_hashes[split:]
    if index < split:
        return [*inclusion_proof(index, left), tree_root(right)]
    return [*inclusion_proof(index - split, right), tree_root(left)]


def consistency_proof(size: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n]), RFC 6962, 2.1.2; empty for m = 0."""
    return _subproof(size, leaf_hashes, whole=True) if size else []


def _subproof(size: int, leaf_hashes: Sequence[bytes], *, whole: bool) -> list[bytes]:
    if size == len(leaf_hashes):
        return [] if whole else [tree_root(leaf_hashes)]
    split = _split(len(leaf_hashes))
    left, right = leaf_hashes[:split], leaf_hashes[split:]
    if size <= split:
        return [*_subproof(size, left, whole=whole), tree_root(right)]
    return [*_subproof(size - split, right, whole=False), tree_root(left)]


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)
