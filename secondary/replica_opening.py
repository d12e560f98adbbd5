"""How a follower comes to a replica: the one that is served, or a new one."""

from __future__ import annotations

from dataclasses import dataclass

from node.logging import get_logger
from registry.board import Board
from registry.errors import ForkError, SequenceError
from registry.merkle import CompactRange
from registry.replay import VerifiedBatch
from registry.state_tree import StateTree
from secondary.etcd import EtcdStore
from secondary.generations import Claim, Generations, Served
from secondary.replica import Replica, ReplicaDamagedError, Stored, read_replica
from secondary.roots import Roots

_log = get_logger("replica")


@dataclass(frozen=True, slots=True)
class Pending:
    """A generation that is not served yet: once it is at `goal` entries it takes its place."""

    claim: Claim
    served: Served
    goal: int

    def is_due(self, size: int) -> bool:
        """Whether a replica of this size can be served."""
        return size > 0 and size >= self.goal


@dataclass(frozen=True, slots=True)
class Opened:
    """A replica to follow with.

    `pending`: it is not served yet. `before` is what a damaged replica held, by its cursor: the
    log that is followed has to go on from there.
    """

    replica: Replica
    pending: Pending | None = None
    before: Stored | None = None

    @property
    def must_extend(self) -> tuple[bytes, CompactRange]:
        """The checkpoint and the compact range that the log has to go on from."""
        replica, before = self.replica, self.before
        if before is not None and before.position.checkpoint.size > replica.size:
            return before.cursor.signed_state.checkpoint, before.position.compact_range
        return replica.checkpoint, replica.compact_range

    def check(self, verified: VerifiedBatch) -> None:
        """ForkError or SequenceError if a batch leads past what a damaged replica held."""
        if self.before is None:
            return
        held = self.before.position.checkpoint
        if verified.start < held.size < verified.size:
            raise SequenceError(f"no batch ends at {held.size}, where one ended before")
        if verified.size == held.size and verified.compact_range.root() != held.root:
            raise ForkError(self.before.cursor.signed_state.checkpoint, verified.checkpoint)


class ReplicaOpener:
    """Opens replicas."""

    def __init__(self, store: EtcdStore, generations: Generations, roots: Roots) -> None:
        self._store = store
        self._generations = generations
        self._roots = roots

    def open(self) -> Opened:
        """The replica that is served, verified record by record; an empty one where none is.

        A damaged one is left to its readers, who hold what they have, and one is made anew.
        One of an older format is left likewise. FenceLost: another follower was faster; open again.
        OutdatedError: a newer version has made it.
        """
        served = self._generations.served()
        if served.generation is None or served.generation.is_outdated:
            return self._empty(served, None)
        try:
            stored, tree, board = read_replica(self._store, served.generation, self._roots)
        except ReplicaDamagedError as error:
            _log.error(
                "replica.damaged",
                generation=served.generation.number,
                reason=str(error),
                advice="a new generation is made; find out who else writes to this etcd",
            )
            return self._empty(served, error.stored)
        _log.info("replica.opened", generation=served.generation.number, records=tree.live)
        return Opened(
            Replica(
                self._store,
                served.generation,
                served.guard,
                self._roots,
                tree=tree,
                stored=stored,
                board=board,
            )
        )

    def _empty(self, served: Served, before: Stored | None) -> Opened:
        claim = self._generations.claim()
        replica = Replica(
            self._store,
            claim.generation,
            claim.guard,
            self._roots,
            tree=StateTree(),
            stored=None,
            board=Board.begin(self._roots.chain),
        )
        goal = before.position.checkpoint.size if before else 0
        return Opened(replica, Pending(claim, served, goal), before)
