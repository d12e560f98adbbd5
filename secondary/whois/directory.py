"""All that WHOIS tells, in memory: records and public openings by state key, addresses by host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self

from registry.address import Address
from registry.batch import Record, outline_record
from registry.contact import Commitment, Opening, check_opening
from registry.entry import Entry, state_key
from registry.errors import VerificationError
from registry.holder import Holder
from registry.kinds import Kind
from registry.registration import Registration, outline_host
from secondary.view import Standing

_REGISTRATION: Final = int(Kind.REGISTRATION)
_NONE: Final = frozenset[bytes]()


@dataclass(frozen=True, slots=True)
class Listing:
    """One registration as WHOIS shows it; times in milliseconds since 1970."""

    address: Address
    registration: Registration
    updated_ms: int
    index: int
    contact: tuple[Opening, ...]


class Directory:
    """A view that keeps what was stored as it was, and decodes what is asked for."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes] = {}
        self._openings: dict[bytes, bytes] = {}
        # Nearly every host has one address: its state key alone, which `_records` holds anyway.
        self._hosts: dict[str, bytes | set[bytes]] = {}
        self._standing: Standing | None = None

    @property
    def standing(self) -> Standing:
        """How far in the log the directory is; RuntimeError before the first `advance`."""
        if self._standing is None:
            raise RuntimeError("the directory was not loaded")
        return self._standing

    def __len__(self) -> int:
        """Number of records, holders included."""
        return len(self._records)

    def find(self, address: Address) -> Listing | None:
        """The registration of `address`; None when there is none."""
        stored = self._records.get(state_key(_REGISTRATION, address.packed))
        if stored is None:
            return None
        record = Record.decode(stored)
        entry = Entry.decode(record.entry)
        registration = Registration.decode(entry.payload)
        contact = tuple(self._contact(registration.holder_id))
        return Listing(address, registration, entry.time_ms, record.index, contact)

    def count(self, host: str) -> int:
        """How many addresses are registered for a canonical host name."""
        found = self._hosts.get(host, _NONE)
        return len(found) if isinstance(found, set | frozenset) else 1

    def addresses(self, host: str, limit: int) -> tuple[Address, ...]:
        """At most `limit` of the addresses registered for a canonical host name, in order."""
        found = self._hosts.get(host, _NONE)
        # One call without bytecode in between, so that no other thread changes the set meanwhile.
        keys = [found] if isinstance(found, bytes) else list(islice(found, limit))
        return tuple(sorted(Address(key[1:]) for key in keys))

    def agrees_with(self, other: Self) -> bool:
        """Whether both hold the same records and public openings."""
        return self._records == other._records and self._openings == other._openings

    def put(self, state_key: bytes, payload: bytes, record: bytes) -> None:
        """Takes a record of any kind; a registration is found by its host, too."""
        if state_key[0] == _REGISTRATION:
            host = outline_host(payload)
            before = self._host(state_key)
            if before != host:
                self._forget_host(before, state_key)
                self._learn_host(host, state_key)
        self._records[state_key] = record

    def remove(self, state_key: bytes) -> None:
        """Forgets a record."""
        if state_key[0] == _REGISTRATION:
            self._forget_host(self._host(state_key), state_key)
        self._records.pop(state_key, None)

    def put_openings(self, state_key: bytes, record: bytes) -> None:
        """Takes the public openings of a holder."""
        self._openings[state_key] = record

    def remove_openings(self, state_key: bytes) -> None:
        """Forgets the public openings of a holder."""
        self._openings.pop(state_key, None)

    def advance(self, standing: Standing) -> None:
        """What answers state as their origin rises with this, after the records."""
        self._standing = standing

    def retire(self) -> None:
        """Nobody keeps it for longer than a question."""

    def _host(self, state_key: bytes) -> str | None:
        """The host by which a registration is found now."""
        record = self._records.get(state_key)
        if record is None:
            return None
        return outline_host(outline_record(record)[3])

    def _learn_host(self, host: str, state_key: bytes) -> None:
        found = self._hosts.get(host)
        if found is None:
            self._hosts[host] = state_key
        elif isinstance(found, bytes):
            self._hosts[host] = {found, state_key}
        else:
            found.add(state_key)

    def _forget_host(self, host: str | None, state_key: bytes) -> None:
        if host is None:
            return
        found = self._hosts[host]
        if isinstance(found, set) and len(found) > 1:
            found.discard(state_key)
        else:
            del self._hosts[host]

    def _contact(self, holder_id: bytes) -> Iterator[Opening]:
        """The openings that are public and open what the log committed to."""
        key = state_key(Kind.HOLDER, holder_id)
        stored, openings = self._records.get(key), self._openings.get(key)
        if stored is None or openings is None:
            return
        holder = Holder.decode(Entry.decode(Record.decode(stored).entry).payload)
        commitments = {commitment.field: commitment for commitment in holder.commitments}
        for opening in Record.decode(openings).openings:
            commitment = commitments.get(opening.field)
            if commitment is not None and _opens(commitment, opening):
                yield opening


def _opens(commitment: Commitment, opening: Opening) -> bool:
    try:
        check_opening(commitment, opening)
    except VerificationError:
        return False
    return True
