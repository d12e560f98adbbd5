"""What a serving role keeps in memory, and where it stands in the log.

The reader fills a view from etcd; DNS and WHOIS each bring their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from registry.checkpoint import Checkpoint
from registry.state import State


@dataclass(frozen=True, slots=True)
class Standing:
    """The position of a view: a verified checkpoint, its state, and when the registry vouched.

    `vouched_s` is the newest time, in seconds since 1970, at which the registry's keys stood by
    this checkpoint: that of its state entry, or of a later freshness cosignature.
    """

    checkpoint: Checkpoint
    state: State
    vouched_s: float


class View(Protocol):
    """A set of records in memory that follows the log.

    One thread at a time writes; any thread may read while it does. Within a batch a reader may
    see one record new and another old, but never a standing newer than its records.
    """

    def put(self, state_key: bytes, payload: bytes, record: bytes) -> None:
        """Takes a key's newest entry: its payload, and the encoded Record that it stands in."""

    def put_openings(self, state_key: bytes, record: bytes) -> None:
        """Takes a key's public openings, in an encoded Record, in place of those before."""

    def remove(self, state_key: bytes) -> None:
        """Forgets a key's entry; a key that is not there is no error."""

    def remove_openings(self, state_key: bytes) -> None:
        """Forgets a key's public openings; a key that has none is no error."""

    def advance(self, standing: Standing) -> None:
        """Says that all records up to `standing` are in."""
