"""Letters in the book, until they are sent or given up."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from primary.desk.book_file import BookFile
from primary.registering.letters import Letter
from primary.store.schema import letters


@dataclass(frozen=True, slots=True)
class WaitingLetter:
    """A letter in the book, and how often it was tried."""

    letter_id: int
    letter: Letter
    created_ms: int
    attempts: int


class Letters:
    """Those that wait to be sent."""

    def __init__(self, file: BookFile) -> None:
        self._file = file

    def queue(self, letter: Letter, now_ms: int) -> None:
        """Keeps a letter until it is sent."""
        with self._file.writing() as connection:
            queue_letter(connection, letter, now_ms)

    def due(self, now_ms: int, limit: int) -> list[WaitingLetter]:
        """Letters to be sent now, the oldest first."""
        query = select(letters).where(letters.c.due_ms <= now_ms).order_by(letters.c.letter_id)
        with self._file.reading() as connection:
            return [
                WaitingLetter(
                    row.letter_id,
                    Letter(row.recipient, row.subject, row.body),
                    row.created_ms,
                    row.attempts,
                )
                for row in connection.execute(query.limit(limit))
            ]

    def forget(self, letter_id: int) -> None:
        """The letter was sent, or given up."""
        with self._file.writing(erases=True) as connection:
            connection.execute(delete(letters).where(letters.c.letter_id == letter_id))

    def postpone(self, letter_id: int, due_ms: int) -> None:
        """The letter was tried, and is tried again then."""
        changed = update(letters).where(letters.c.letter_id == letter_id)
        with self._file.writing() as connection:
            connection.execute(changed.values(due_ms=due_ms, attempts=letters.c.attempts + 1))


def queue_letter(connection: Connection, letter: Letter, now_ms: int) -> None:
    """Keeps a letter, in somebody's transaction."""
    row = {
        "recipient": letter.recipient,
        "subject": letter.subject,
        "body": letter.body,
        "created_ms": now_ms,
        "attempts": 0,
        "due_ms": now_ms,
    }
    connection.execute(insert(letters), row)
