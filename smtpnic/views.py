"""What servers show of themselves and of the register, as plain values. Nothing is verified.

Times ending in `_ms` are milliseconds since 1970-01-01T00:00:00Z, 0 when there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from registry.contact import Opening
from registry.holder import Holder
from registry.registration import Registration
from registry.statistics import Age, Day, Totals

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RegistrationView:
    """A registered mail server. `version` is the log index of its newest entry."""

    address: str
    registration: Registration
    version: int
    updated_ms: int


@dataclass(frozen=True, slots=True)
class HolderView:
    """A holder, with the public part of the contact."""

    holder_id: bytes
    holder: Holder
    version: int
    updated_ms: int
    contact: tuple[Opening, ...]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list; `next_token` is empty on the last."""

    items: tuple[T, ...]
    next_token: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """That a change is on disk: the index of its entry, and a checkpoint that covers it."""

    index: int
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the primary counts."""

    log_size: int
    registrations: int
    holders: int
    zone_serial: int
    last_change_ms: int
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class History:
    """The same over time: `ages` with the youngest first, `days` with the oldest."""

    now: Statistics
    ipv4: Totals
    ipv6: Totals
    domains: int
    ages: tuple[Age, ...]
    days: tuple[Day, ...]


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """How a secondary says it is. `advice` and `out_of_rotation` are empty when all is well."""

    name: str
    version: str
    phase: str
    advice: str
    size: int
    checkpoint: bytes
    checkpoint_ms: int
    freshness_ms: int
    zone_serial: int
    live_keys: int
    upstream: str
    upstream_size: int
    out_of_rotation: str


@dataclass(frozen=True, slots=True)
class FindingView:
    """One thing that the registry asks: held, failed or unknown, and what to do about it."""

    condition: str
    verdict: str
    found: str
    expected: str
    mend: str
    note: str


@dataclass(frozen=True, slots=True)
class ApplicationView:
    """How an application stands; `receipt` is there once it is granted."""

    application_id: bytes
    holder_id: bytes
    address: str
    host: str
    domain: str
    expires_ms: int
    address_token: str
    findings: tuple[FindingView, ...]
    receipt: Receipt | None
