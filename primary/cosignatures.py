"""The cosignatures of mirrors, and the published checkpoint that carries them.

Each freshness note begins a round: all mirrors that are caught up cosign that very checkpoint.
What is published is the round at hand, or the one before while that one has more cosignatures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from registry.checkpoint import Checkpoint
from registry.cosigning import Cosigned, with_signatures
from registry.limits import MAX_NOTE_SIGNATURES
from registry.note import NoteSignature

# Beside the log's own and the freshness key's.
MAX_COSIGNATURES: Final = MAX_NOTE_SIGNATURES - 2


@dataclass(slots=True)
class _Round:
    """A checkpoint with its freshness, and who cosigned it since."""

    note: bytes
    checkpoint: Checkpoint
    signatures: dict[str, NoteSignature] = field(default_factory=dict)

    def published(self) -> bytes:
        return with_signatures(self.note, self.signatures.values()) if self.note else b""


@dataclass(frozen=True, slots=True)
class Vouched:
    """How much of the log a mirror last cosigned; times in seconds since 1970."""

    size: int
    time_s: int
    reported_s: float


class Cosignatures:
    """Takes verified cosignatures; for the event loop's thread only."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970."""
        self._clock = clock
        self._current: _Round | None = None
        self._before: _Round | None = None
        self._published = b""
        # By the node's name.
        self.vouched: dict[str, Vouched] = {}

    @property
    def published(self) -> bytes:
        """The newest checkpoint with cosignatures; empty before the first freshness note."""
        return self._published

    def begin(self, note: bytes, checkpoint: Checkpoint) -> None:
        """Begin a round with a freshness note; what was cosigned of the same log so far counts."""
        current = _Round(note, checkpoint)
        if self._current is not None and self._current.checkpoint == checkpoint:
            current.signatures = self._current.signatures
        else:
            self._before = self._current
        self._current = current
        self._publish()

    def add(self, node: str, cosigned: Cosigned) -> None:
        """Take what a node cosigned."""
        self.vouched[node] = Vouched(cosigned.checkpoint.size, cosigned.time_s, self._clock())
        for one in (self._current, self._before):
            if one is not None and one.checkpoint == cosigned.checkpoint:
                room = len(one.signatures) < MAX_COSIGNATURES or node in one.signatures
                if room:
                    one.signatures[node] = cosigned.signature
        self._publish()

    def _publish(self) -> None:
        current, before = self._current, self._before
        if current is None:
            return
        chosen = current
        if before is not None and len(before.signatures) > len(current.signatures):
            chosen = before
        self._published = chosen.published()
