"""The rounds: what is due is looked at, sent or forgotten, every so many seconds.

All that is due stands in the book, so a restart loses nothing, and what was missed comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from node.logging import get_logger
from node.workers import Workers
from primary.desk.book import Book
from primary.desk.looking import MAX_LOOKS, Looker
from primary.desk.post import Post
from primary.desk.reviews import Reviews
from primary.desk.servers import Lookups
from primary.intake import BusyError, IntakeClosedError
from primary.registering.findings import Finding, Verdict, all_hold, broken_text, is_broken
from primary.registering.letters import Letter, Writer
from primary.registering.proof_records import networks_of
from primary.registering.reviewing import put_off
from primary.registering.schedule import MISSES_TO_LAPSE, Step, Trial, next_review
from primary.registering.standing import Standing
from primary.store.errors import StoreUnavailableError
from registry.kinds import Status
from registry.registration import Registration

# Looked at together, and kept in one transaction.
STANDINGS_TOGETHER: Final = 500
# So many lots at once: one dead name server holds its lot up for ten seconds, and no other.
LOTS: Final = 16

# A round that meets one of these goes on with the next: it is nobody's fault, and passes.
_PASSING: Final = (StoreUnavailableError, BusyError, IntakeClosedError)

_Found = tuple[int, Registration]

_log = get_logger("rounds")


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look at a registration has shown: its names, the domain, and last the address."""

    findings: Sequence[Finding]

    @property
    def names(self) -> Sequence[Finding]:
        """What a review looks at, too."""
        return self.findings[:-2]

    @property
    def held(self) -> bool:
        """Whether all is shown."""
        return all_hold(self.findings)

    @property
    def known(self) -> bool:
        """Whether all could be told."""
        return all(finding.verdict is not Verdict.UNKNOWN for finding in self.findings)


