"""Where the log stands, as everybody but the sequencer sees it."""

from __future__ import annotations

from dataclasses import dataclass

from registry.merkle import CompactRange
from registry.state import State


@dataclass(frozen=True, slots=True)
class Head:
    """The log after a batch: committed, signed, and both on disk.

    `committed_ms` is the time of the batch, counted from 1970-01-01T00:00:00Z.
    """

    size: int
    root: bytes
    checkpoint: bytes
    state: State
    compact_range: CompactRange
    committed_ms: int
