"""What a serving role keeps in memory, and where in the log it stands.

The reader fills a view from etcd; DNS and WHOIS each bring their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from registry.staleness import Staleness
from secondary.cursor import Position


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a view stands, and the newest time at which the registry's keys vouched for it.

    `vouched_s` is in seconds since 1970: that of the position's state entry, or of a later
    freshness cosignature. `staleness` is how long it is served after that, by the board's roots
    and decisions at that position.
    """

    position: Position
    vouched_s: float
    staleness: Staleness


class View(Protocol):
    """A set of records in memory that follows the log.

    One thread at a time writes; any thread may read while it does. Within a batch a reader may
    see one record new and another old, but never a standing newer than its records.
    """

    @property
    def standing(self) -> Standing:
        """How far in the log the view is; RuntimeError before the first `advance`."""

    def __len__(self) -> int:
        """Number of records kept."""

    def agrees_with(self, other: Self) -> bool:
        """Whether both keep the same records."""

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

    def retire(self) -> None:
        """Says that another view serves from now on."""


class BulkLoad(Protocol):
    """Takes the place of `View.put` in a load: records by the page, and what is made of them."""

    def take(self, records: list[bytes]) -> None:
        """Puts these encoded Records into the view; MalformedError if one is none."""

    def buckets(self) -> dict[int, bytes]:
        """The buckets of the state tree that they make; MalformedError if two are of one key."""


@runtime_checkable
class BulkView(Protocol):
    """A view that has a faster way to be loaded."""

    def bulk_load(self) -> BulkLoad:
        """What loads it, while it is empty and nobody reads it."""
