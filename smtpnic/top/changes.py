"""The newest entries of a log, for people. Who wants them proved asks `smtpnic verify`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from registry.entry import Entry
from registry.errors import RegistryError
from registry.kinds import Kind, Operation


@dataclass(frozen=True, slots=True)
class ChangeView:
    """One entry."""

    index: int
    time_ms: int
    what: str


def describe(index: int, data: bytes) -> ChangeView | None:
    """An entry in words; None for those that close a batch, or are none."""
    try:
        entry = Entry.decode(data)
    except RegistryError:
        return None
    if entry.kind == Kind.STATE:
        return None
    kind = Kind(entry.kind).name.lower() if entry.kind in list(Kind) else f"kind {entry.kind}"
    is_put = entry.operation is Operation.PUT
    if entry.kind == Kind.REMOVED_KEY:
        verb = "removed" if is_put else "may follow again"
        return ChangeView(index, entry.time_ms, f"a node's key {_key(entry)} {verb}")
    verb = "put" if is_put else "removed"
    return ChangeView(index, entry.time_ms, f"{kind} {_key(entry)} {verb}")


def newest(entries: Iterable[tuple[int, bytes]], count: int) -> list[ChangeView]:
    """The last ones that change anything, the newest first."""
    views = [view for index, data in entries if (view := describe(index, data)) is not None]
    return views[::-1][:count]


def _key(entry: Entry) -> str:
    if entry.kind == Kind.REGISTRATION:
        return str(ipaddress.ip_address(entry.key))
    if entry.kind == Kind.ROOT:
        return str(int.from_bytes(entry.key))
    text = entry.key.decode("ascii", "replace") if entry.kind == Kind.MEMBER else entry.key.hex()
    return text[:32]