class Rounds:
    """Goes the rounds. For one event loop's thread."""

    def __init__(
        self,
        book: Book,
        looker: Looker,
        *,
        clerk: Workers,
        writer: Writer,
        reviews: Reviews,
        post: Post | None,
        clock: Callable[[], int],
        dice: Random,
        on_held_back: Callable[[int], None],
    ) -> None:
        """`clock` gives milliseconds since 1970-01-01T00:00:00Z; without `post` letters wait.

        `on_held_back` is told how many would lapse, and may not before the board has looked.
        """
        self._book = book
        self._looker = looker
        self._clerk = clerk
        self._writer = writer
        self._post = post
        self._clock = clock
        self._dice = dice
        self._looks = asyncio.Semaphore(MAX_LOOKS)
        self._reviews = reviews
        self._on_held_back = on_held_back

    async def run(self, interval_seconds: float) -> None:
        """Goes round every so many seconds, until cancelled."""
        # Many may be due for hours; letters do not wait for them.
        async with asyncio.TaskGroup() as group:
            for work in (self._visit_due, self._tidy):
                group.create_task(self._repeat(work, interval_seconds))

    async def once(self) -> None:
        """Does all that is due now."""
        await self._visit_due()
        await self._tidy()

    async def _repeat(self, work: Callable[[], Awaitable[None]], interval_seconds: float) -> None:
        while True:
            try:
                await work()
            except* _PASSING as errors:
                _log.warning("round.broken_off", error=str(errors.exceptions[0]))
            await asyncio.sleep(interval_seconds)

    async def _tidy(self) -> None:
        expired = await self._clerk.run(self._book.applications.expire, self._clock())
        if expired:
            _log.info("applications.expired", number=expired)
        if self._post is not None:
            await self._post.send_due()

    async def _visit_due(self) -> None:
        await self._reviews.keep_period()
        now_ms, last, room = self._clock(), None, asyncio.Semaphore(LOTS)
        read = self._book.standings.due
        async with asyncio.TaskGroup() as group:
            while due := await self._clerk.run(read, now_ms, STANDINGS_TOGETHER, last):
                last = due[-1]
                await room.acquire()
                group.create_task(self._visit_lot(due)).add_done_callback(lambda _: room.release())
        self._on_held_back(await self._reviews.held_back())

    async def _visit_lot(self, due: Sequence[Standing]) -> None:
        addresses = [each.subject.address for each in due]
        found = await self._clerk.run(self._book.registered.registrations, addresses)
        async with asyncio.TaskGroup() as group:
            visits = [
                group.create_task(self._visit_apart(each, found.get(each.subject.address)))
                for each in due
            ]
        changed = [standing for visit in visits if (standing := visit.result())]
        if changed:
            await self._clerk.run(self._book.standings.put_reviewed, changed)

    async def _visit_apart(self, standing: Standing, found: _Found | None) -> Standing | None:
        """One that nobody can look at is put off, and keeps nobody from the others."""
        try:
            return await self._visit(standing, found)
        except _PASSING:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one registration's
            # Its text may tell what is private.
            fault = type(error).__name__
            _log.error("standing.failed", address=str(standing.subject.address), fault=fault)
            return self._put_off(standing)

    async def _visit(self, standing: Standing, found: _Found | None) -> Standing | None:
        """How it stands after a look; None if that is kept already."""
        subject = standing.subject
        if found is None or found[1].holder_id != subject.holder_id:
            # Withdrawn, or another's by now.
            await self._clerk.run(self._book.standings.end, subject.address, subject.holder_id)
            return None
        version, registration = found
        subject = replace(subject, host=registration.host, domain=registration.domain)
        standing = replace(standing, subject=subject)
        match registration.status:
            case Status.NEW:
                return await self._try(standing, version)
            case Status.ACTIVE if not standing.trial.is_passed:
                return await self._go_on_trial(standing, version)
            case Status.ACTIVE:
                # The board may have lifted a suspension of what was lapsed before.
                return await self._reviews.visit(replace(standing, lapsed_ms=0), version)
            case Status.LAPSED:
                return await self._visit_lapsed(standing, version)
            case _:
                return self._put_off(standing)

    def _put_off(self, standing: Standing) -> Standing:
        """Until the next review: nothing is to be shown now, or it cannot be looked at."""
        look_ms = next_review(self._clock(), self._dice)
        return replace(standing, trial=replace(standing.trial, look_ms=look_ms))

    async def _try(self, standing: Standing, version: int) -> Standing | None:
        """A look during the first week; as `_visit`."""
        look = await self._look(standing)
        if look is None:
            return put_off(standing, self._clock(), self._dice)
        if is_broken(look.names):
            return await self._fail(standing, version, look)
        if all_hold(look.names):
            standing = replace(standing, failed_days=0, failed_day=0)
        if look.held:
            standing = replace(standing, verified_ms=self._clock())
        step, trial = self._step(standing, look)
        standing = replace(standing, trial=trial)
        if step is Step.GIVEN_UP:
            return await self._reviews.give_up(standing, version, look.findings)
        letter = await self._letter(standing, look) if step is Step.RESTARTED else None
        # Before the log says so: what is active and has not passed was put so by the board.
        await self._reviews.keep(standing, letter)
        if step is Step.PASSED:
            await self._activate(standing, version)
        return None

    async def _visit_lapsed(self, standing: Standing, version: int) -> Standing | None:
        """A look at what may come back; as `_visit`.

        Where the address was not shown, names that hold do not bring it back: the address has to
        be shown.
        """
        # A kill between the log and the book: it is lapsed since then or a little earlier.
        standing = replace(standing, lapsed_ms=standing.lapsed_ms or self._clock())
        if not standing.trial.is_given_up:
            return await self._reviews.visit(standing, version)
        look = await self._look(standing)
        if look is None:
            return put_off(standing, self._clock(), self._dice)
        return await self._reviews.judge(standing, version, look.findings)

    async def _go_on_trial(self, standing: Standing, version: int) -> Standing | None:
        """The board lifted a suspension from its first week: that is shown as by any other."""
        if not await self._reviews.set_status(standing, version, Status.NEW):
            return self._put_off(standing)
        # What could not be shown meanwhile was not missed.
        trial = Trial.begin(self._clock(), self._dice)
        sound = replace(standing, trial=trial, lapsed_ms=0, failed_days=0, failed_day=0)
        await self._reviews.keep(sound, None)
        return None

    async def _fail(self, standing: Standing, version: int, look: _Look) -> Standing | None:
        """Its names do not lead to each other: it may lapse, like one whose week is over."""
        _, trial = self._step(standing, look)
        return await self._reviews.judge(replace(standing, trial=trial), version, look.names)

    def _step(self, standing: Standing, look: _Look) -> tuple[Step, Trial]:
        if standing.trial.is_passed:
            # The log did not take the change of status then; it passed all the same.
            return Step.PASSED, standing.trial
        step, trial = standing.trial.look(
            self._clock(), held=look.held, known=look.known, dice=self._dice
        )
        if step is Step.RESTARTED:
            _log.info("trial.restarted", address=str(standing.subject.address))
        return step, trial

    async def _look(self, standing: Standing) -> _Look | None:
        """At all that is asked; None: the name servers may not be asked now."""
        subject = standing.subject
        # A connection before the proof was due shows nothing of today.
        connected = standing.address_proved_ms >= standing.trial.due_ms
        networks = 0 if connected else len(networks_of(subject.address))
        if not await self._reviews.has_turn(standing, Lookups(reverse=1 + networks, forward=2)):
            return None
        async with self._looks:
            token = standing.address_token
            return _Look(await self._looker.server(subject, token, connected=connected))

    async def _activate(self, standing: Standing, version: int) -> None:
        """The week is over; if the registration has changed meanwhile, it waits."""
        if not await self._reviews.set_status(standing, version, Status.ACTIVE):
            return
        subject = standing.subject
        trial = Trial.passed(self._clock(), self._dice)
        email = await self._clerk.run(self._book.registered.email, subject.holder_id)
        letter = self._writer.active(email, str(subject.address)) if email else None
        await self._reviews.keep(replace(standing, trial=trial), letter)

    async def _letter(self, standing: Standing, look: _Look) -> Letter | None:
        subject = standing.subject
        email = await self._clerk.run(self._book.registered.email, subject.holder_id)
        if not email:
            return None
        what, misses = broken_text(look.findings), standing.trial.misses
        return self._writer.restarted(email, str(subject.address), what, misses, MISSES_TO_LAPSE)
