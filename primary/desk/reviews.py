"""Looks whether registrations still hold, and lets lapse what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Final

from node.logging import get_logger
from node.workers import Workers
from primary.changes import SetStatus
from primary.desk.book import Book
from primary.desk.looking import Looker
from primary.desk.servers import Lookups, Servers
from primary.desk.vantage import ASKED, VantagePoints
from primary.intake import Submit
from primary.registering.findings import (
    Condition,
    Finding,
    all_hold,
    broken,
    broken_text,
    is_broken,
)
from primary.registering.judging import Subject
from primary.registering.letters import Letter, Writer
from primary.registering.reviewing import (
    DAYS_TO_LAPSE,
    MIN_VANTAGE_POINTS,
    Action,
    give_up,
    grace_ends,
    hold_back,
    may_lapse,
    put_off,
    review,
)
from primary.registering.schedule import DAY_MS, last_review, review_period
from primary.registering.standing import Standing
from registry.board import Board
from registry.errors import Problem
from registry.kinds import Status
from registry.registration import MAX_REASON_BYTES

# A reason is one TXT string, and a name in it may be in any script.
_REASON_CHARACTERS: Final = MAX_REASON_BYTES // 4
_NOT_SHOWN: Final = "the address was not shown again in its first week"

# PTR and forward.
LOOKUPS: Final = Lookups(reverse=1, forward=1)
# In one transaction: some tens of milliseconds, for all others that write wait for it.
BROUGHT_AT_ONCE: Final = 10_000

_log = get_logger("reviews")


class Reviews:
    """Visits registrations whose trial is over, and those on trial whose names do not hold.

    For one event loop's thread.
    """

    def __init__(
        self,
        book: Book,
        looker: Looker,
        submit: Submit,
        *,
        clerk: Workers,
        servers: Servers,
        points: VantagePoints,
        writer: Writer,
        clock: Callable[[], int],
        dice: Random,
        board: Callable[[], Board],
        board_mailbox: str,
    ) -> None:
        """`board` is asked how often to look, and what it has decided about lapses.

        `board_mailbox` is written to when there are too many; empty: nobody is.
        """
        self._book = book
        self._looker = looker
        self._submit = submit
        self._clerk = clerk
        self._servers = servers
        self._points = points
        self._writer = writer
        self._clock = clock
        self._dice = dice
        self._board = board
        self._board_mailbox = board_mailbox
        self._is_board_asked = False
        self._lapsing = asyncio.Lock()
        # None: what the book says may be of another policy.
        self._kept_period_ms: int | None = None

    @property
    def _period_ms(self) -> int:
        return review_period(self._board().policies.reverification_seconds)

    async def keep_period(self) -> None:
        """Brings forward what is due later than the board's policy allows by now."""
        period_ms = self._period_ms
        if self._kept_period_ms is None or period_ms < self._kept_period_ms:
            last_ms = last_review(self._clock(), period_ms)
            bring = self._book.standings.bring_forward
            while await self._clerk.run(bring, last_ms, period_ms, BROUGHT_AT_ONCE):
                pass
        self._kept_period_ms = period_ms

    async def held_back(self) -> int:
        """How many would lapse, and may not; the board is asked, once until there are none."""
        number = await self._clerk.run(self._book.standings.held_back)
        now_ms = self._clock()
        is_asked = number > 0 and self._board().lapses_at(now_ms / 1000) is None
        if is_asked and not self._is_board_asked and self._board_mailbox:
            letter = self._writer.held_back(self._board_mailbox, number)
            await self._clerk.run(self._book.letters.queue, letter, now_ms)
        self._is_board_asked = is_asked
        return number

    async def visit(self, standing: Standing, version: int) -> Standing | None:
        """Looks at one, and does what follows. Nothing enters the log while all holds.

        How it stands then, for the caller to keep with others; None: that is done.
        """
        if not await self.has_turn(standing, LOOKUPS):
            return put_off(standing, self._clock(), self._dice)
        return await self.judge(standing, version, await self._looker.names(standing.subject))

    async def has_turn(self, standing: Standing, lookups: Lookups) -> bool:
        """Waits until the name servers may be asked so much; False: not now."""
        return await self._servers.turn(standing.subject, lookups)

    async def judge(
        self, standing: Standing, version: int, findings: Sequence[Finding]
    ) -> Standing | None:
        """Does what follows of the names that were found; as `visit`."""
        action, changed = review(
            standing,
            self._clock(),
            held=all_hold(findings),
            known=await self._is_failure(standing, findings),
            dice=self._dice,
            period_ms=self._period_ms,
        )
        match action:
            case Action.NOTHING:
                return changed
            case Action.END:
                await self._end(standing)
            case Action.WARN:
                await self.keep(changed, await self._letter(action, changed, findings))
            case Action.RESTORE:
                status = Status.ACTIVE if standing.trial.is_passed else Status.NEW
                if await self.set_status(standing, version, status):
                    await self.keep(changed, await self._letter(action, changed, findings))
            case Action.LAPSE:
                if not await self._lapse(standing, changed, version, findings, given_up=False):
                    return hold_back(changed, self._clock(), self._dice)
        return None

    async def give_up(
        self, standing: Standing, version: int, findings: Sequence[Finding]
    ) -> Standing | None:
        """Lets lapse what did not show its address in its first week; as `visit`.

        These have a day's number of their own, and what does not fit waits for another day: people
        who give up are no sign of a fault here, and take nobody else's place.
        """
        changed = give_up(standing, self._clock(), self._dice)
        if await self._lapse(standing, changed, version, findings, given_up=True):
            return None
        return replace(standing, trial=changed.trial)

    async def _end(self, standing: Standing) -> None:
        """Nobody looks any more, and the holder is told so."""
        subject = standing.subject
        letter = await self._letter(Action.END, standing, ())
        if letter is not None:
            await self._clerk.run(self._book.letters.queue, letter, self._clock())
        await self._clerk.run(self._book.standings.end, subject.address, subject.holder_id)

    async def _is_failure(self, standing: Standing, findings: Sequence[Finding]) -> bool:
        """Whether it counts that something does not hold; nothing does of what lapsed already."""
        if standing.lapsed_ms or not is_broken(findings):
            return False
        return await self._is_seen_elsewhere(standing.subject)

    async def _is_seen_elsewhere(self, subject: Subject) -> bool:
        """Whether it fails from another place too: one may be cut off, or deceived.

        Where no mirror looks, two resolvers are what there is.
        """
        asked = min(ASKED, len(self._points.names))
        await self._servers.charge(subject, asked)
        is_broken_there = await self._points.see_broken(subject)
        if is_broken_there is None:
            return self._looker.resolvers.count >= MIN_VANTAGE_POINTS
        return is_broken_there

    async def keep(self, standing: Standing, letter: Letter | None) -> None:
        """Writes down how one stands, and the letter that tells of it with it."""
        await self._clerk.run(self._book.standings.put, standing, letter, self._clock())

    async def _lapse(
        self,
        standing: Standing,
        changed: Standing,
        version: int,
        findings: Sequence[Finding],
        *,
        given_up: bool,
    ) -> bool:
        """Lets it lapse; False if the day has no room for it."""
        # One after another: each counts those before it.
        async with self._lapsing:
            if not await self._may_lapse(given_up=given_up):
                return False
            if await self.set_status(standing, version, Status.LAPSED, _reason(findings)):
                await self.keep(changed, await self._letter(Action.LAPSE, changed, findings))
            return True

    async def _may_lapse(self, *, given_up: bool) -> bool:
        now_ms = self._clock()
        since = partial(self._book.standings.lapsed_since, given_up=given_up)
        lapsed = await self._clerk.run(since, now_ms - DAY_MS)
        registrations = await self._clerk.run(self._book.registered.number)
        if may_lapse(lapsed, registrations, self._board().lapses_at(now_ms / 1000)):
            return True
        _log.error(
            "lapses.held_back", lapsed=lapsed, registrations=registrations, given_up=given_up
        )
        return False

    async def set_status(
        self, standing: Standing, version: int, status: Status, reason: str = ""
    ) -> bool:
        """Has the log say so; False if the registration has changed meanwhile."""
        subject = standing.subject
        change = SetStatus(
            subject.holder_id, subject.address, status, reason, expected_version=version
        )
        submitted = await self._submit([change])
        return not isinstance(submitted.outcomes[0], Problem)

    async def _letter(
        self, action: Action, standing: Standing, findings: Sequence[Finding]
    ) -> Letter | None:
        """What the holder is told of how it stands now."""
        subject = standing.subject
        address = str(subject.address)
        email = await self._clerk.run(self._book.registered.email, subject.holder_id)
        if not email:
            return None
        what = broken_text(findings)
        match action:
            case Action.WARN:
                return self._writer.failing(
                    email, address, what, standing.failed_days, DAYS_TO_LAPSE
                )
            case Action.LAPSE:
                return self._writer.lapsed(email, address, what, grace_ends(standing))
            case Action.RESTORE:
                is_new = not standing.trial.is_passed
                return self._writer.restored(email, address, is_new=is_new)
            case Action.END:
                return self._writer.ended(email, address)
            case _:
                return None


def _reason(findings: Sequence[Finding]) -> str:
    """What anyone may read in the log: never what a stranger's port 25 says."""
    first = broken(findings)[0]
    text = _NOT_SHOWN if first.condition is Condition.ADDRESS else first.found
    return text[:_REASON_CHARACTERS]
