"""What the register has already: holders, how they are reached, and mail servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select

from primary.desk.book_file import BookFile
from primary.store.reader import Reader
from primary.store.schema import accounts, contacts, standings
from registry.address import Address
from registry.contact import ContactValue
from registry.entry import Entry
from registry.kinds import ContactField, Kind
from registry.registration import Registration

# How many are read at most, where there may be any number.
_READ_STEP: Final = 500


class Registered:
    """Reads what the log has made of applications."""

    def __init__(self, file: BookFile) -> None:
        self._file = file
        self._reader = Reader(file.database)

    def key_hash(self, holder_id: bytes) -> bytes | None:
        """The hash of a live holder's management key."""
        query = select(accounts.c.management_key_hash).where(accounts.c.holder_id == holder_id)
        with self._file.reading() as connection:
            found: bytes | None = connection.scalar(query)
        return found

    def contact(self, holder_id: bytes) -> tuple[ContactValue, ...]:
        """The whole contact of a live holder, what is private included."""
        query = select(contacts.c.field, contacts.c.value, contacts.c.public)
        with self._file.reading() as connection:
            rows = connection.execute(query.where(contacts.c.holder_id == holder_id)).all()
        return tuple(ContactValue(ContactField(row[0]), row[1], row[2]) for row in rows)

    def email(self, holder_id: bytes) -> str:
        """Where a live holder is reached; empty if there is no such holder."""
        query = select(contacts.c.value).where(
            contacts.c.holder_id == holder_id, contacts.c.field == int(ContactField.EMAIL)
        )
        with self._file.reading() as connection:
            return connection.scalar(query) or ""

    def registration(self, address: Address) -> tuple[int, Registration] | None:
        """The version and record of a live registration."""
        record = self._reader.get(Kind.REGISTRATION, address.packed)
        if record is None:
            return None
        return record.index, Registration.decode(Entry.decode(record.entry).payload)

    def registrations(
        self, addresses: Sequence[Address]
    ) -> dict[Address, tuple[int, Registration]]:
        """The versions and records of those that are live."""
        records = self._reader.get_many(Kind.REGISTRATION, [each.packed for each in addresses])
        entries = [(record.index, Entry.decode(record.entry)) for record in records]
        return {
            Address(entry.key): (index, Registration.decode(entry.payload))
            for index, entry in entries
        }

    def has_domain(self, holder_id: bytes, domain: str) -> bool:
        """Whether the holder has a mail server of this domain.

        Of what was registered without proofs, which has no standing, the first 500 are looked at.
        """
        query = select(standings.c.holder_id).where(standings.c.domain == domain).distinct()
        with self._file.reading() as connection:
            if holder_id in connection.scalars(query.limit(_READ_STEP)):
                return True
        records = self._reader.list_registrations(None, _READ_STEP, holder_id)
        found = (Registration.decode(Entry.decode(record.entry).payload) for record in records)
        return any(registration.domain == domain for registration in found)

    def number(self) -> int:
        """How many mail servers are registered."""
        return self._reader.statistics().registrations
