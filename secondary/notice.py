"""What the readers of a replica should know of it, with what proves it: nobody's word counts here.

The follower writes a notice beside the replica; readers verify it and judge for themselves.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from registry.checkpoint import CheckpointKeys, open_checkpoint
from registry.errors import VerificationError
from registry.fork import ForkEvidence
from registry.messages import parse
from registry.wire.v1 import log_pb2


class Condition(Enum):
    """What a view is worth, beside what is in it."""

    GOOD = auto()
    # The log has forked: this is the last good state, and it is served.
    FORKED = auto()
    # Other mirrors hold more of the log, and have for too long.
    BEHIND = auto()
    # The registry's keys have vouched for nothing for longer than the board allows.
    STALE = auto()


@dataclass(frozen=True, slots=True)
class Notice:
    """Evidence of a fork, and a checkpoint that the replica lacks; either may be empty."""

    fork: bytes = b""
    ahead: bytes = b""

    def encode(self) -> bytes:
        """Its bytes; empty if there is nothing to know."""
        return log_pb2.Notice(fork=self.fork, ahead=self.ahead).SerializeToString()

    @classmethod
    def decode(cls, data: bytes) -> Notice:
        """The notice in these bytes; MalformedError if they hold none."""
        message = parse(log_pb2.Notice, data)
        return cls(message.fork, message.ahead)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a notice proves: that the log forked, and a size of the log that was signed.

    `answers_until_s` is what a decision in a file proves: how far staleness was extended.
    """

    is_forked: bool = False
    size: int = 0
    answers_until_s: int = 0

    def condition(self, size: int) -> Condition:
        """What a view of a log of `size` is worth."""
        if self.is_forked:
            return Condition.FORKED
        return Condition.BEHIND if size < self.size else Condition.GOOD


NOTHING: Final = Knowledge()


def learn(data: bytes, keys: CheckpointKeys) -> Knowledge:
    """What a notice proves; VerificationError if it is none. What does not hold is as if absent."""
    notice = Notice.decode(data)
    is_forked, size = False, 0
    if notice.fork:
        with suppress(VerificationError):
            ForkEvidence.decode(notice.fork).verify(keys)
            is_forked = True
    if notice.ahead:
        with suppress(VerificationError):
            size = open_checkpoint(notice.ahead, keys).size
    return Knowledge(is_forked, size)
