"""Records and standings made by hand, for what serves from a view."""

from __future__ import annotations

from registry.address import Address
from registry.batch import Record
from registry.checkpoint import Checkpoint
from registry.entry import Entry, state_key
from registry.kinds import Kind, Operation, Status
from registry.member import Member, member_key
from registry.merkle import CompactRange
from registry.registration import Registration
from registry.root import DAY
from registry.staleness import Staleness
from registry.state import State
from secondary.cursor import Position
from secondary.view import Standing, View

HOLDER_ID = bytes(range(16))
# 2026-11-23T17:46:40Z
REGISTERED_MS = 1_795_456_000_000
CHANGED_MS = REGISTERED_MS + 5000
NOW_S = REGISTERED_MS / 1000 + 60


def standing(serial: int = 7, size: int = 12, vouched_s: float = NOW_S) -> Standing:
    """A standing made up: nobody signed it, and its hashes are zeroes."""
    checkpoint = Checkpoint("smtpnic.example", size, bytes(32))
    state = State(3, bytes(32), serial)
    position = Position(checkpoint, state, CHANGED_MS, CompactRange.empty())
    return Standing(position, vouched_s, Staleness(14 * DAY))


def registration(status: Status = Status.NEW, host: str = "mail.example.org") -> Registration:
    """A registration of the holder HOLDER_ID."""
    return Registration(HOLDER_ID, host, host.partition(".")[2], status, REGISTERED_MS)


def put_registration(view: View, address: str, value: Registration, index: int = 5) -> None:
    """Puts a registration into a view, as its reader would."""
    key = Address.parse(address).packed
    put_entry(
        view, Entry(Kind.REGISTRATION, key, Operation.PUT, False, CHANGED_MS, value.encode()), index
    )


def put_member(view: View, name: str, member: Member | None) -> None:
    """Puts a mirror of the A record set into a view, or takes it away."""
    key = state_key(Kind.MEMBER, member_key(name))
    if member is None:
        view.remove(key)
        return
    payload = member.encode()
    put_entry(view, Entry(Kind.MEMBER, key[1:], Operation.PUT, False, CHANGED_MS, payload), 6)


def put_entry(view: View, entry: Entry, index: int) -> None:
    """Puts an entry into a view, as its reader would."""
    view.put(entry.state_key, entry.payload, Record(index, entry.encode()).encode())
