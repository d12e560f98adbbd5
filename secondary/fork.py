"""Judges an upstream that says our log is no beginning of its own: fork, or falsehood.

A fork needs two signatures: the registry's under what we hold, and its signature under
something that cannot be of the same log. An upstream's word alone proves nothing.
"""

from __future__ import annotations

from registry.checkpoint import Checkpoint, CheckpointKeys, open_checkpoint
from registry.errors import ForkError, ForkProof, ProofError, SequenceError
from registry.fork import check_begins
from registry.merkle import CompactRange, verify_consistency
from registry.tiles import TileId, TileReader, compact_range, consistency_path
from secondary.upstream import ForkClaim, Upstream


class UpstreamTiles:
    """Reads single tiles from the upstream; a `TileReader`."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def read(self, tile: TileId) -> bytes:
        """The tile's hashes, as the upstream gives them."""
        return b"".join(self._upstream.read_tiles([tile]))


def judge(
    claim: ForkClaim,
    ours: bytes,
    position: CompactRange,
    verifier: CheckpointKeys,
    *,
    tiles: TileReader | None,
    upstream: TileReader,
) -> None:
    """Raise what the claim amounts to. `ours` is our checkpoint, `position` what it covers.

    `tiles` are our own, if all are here. ForkError: two signed checkpoints cannot be of one
    log. SequenceError: the upstream's log is shorter than ours, or it claims a fork without
    proof. SignatureError: its checkpoint is not the registry's.
    """
    theirs = open_checkpoint(claim.checkpoint, verifier)
    if theirs.size < position.size:
        _judge_shorter(theirs, claim, ours, position, tiles)
    if theirs.size == position.size:
        if theirs.root != position.root():
            raise ForkError(ours, claim.checkpoint)
    elif claim.root != position.root():
        proof = _beginning(position.size, claim.root, theirs, upstream)
        if proof is not None:
            raise ForkError(ours, claim.checkpoint, proof)
    raise SequenceError("the upstream claims a fork that its signed checkpoint does not show")


def _judge_shorter(
    theirs: Checkpoint,
    claim: ForkClaim,
    ours: bytes,
    position: CompactRange,
    tiles: TileReader | None,
) -> None:
    """A log that is shorter than ours: behind, or another one."""
    if tiles is not None:
        check_begins(theirs, claim.checkpoint, ours, position.size, tiles)
    raise SequenceError(
        f"the upstream's log ends at {theirs.size}, before ours; was it restored from a backup?"
    )


def _beginning(
    size: int, root: bytes, checkpoint: Checkpoint, upstream: TileReader
) -> ForkProof | None:
    """The upstream's proof that its signed log had this root at `size`; None if it has none."""
    try:
        path = consistency_path(size, checkpoint.size, upstream)
        verify_consistency(size, checkpoint.size, root, checkpoint.root, path)
    except ProofError:
        return None
    return ForkProof(root, tuple(path))


def check_extends(
    ours: bytes,
    position: CompactRange,
    theirs: bytes,
    upstream: TileReader,
    verifier: CheckpointKeys,
) -> None:
    """Check that the log of the checkpoint `theirs` goes on from `position`, by upstream's tiles.

    `ours` is the checkpoint of `position`. ForkError: it is signed, and of another log.
    SequenceError: it is shorter. ProofError, MalformedError: the upstream does not prove it.
    """
    checkpoint = open_checkpoint(theirs, verifier)
    if checkpoint.size < position.size:
        raise SequenceError(f"a log of {checkpoint.size} entries, after {position.size}")
    if position.size == 0 or _beginning(position.size, position.root(), checkpoint, upstream):
        return
    root = compact_range(position.size, upstream).root()
    if root != position.root():
        proof = _beginning(position.size, root, checkpoint, upstream)
        if proof is not None:
            raise ForkError(ours, theirs, proof)
    raise ProofError("the upstream does not prove that its log goes on from ours")
