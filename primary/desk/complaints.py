"""Complaints about a mail server: to its holder by letter, and counted for the board."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node.workers import Workers
from primary.desk.book import Book
from primary.registering.letters import Writer
from primary.registering.relaying import RelayCounter, RelayLimits
from registry.address import Address
from registry.contact import ContactValue
from registry.errors import Problem
from registry.kinds import ContactField

MAX_CHARACTERS: Final = 4000
_LINES: Final = frozenset("\n\t")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What somebody says about a mail server; `mailbox` is where the holder may answer, or empty.

    Problem "complaint": nothing is said, or too much; Problem "contact": no such mailbox can be.
    """

    address: Address
    text: str
    mailbox: str = ""

    def __post_init__(self) -> None:
        if not self.text or len(self.text) > MAX_CHARACTERS:
            raise Problem(
                "complaint", f"say what happened in 1 to {MAX_CHARACTERS} letters", "text"
            )
        if any(not (c.isprintable() or c in _LINES) for c in self.text):
            raise Problem("complaint", "must be lines of printable characters", "text")
        if self.mailbox:
            ContactValue(ContactField.EMAIL, self.mailbox, public=False)


class Complaints:
    """Takes complaints. For one event loop's thread."""

    def __init__(
        self,
        book: Book,
        clerk: Workers,
        writer: Writer,
        *,
        limits: RelayLimits,
        board: str,
        clock: Callable[[], int],
    ) -> None:
        """`board` is the board's mailbox, or empty; `clock` gives milliseconds since 1970."""
        self._book = book
        self._clerk = clerk
        self._writer = writer
        self._counter = RelayCounter(limits)
        self._board = board
        self._clock = clock

    async def take(self, complaint: Complaint, client: str) -> int:
        """Sends it on; how many there were about this holder's mail server so far.

        Problem "not_found": nobody has registered the address; Problem "quota": too many came.
        """
        address = complaint.address
        found = await self._clerk.run(self._book.registered.registration, address)
        if found is None:
            raise Problem("not_found", f"{address} is not registered", "address")
        holder_id, now_ms = found[1].holder_id, self._clock()
        if not self._counter.admit(client, holder_id, now_ms):
            raise Problem("quota", "too many complaints came lately; try again later", "")
        email = await self._clerk.run(self._book.registered.email, holder_id)
        count = await self._clerk.run(self._book.complaints.add, address, holder_id, now_ms)
        if email:
            letter = self._writer.complaint(email, str(address), complaint.text, complaint.mailbox)
            await self._clerk.run(self._book.letters.queue, letter, now_ms)
        if self._board:
            note = self._writer.complaint_count(self._board, str(address), count)
            await self._clerk.run(self._book.letters.queue, note, now_ms)
        return count
