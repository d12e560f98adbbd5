"""Registers what was shown, and tells whom it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

from node.workers import Workers
from primary.changes import Admit, Change, CreateHolder, ReplaceKey, UpdateHolder
from primary.desk.book import Book
from primary.desk.counting import QuotaKeeper
from primary.desk.terms import Report
from primary.intake import Submit
from primary.registering.application import Application, Purpose
from primary.registering.findings import Finding
from primary.registering.judging import Subject
from primary.registering.letters import Letter, Writer
from primary.registering.schedule import Trial
from primary.registering.standing import Standing
from registry.errors import Problem
from registry.kinds import Status


class Granter:
    """Grants applications of which all holds. For one event loop's thread."""

    def __init__(
        self,
        book: Book,
        submit: Submit,
        quotas: QuotaKeeper,
        *,
        clerk: Workers,
        writer: Writer,
        clock: Callable[[], int],
    ) -> None:
        self._book = book
        self._clerk = clerk
        self._submit = submit
        self._quotas = quotas
        self._writer = writer
        self._clock = clock
        self._dice = Random()  # noqa: S311 - when it looks is no secret worth more
        # One after another: what is counted is registered before the next is counted.
        self._registering = asyncio.Lock()

    async def grant(
        self, application: Application, findings: tuple[Finding, ...], management_key: bytes
    ) -> Report:
        """Does what was applied for; Problem: the log does not take it."""
        match application.purpose:
            case Purpose.REGISTER:
                async with self._registering:
                    return await self._register(application, findings, management_key)
            case Purpose.CONTACT:
                return await self._change_contact(application, findings, management_key)
            case Purpose.RECOVER:
                key = ReplaceKey(application.holder_id, management_key)
                report = await self.commit(application, findings, [key])
                await self._tell(self._writer.recovered(application.email))
                return report

    async def _change_contact(
        self, application: Application, findings: tuple[Finding, ...], management_key: bytes
    ) -> Report:
        """Whoever had the mailbox so far hears of it: the key may be a thief's."""
        holder_id = application.holder_id
        former = await self._clerk.run(self._book.registered.email, holder_id)
        contact = UpdateHolder(holder_id, management_key, application.contact)
        report = await self.commit(application, findings, [contact])
        if former and former != application.email:
            await self._tell(self._writer.mailbox_changed(former, holder_id.hex()))
        return report

    async def _register(
        self, application: Application, findings: tuple[Finding, ...], management_key: bytes
    ) -> Report:
        subject, book = application.subject, self._book
        mailbox = application.email or await self._clerk.run(
            book.registered.email, subject.holder_id
        )
        await self._quotas.check_server(subject, mailbox)
        found = await self._clerk.run(book.registered.registration, subject.address)
        before = found[1] if found else None
        now_ms = self._clock()
        trial = Trial.begin(now_ms, self._dice)
        is_mine = before is not None and before.holder_id == subject.holder_id
        if before is not None and is_mine and before.status is Status.ACTIVE:
            trial = Trial.passed(now_ms, self._dice)
        changes: list[Change] = []
        if await self._clerk.run(book.registered.key_hash, subject.holder_id) is None:
            changes.append(CreateHolder(subject.holder_id, management_key, application.contact))
        changes.append(admit(subject, management_key, before.holder_id if before else b""))
        # Before the log has it: whatever is registered is looked at again.
        standing = Standing(
            *(subject, application.address_token, trial, application.address_proved_ms),
            verified_ms=now_ms,
        )
        await self._clerk.run(book.standings.put, standing)
        try:
            report = await self.commit(application, findings, changes)
        except Problem:
            if not is_mine:
                await self._clerk.run(book.standings.end, subject.address, subject.holder_id)
            raise
        if before is not None and not is_mine:
            await self._clerk.run(book.standings.end, subject.address, before.holder_id)
            await self._tell_former(before.holder_id, subject)
        return report

    async def commit(
        self, application: Application, findings: tuple[Finding, ...], changes: Sequence[Change]
    ) -> Report:
        """Commits the changes; the application is no more. Problem: one of them was refused."""
        submitted = await self._submit(changes)
        for outcome in submitted.outcomes:
            if isinstance(outcome, Problem):
                raise outcome
        await self._clerk.run(self._book.applications.forget, application.application_id)
        index = submitted.outcomes[-1]
        if isinstance(index, Problem):
            raise AssertionError("a problem was raised above")
        return Report(application, findings, index, submitted.checkpoint)

    async def _tell_former(self, holder_id: bytes, subject: Subject) -> None:
        email = await self._clerk.run(self._book.registered.email, holder_id)
        if email:
            await self._tell(self._writer.taken_over(email, str(subject.address), subject.host))

    async def _tell(self, letter: Letter) -> None:
        await self._clerk.run(self._book.letters.queue, letter, self._clock())


def admit(subject: Subject, management_key: bytes, replaces: bytes = b"") -> Admit:
    """The change that registers it, in the place of another holder's."""
    return Admit(
        subject.holder_id,
        management_key,
        subject.address,
        subject.host,
        subject.domain,
        replaces=replaces,
    )
