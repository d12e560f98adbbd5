"""How many registrations there are of what has a quota."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from primary.desk.book_file import BookFile
from primary.registering.quotas import Range
from primary.store.schema import contacts, standings
from registry.address import Address


class Counts:
    """Counts all but the registration of one address, which is to change."""

    def __init__(self, file: BookFile) -> None:
        self._file = file

    def registrable(self, domain: str, but: Address) -> int:
        """Registrations of a registrable domain, and of all below it that is not another's."""
        return self._count(but, standings.c.registrable == domain)

    def mailbox(self, mailbox: str, but: Address) -> int:
        """Registrations of the holders with this mailbox, in its canonical spelling."""
        holders = select(contacts.c.holder_id).where(contacts.c.mailbox == mailbox)
        return self._count(but, standings.c.holder_id.in_(holders))

    def network(self, network: Range, but: Address) -> int:
        """Registrations of a network."""
        return self._count(
            but,
            standings.c.address.between(network.first.packed, network.last.packed),
            func.length(standings.c.address) == len(network.first.packed),
        )

    def _count(self, but: Address, *conditions: Any) -> int:
        query = select(func.count()).select_from(standings).where(*conditions)
        with self._file.reading() as connection:
            return connection.scalar(query.where(standings.c.address != but.packed)) or 0
