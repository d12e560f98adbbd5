"""Looks whether active registrations still hold, and lets lapse what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from node.logging import get_logger
from node.workers import Workers
from primary.changes import SetStatus
from primary.desk.book import Book
from primary.desk.desk import Submit
from primary.desk.looking import Looker
from primary.registering.findings import Finding, Verdict, all_hold, is_broken
from primary.registering.letters import Letter, Writer
from primary.registering.reviewing import MIN_VANTAGE_POINTS, Action, may_lapse, review
from primary.registering.schedule import DAY_MS
from primary.registering.standing import Standing
from registry.errors import Problem
from registry.kinds import Status
from registry.registration import MAX_REASON_BYTES

# A reason is one TXT string, and a name in it may be in any script.
_REASON_CHARACTERS: Final = MAX_REASON_BYTES // 4

_log = get_logger("reviews")


class Reviews:
    """Visits registrations whose trial is over. For one event loop's thread."""

    def __init__(
        self,
        book: Book,
        looker: Looker,
        submit: Submit,
        *,
        clerk: Workers,
        writer: Writer,
        clock: Callable[[], int],
        dice: Random,
        on_halt: Callable[[bool], None],
    ) -> None:
        """`on_halt` is told whether lapses are held back, for the board to look."""
        self._book = book
        self._looker = looker
        self._submit = submit
        self._clerk = clerk
        self._writer = writer
        self._clock = clock
        self._dice = dice
        self._on_halt = on_halt
        self._lapsing = asyncio.Lock()

    async def visit(self, standing: Standing, version: int) -> None:
        """Looks at one, and does what follows. Nothing enters the log while all holds."""
        findings = await self._looker.names(standing.subject)
        # One place may be cut off, or deceived.
        seen = self._looker.resolvers.count >= MIN_VANTAGE_POINTS
        action, changed = review(
            standing,
            self._clock(),
            held=all_hold(findings),
            known=is_broken(findings) and seen,
            dice=self._dice,
        )
        subject = standing.subject
        if action is Action.END:
            await self._clerk.run(self._book.end_standing, subject.address, subject.holder_id)
            return
        letter = await self._letter(action, standing, findings)
        if action is Action.LAPSE:
            # One after another: each counts those before it.
            async with self._lapsing:
                if await self._lapse(standing, version, findings):
                    await self._keep(changed, letter)
        elif action is not Action.RESTORE or await self._set(standing, version, Status.ACTIVE, ""):
            await self._keep(changed, letter)

    async def _keep(self, standing: Standing, letter: Letter | None) -> None:
        await self._clerk.run(self._book.put_standing, standing, letter, self._clock())

    async def _lapse(self, standing: Standing, version: int, findings: Sequence[Finding]) -> bool:
        """Whether it has lapsed; if not, it is looked at in the next round again."""
        lapsed, registrations = await self._clerk.run(self._book.lapses, self._clock() - DAY_MS)
        is_held_back = not may_lapse(lapsed, registrations)
        self._on_halt(is_held_back)
        if is_held_back:
            _log.error("lapses.held_back", lapsed=lapsed, registrations=registrations)
            return False
        reason = _broken(findings)[0].found[:_REASON_CHARACTERS]
        return await self._set(standing, version, Status.LAPSED, reason)

    async def _set(self, standing: Standing, version: int, status: Status, reason: str) -> bool:
        subject = standing.subject
        change = SetStatus(
            subject.holder_id, subject.address, status, reason, expected_version=version
        )
        submitted = await self._submit([change])
        return not isinstance(submitted.outcomes[0], Problem)

    async def _letter(
        self, action: Action, standing: Standing, findings: Sequence[Finding]
    ) -> Letter | None:
        """What the holder is told; nothing while all is as it was."""
        subject = standing.subject
        address = str(subject.address)
        email = await self._clerk.run(self._book.email, subject.holder_id)
        if not email:
            return None
        what = "\n".join(f"  {one.found}\n  {one.mend}" for one in _broken(findings))
        match action:
            case Action.WARN:
                return self._writer.failing(email, address, what)
            case Action.LAPSE:
                return self._writer.lapsed(email, address, what)
            case Action.RESTORE:
                return self._writer.restored(email, address)
            case _:
                return None


def _broken(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.verdict is Verdict.FAILED]
