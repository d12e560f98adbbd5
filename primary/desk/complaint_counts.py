"""How many complaints there were, in the book; never what they said."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from primary.desk.book_file import BookFile
from primary.store.schema import complaints
from registry.address import Address


class ComplaintCounts:
    """Counts by mail server and holder."""

    def __init__(self, file: BookFile) -> None:
        self._file = file

    def add(self, address: Address, holder_id: bytes, now_ms: int) -> int:
        """One more about this mail server of this holder; how many by now."""
        same = (complaints.c.address == address.packed, complaints.c.holder_id == holder_id)
        with self._file.writing() as connection:
            number = (connection.scalar(select(complaints.c.number).where(*same)) or 0) + 1
            connection.execute(delete(complaints).where(*same))
            row = {
                "address": address.packed,
                "holder_id": holder_id,
                "number": number,
                "last_ms": now_ms,
            }
            connection.execute(insert(complaints), row)
        return number
