"""The rounds: what is due is looked at, sent or forgotten, every so many seconds.

All that is due stands in the book, so a restart loses nothing, and what was missed comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from node.logging import get_logger
from node.workers import Workers
from primary.changes import SetStatus
from primary.desk.book import Book
from primary.desk.desk import Submit
from primary.desk.looking import MAX_LOOKS, Looker
from primary.desk.post import Post
from primary.desk.reviews import Reviews
from primary.intake import BusyError, IntakeClosedError
from primary.registering.findings import Verdict, all_hold
from primary.registering.letters import Letter, Writer
from primary.registering.schedule import REVIEW_MS, Step, Trial, jittered
from primary.registering.standing import Standing
from primary.store.errors import StoreUnavailableError
from registry.errors import Problem
from registry.kinds import Status

# Looked at in one round; the next takes the rest.
STANDINGS_A_ROUND: Final = 500

# A round that meets one of these goes on with the next: it is nobody's fault, and passes.
_PASSING: Final = (StoreUnavailableError, BusyError, IntakeClosedError)

_log = get_logger("rounds")


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look at a registration has shown."""

    held: bool
    known: bool


class Rounds:
    """Goes the rounds. For one event loop's thread."""

    def __init__(
        self,
        book: Book,
        looker: Looker,
        submit: Submit,
        *,
        clerk: Workers,
        writer: Writer,
        reviews: Reviews,
        post: Post | None,
        clock: Callable[[], int],
        dice: Random,
    ) -> None:
        """`clock` gives milliseconds since 1970-01-01T00:00:00Z; without `post` letters wait."""
        self._book = book
        self._looker = looker
        self._submit = submit
        self._clerk = clerk
        self._writer = writer
        self._post = post
        self._clock = clock
        self._dice = dice
        self._looks = asyncio.Semaphore(MAX_LOOKS)
        self._reviews = reviews

    async def run(self, interval_seconds: float) -> None:
        """Goes round every so many seconds, until cancelled."""
        while True:
            try:
                await self.once()
            except* _PASSING as errors:
                _log.warning("round.broken_off", error=str(errors.exceptions[0]))
            await asyncio.sleep(interval_seconds)

    async def once(self) -> None:
        """Does all that is due now, up to what one round takes."""
        expired = await self._clerk.run(self._book.expire, self._clock())
        if expired:
            _log.info("applications.expired", number=expired)
        due = await self._clerk.run(self._book.due_standings, self._clock(), STANDINGS_A_ROUND)
        async with asyncio.TaskGroup() as group:
            for standing in due:
                group.create_task(self._visit_apart(standing))
        if self._post is not None:
            await self._post.send_due()

    async def _visit_apart(self, standing: Standing) -> None:
        """One that nobody can look at is put off, and keeps nobody from the others."""
        try:
            await self._visit(standing)
        except _PASSING:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one registration's
            # Its text may tell what is private.
            fault = type(error).__name__
            _log.error("standing.failed", address=str(standing.subject.address), fault=fault)
            await self._put_off(standing)

    async def _visit(self, standing: Standing) -> None:
        subject = standing.subject
        async with self._looks:
            found = await self._clerk.run(self._book.registration, subject.address)
            if found is None or found[1].holder_id != subject.holder_id:
                # Withdrawn, or another's by now.
                await self._clerk.run(self._book.end_standing, subject.address, subject.holder_id)
                return
            version, registration = found
            subject = replace(subject, host=registration.host, domain=registration.domain)
            standing = replace(standing, subject=subject)
            match registration.status:
                case Status.NEW:
                    await self._try(standing, version)
                case Status.ACTIVE | Status.LAPSED:
                    await self._reviews.visit(standing, version)
                case _:
                    await self._put_off(standing)

    async def _put_off(self, standing: Standing) -> None:
        """Until the next review: nothing is to be shown now, or it cannot be looked at."""
        look_ms = self._clock() + jittered(REVIEW_MS, self._dice)
        await self._keep(replace(standing, trial=replace(standing.trial, look_ms=look_ms)), None)

    async def _try(self, standing: Standing, version: int) -> None:
        look = await self._look(standing)
        trial = standing.trial
        if trial.is_passed:
            # The log did not take the change of status then; it passed all the same.
            step = Step.PASSED
        else:
            step, trial = trial.look(
                self._clock(), held=look.held, known=look.known, dice=self._dice
            )
        if step is Step.PASSED and await self._activate(standing, version):
            return
        letter = await self._letter(standing) if step is Step.RESTARTED else None
        if step is Step.RESTARTED:
            _log.info("trial.restarted", address=str(standing.subject.address))
        if step is not Step.PASSED:
            await self._keep(replace(standing, trial=trial), letter)

    async def _look(self, standing: Standing) -> _Look:
        subject, trial = standing.subject, standing.trial
        # A connection before the proof was due shows nothing of today.
        connected = standing.address_proved_ms >= trial.due_ms
        names, domain, address = await asyncio.gather(
            self._looker.names(subject),
            self._looker.domain(subject),
            self._looker.address(subject, standing.address_token, connected=connected),
        )
        findings = [*names, domain, address]
        known = all(finding.verdict is not Verdict.UNKNOWN for finding in findings)
        return _Look(all_hold(findings), known)

    async def _activate(self, standing: Standing, version: int) -> bool:
        """The week is over; False if the registration has changed meanwhile, and it waits."""
        subject = standing.subject
        change = SetStatus(
            subject.holder_id, subject.address, Status.ACTIVE, expected_version=version
        )
        submitted = await self._submit([change])
        if isinstance(submitted.outcomes[0], Problem):
            return False
        now_ms = self._clock()
        trial = Trial.passed(now_ms, now_ms + jittered(REVIEW_MS, self._dice))
        email = await self._clerk.run(self._book.email, subject.holder_id)
        letter = self._writer.active(email, str(subject.address)) if email else None
        await self._keep(replace(standing, trial=trial), letter)
        return True

    async def _keep(self, standing: Standing, letter: Letter | None) -> None:
        await self._clerk.run(self._book.put_standing, standing, letter, self._clock())

    async def _letter(self, standing: Standing) -> Letter | None:
        subject = standing.subject
        email = await self._clerk.run(self._book.email, subject.holder_id)
        if not email:
            return None
        return self._writer.restarted(email, str(subject.address), standing.address_token)
