"""Sends the letters that wait, and again while the mail server is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from node.logging import get_logger
from node.workers import Workers
from primary.desk.book import Book
from primary.desk.letters import WaitingLetter
from primary.desk.mail import Mailer, NotSentError
from primary.registering.schedule import DAY_MS, MINUTE_MS

# Sent in one round; the next takes the rest.
LETTERS_A_ROUND: Final = 100
# RFC 5321, 4.5.4.1: retries over four or five days.
GIVE_UP_MS: Final = 4 * DAY_MS
FIRST_RETRY_MS: Final = MINUTE_MS
MAX_RETRY_MS: Final = 60 * MINUTE_MS

_log = get_logger("post")


class Post:
    """Sends what waits in the book. Letters hold addresses: the log never tells them (P6)."""

    def __init__(
        self, book: Book, clerk: Workers, mailer: Mailer, clock: Callable[[], int]
    ) -> None:
        self._book = book
        self._clerk = clerk
        self._mailer = mailer
        self._clock = clock
        # Its own: an SMTP server may take its time, and the book may not wait for it.
        self._carrier = Workers("post")

    async def send_due(self) -> int:
        """Sends every letter that is due; how many left."""
        sent = 0
        due = await self._clerk.run(self._book.letters.due, self._clock(), LETTERS_A_ROUND)
        for waiting in due:
            sent += await self._send(waiting)
        return sent

    def close(self) -> None:
        """Ends the thread that sends."""
        self._carrier.close()

    async def _send(self, waiting: WaitingLetter) -> bool:
        try:
            await self._carrier.run(self._mailer.send, waiting.letter)
        except NotSentError as error:
            await self._keep(waiting, may_pass=error.may_pass)
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one letter's
            fault = type(error).__name__
            _log.error("letter.failed", letter=waiting.letter_id, fault=fault)
            await self._keep(waiting, may_pass=True)
            return False
        await self._clerk.run(self._book.letters.forget, waiting.letter_id)
        return True

    async def _keep(self, waiting: WaitingLetter, *, may_pass: bool) -> None:
        """Until it is tried again; forgotten where that is no use any more."""
        now_ms = self._clock()
        if not may_pass or now_ms > waiting.created_ms + GIVE_UP_MS:
            _log.warning("letter.given_up", letter=waiting.letter_id)
            await self._clerk.run(self._book.letters.forget, waiting.letter_id)
            return
        delay_ms = min(FIRST_RETRY_MS * 2**waiting.attempts, MAX_RETRY_MS)
        _log.warning("letter.waits", letter=waiting.letter_id, seconds=delay_ms // 1000)
        await self._clerk.run(self._book.letters.postpone, waiting.letter_id, now_ms + delay_ms)
