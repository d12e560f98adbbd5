"""What the replica's store says and is asked in: values, comparisons, errors.

The errors are named for what happened (hence N818), and tell whether trying again helps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class EtcdError(Exception):
    """etcd did not do what was asked."""


class EtcdUnavailable(EtcdError):  # noqa: N818
    """etcd cannot be reached, has no leader, or did not answer in time; try again.

    What was asked may have happened all the same.
    """


class EtcdFull(EtcdError):  # noqa: N818
    """etcd's database has reached its quota: only reads and deletes are taken.

    Somebody must compact and defragment it, or raise the quota, and disarm the alarm.
    """


class EtcdCompacted(EtcdError):  # noqa: N818
    """The revision can no longer be read or watched from, or never existed; load again."""


class EtcdRefused(EtcdError):  # noqa: N818
    """etcd will not take this request, however often: too large, or not permitted."""


class FenceLost(EtcdError):  # noqa: N818
    """A comparison did not hold: another writer was there first. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class EtcdTls:
    """Files for TLS: the authority, and a client certificate with its key if etcd asks for one."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


class Reading(NamedTuple):
    """One key at one revision; value None and mod_revision 0 if it is absent."""

    revision: int
    value: bytes | None
    mod_revision: int

    def meets(self, comparison: Comparison) -> bool:
        """Whether a comparison of this key would hold."""
        if isinstance(comparison, Holds):
            return self.value == comparison.value
        return self.mod_revision == comparison.mod_revision


class Event(NamedTuple):
    """A change of one key: its new value, or None if it was deleted."""

    key: bytes
    value: bytes | None


class Revision(NamedTuple):
    """All that one transaction changed. Without events: nothing changed up to `number`."""

    number: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Holds while `key` was last changed at `mod_revision`; 0: while it does not exist."""

    key: bytes
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Holds:
    """Holds while the value of `key` is `value`."""

    key: bytes
    value: bytes


Comparison = Unchanged | Holds
Put = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class EtcdStatus:
    """What an etcd member says of itself; `alarms` of the whole cluster, by name."""

    version: str
    revision: int
    cluster_id: int
    db_bytes: int
    db_bytes_in_use: int
    has_leader: bool
    alarms: tuple[str, ...]
