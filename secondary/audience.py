"""Who hears what a follower has stored; all of it is called from the follower's thread."""

from __future__ import annotations

from collections.abc import Sequence

from registry.batch import Batch
from registry.checkpoint import Checkpoint
from registry.errors import ForkError
from registry.replay import VerifiedBatch
from secondary.replica import Replica


class Audience:
    """Listens, and does nothing about it; what derives from it may not wait either."""

    def opened(self, replica: Replica) -> None:
        """Another replica is followed with from now on, which may hold nothing yet."""

    def stored(self, batch: Batch, verified: VerifiedBatch) -> None:
        """The batch was verified and is stored."""

    def fresh(self, note: bytes, checkpoint: Checkpoint) -> None:
        """The checkpoint is all that is stored, and was the newest; the note shows it signed."""

    def forked(self, fork: ForkError) -> None:
        """The log has forked, and following has ended."""


class Audiences(Audience):
    """Several, each told in turn."""

    def __init__(self, each: Sequence[Audience]) -> None:
        self._each = each

    def opened(self, replica: Replica) -> None:
        for one in self._each:
            one.opened(replica)

    def stored(self, batch: Batch, verified: VerifiedBatch) -> None:
        for one in self._each:
            one.stored(batch, verified)

    def fresh(self, note: bytes, checkpoint: Checkpoint) -> None:
        for one in self._each:
            one.fresh(note, checkpoint)

    def forked(self, fork: ForkError) -> None:
        for one in self._each:
            one.forked(fork)
