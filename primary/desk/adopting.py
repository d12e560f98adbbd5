"""Has those registrations looked at that nobody looks at.

A rebuilt database knows of no looks, and what was registered without proofs never had one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from random import Random
from typing import Final

from node.logging import get_logger
from node.workers import Workers
from primary.desk.book import Book
from primary.registering.judging import Subject
from primary.registering.schedule import TRIAL_PROOFS, Trial, review_period
from primary.registering.standing import Standing
from primary.registering.tokens import new_address_token
from primary.store.errors import StoreUnavailableError
from registry.board import Board
from registry.kinds import Status
from registry.registration import Registration

# A page costs some milliseconds, for which whoever registers waits.
PAGE: Final = 500
ADOPTING_SECONDS: Final = 86_400.0

# What is in its first week has to be shown by its holder; what lapsed was looked at until it did.
_ADOPTED: Final = (Status.ACTIVE, Status.SUSPENDED)

_log = get_logger("adopting")


class Adopter:
    """Goes through the register from time to time. For one event loop's thread."""

    def __init__(
        self,
        book: Book,
        *,
        clerk: Workers,
        clock: Callable[[], int],
        dice: Random,
        board: Callable[[], Board],
    ) -> None:
        """`clock` gives milliseconds since 1970-01-01T00:00:00Z; `board` says how often to look."""
        self._book = book
        self._clerk = clerk
        self._clock = clock
        self._dice = dice
        self._board = board

    async def run(self) -> None:
        """At once and then every day, until cancelled."""
        while True:
            try:
                number = await self.once()
            except StoreUnavailableError as error:
                _log.warning("adopting.broken_off", error=str(error))
            else:
                if number:
                    _log.warning("registrations.adopted", number=number)
            await asyncio.sleep(ADOPTING_SECONDS)

    async def once(self) -> int:
        """How many registrations are looked at from now on that were not."""
        run, book = self._clerk.run, self._book
        number, after = 0, None
        while page := await run(book.standings.watched, after, PAGE):
            after = page[-1][0]
            addresses = [address for address, is_watched in page if not is_watched]
            if addresses:
                found = await run(book.registered.registrations, addresses)
                adopted = [
                    self._standing(Subject(one.holder_id, address, one.host, one.domain), one)
                    for address, (_, one) in found.items()
                    if one.status in _ADOPTED
                ]
                number += await run(book.standings.adopt, adopted)
        return number

    def _standing(self, subject: Subject, registration: Registration) -> Standing:
        """As after its first week; those of one round are spread over the time between looks."""
        now_ms = self._clock()
        period_ms = review_period(self._board().policies.reverification_seconds)
        look_ms = now_ms + round(self._dice.random() * period_ms)
        return Standing(
            subject,
            new_address_token(os.urandom),
            Trial(now_ms, TRIAL_PROOFS, now_ms, look_ms),
            verified_ms=registration.verified_ms,
        )
