"""The desk: takes applications, looks at what they rest on, and registers what was shown.

Whatever happens between two steps, the same call again goes on: the log says what is registered,
the book what is still to be shown.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Final

from node.workers import Workers
from primary.changes import Admit, Change, CreateHolder, ReplaceKey, UpdateHolder
from primary.desk.book import Book
from primary.desk.counting import QuotaKeeper
from primary.desk.looking import MAX_LOOKS, Looker
from primary.desk.naming import subject_of
from primary.desk.terms import Ask, Report, Terms
from primary.intake import Submitted
from primary.registering.application import (
    APPLICATION_ID_BYTES,
    Application,
    Purpose,
    email_of,
)
from primary.registering.asking import check_address, check_reachable
from primary.registering.findings import Finding, Verdict, all_hold
from primary.registering.judging import Subject, judge_email
from primary.registering.letters import Letter, Writer
from primary.registering.quotas import UnansweredLetters
from primary.registering.schedule import DAY_MS, REVIEW_MS, Trial, jittered
from primary.registering.standing import Standing
from primary.registering.tokens import is_token, new_address_token, new_email_token, token_hash
from registry.address import Address
from registry.contact import ContactValue
from registry.errors import Problem
from registry.kinds import Status
from registry.names import parse_domain

# A connection from the address counts for as long as a person may need for the rest.
CONNECTION_MS: Final = DAY_MS

# Commits changes and answers when they are on disk.
Submit = Callable[[Sequence[Change]], Awaitable[Submitted]]


@dataclass(frozen=True, slots=True)
class _Holder:
    """Whom an application is about that is of no mail server."""

    holder_id: bytes
    domain: str = ""


class Desk:
    """Serves those who apply. For one event loop's thread."""

    def __init__(
        self,
        book: Book,
        looker: Looker,
        submit: Submit,
        *,
        clerk: Workers,
        writer: Writer,
        terms: Terms,
        clock: Callable[[], int],
    ) -> None:
        """`clock` gives milliseconds since 1970-01-01T00:00:00Z."""
        self._book = book
        self._clerk = clerk
        self._looker = looker
        self._submit = submit
        self._writer = writer
        self.terms = terms
        self._clock = clock
        self._dice = Random()  # noqa: S311 - when it looks is no secret worth more
        self._letters = UnansweredLetters(terms.pending_ms)
        self._quotas = QuotaKeeper(book, clerk, looker, terms.quotas, self._letters)
        self._looks = asyncio.Semaphore(MAX_LOOKS)

    async def begin(self, ask: Ask) -> Report:
        """Takes an application for a mail server, or goes on with the one that there is.

        Problem: what is asked for can never be granted, or not now; it says what to do.
        """
        check_address(ask.address, lab=self.terms.lab)
        known = await self._check_key(ask.holder_id, ask.management_key)
        if not known:
            await self._check_alone(ask)
        subject = await subject_of(ask, self._looker)
        # Checks the names as the log will.
        change = _admit(subject, ask.management_key)
        subject = Subject(ask.holder_id, ask.address, change.host, change.domain)
        book = self._book
        before = await self._clerk.run(
            book.find, ask.holder_id, Purpose.REGISTER, ask.address, subject.domain
        )
        if before is not None and _is_same(before, ask, subject):
            return await self.check(before.application_id, ask.management_key)
        if known and await self._is_registered(subject):
            # Nothing changes, and a receipt says so.
            again = _admit(subject, ask.management_key, ask.holder_id)
            same, _ = self._new(Purpose.REGISTER, subject, ask.management_key, "")
            return await self._granted(same, (), [again])
        if not known:
            CreateHolder(ask.holder_id, ask.management_key, ask.contact)
            check_reachable(ask.contact, relay=self.terms.relay)
        email = "" if known else email_of(ask.contact)
        mailbox = email or await self._clerk.run(book.email, ask.holder_id)
        await self._quotas.check_server(subject, mailbox)
        if email:
            await self._quotas.take_letter(email, self._clock())
        contact = ask.contact if email else ()
        application = self._new(Purpose.REGISTER, subject, ask.management_key, email, contact)
        if before is not None:
            await self._clerk.run(book.forget, before.application_id)
        what = f"the registration of {subject.address} ({subject.host})"
        return await self._take(*application, what, ask.management_key)

    async def begin_contact(
        self, holder_id: bytes, management_key: bytes, contact: tuple[ContactValue, ...]
    ) -> Report:
        """Changes a holder's contact: at once, or once a new mailbox is confirmed."""
        change = UpdateHolder(holder_id, management_key, contact)
        check_reachable(contact, relay=self.terms.relay)
        if not await self._check_key(holder_id, management_key):
            raise Problem("not_found", "no such holder; register a mail server first", "holder_id")
        email = email_of(contact)
        same = await self._clerk.run(self._book.email, holder_id) == email
        application, token = self._new(
            Purpose.CONTACT, _Holder(holder_id), management_key, "" if same else email, contact
        )
        if same:
            return await self._granted(application, (), [change])
        before = await self._clerk.run(self._book.find, holder_id, Purpose.CONTACT, None, "")
        if before is not None and before.contact == contact:
            return await self.check(before.application_id, management_key)
        await self._quotas.take_letter(email, self._clock())
        if before is not None:
            await self._clerk.run(self._book.forget, before.application_id)
        return await self._take(application, token, "the change of your contact", management_key)

    async def begin_recovery(self, holder_id: bytes, management_key: bytes, domain: str) -> Report:
        """Gives a holder another key, once a domain of it and its mailbox have said so.

        Nothing is kept, and no letter sent, before the domain has: others cannot pester anybody.
        """
        change = ReplaceKey(holder_id, management_key)
        domain = parse_domain(domain, "domain")
        email = await self._clerk.run(self._book.email, holder_id)
        if not email or not await self._clerk.run(self._book.has_domain, holder_id, domain):
            raise Problem(
                "not_found", f"no holder of this identifier has a mail server of {domain}", "domain"
            )
        before = await self._clerk.run(self._book.find, holder_id, Purpose.RECOVER, None, domain)
        if before is not None and _has_key(before.key_hash, change.management_key):
            return await self.check(before.application_id, management_key)
        application, token = self._new(
            Purpose.RECOVER, _Holder(holder_id, domain), management_key, email
        )
        finding = await self._looker.recovery(domain, holder_id, application.key_hash)
        if finding.verdict is not Verdict.HELD:
            return Report(application, (finding, self._email_finding(application)))
        if before is not None:
            await self._clerk.run(self._book.forget, before.application_id)
        what = "another management key of your holder"
        return await self._take(application, token, what, management_key)

    async def check(self, application_id: bytes, management_key: bytes) -> Report:
        """Looks again, and grants what was applied for when all holds."""
        application = await self._own(application_id, management_key)
        async with self._looks:
            findings = tuple(await self._look(application))
        if not all_hold(findings):
            return Report(application, findings)
        match application.purpose:
            case Purpose.REGISTER:
                return await self._register(application, findings, management_key)
            case Purpose.CONTACT:
                changes = [UpdateHolder(application.holder_id, management_key, application.contact)]
                return await self._granted(application, findings, changes)
            case Purpose.RECOVER:
                report = await self._granted(
                    application, findings, [ReplaceKey(application.holder_id, management_key)]
                )
                await self._tell(self._writer.recovered(application.email))
                return report

    async def cancel(self, application_id: bytes, management_key: bytes) -> None:
        """The application is no more."""
        await self._own(application_id, management_key)
        await self._clerk.run(self._book.forget, application_id)

    async def prove_address(self, token: str, source: Address) -> None:
        """A connection from `source` bore the token."""
        proved = is_token(token) and await self._clerk.run(
            self._book.prove_address, token, source, self._clock()
        )
        if not proved:
            raise Problem(
                "not_found",
                f"your connection comes from {source}, and nothing waits for this token from "
                "there; on a machine of several addresses run it with --from",
                "token",
            )

    async def confirm_email(self, token: str) -> Application:
        """Whoever has the letter says yes; for what."""
        application = None
        if is_token(token):
            application = await self._clerk.run(
                self._book.confirm_email, token_hash(token), self._clock()
            )
        if application is None:
            raise Problem(
                "not_found", "no application waits for this; it may have expired", "token"
            )
        self._letters.answered(application.email)
        return application

    # --- what is looked at -----------------------------------------------------------

    async def _look(self, application: Application) -> list[Finding]:
        match application.purpose:
            case Purpose.REGISTER:
                findings = await self._look_at_server(application)
            case Purpose.RECOVER:
                findings = [
                    await self._looker.recovery(
                        application.domain, application.holder_id, application.key_hash
                    )
                ]
            case Purpose.CONTACT:
                findings = []
        return [*findings, self._email_finding(application)] if application.email else findings

    async def _look_at_server(self, application: Application) -> list[Finding]:
        subject = _subject_of(application)
        names, domain = await asyncio.gather(
            self._looker.names(subject), self._looker.domain(subject)
        )
        connected = application.address_proved_ms > self._clock() - CONNECTION_MS
        # Nobody's port 25 is knocked at before its name leads to it, by whoever asks.
        if not connected and not all_hold(names):
            address = await self._looker.address_unseen(subject, application.address_token)
        else:
            address = await self._looker.address(
                subject, application.address_token, connected=connected
            )
        return [*names, domain, address]

    def _email_finding(self, application: Application) -> Finding:
        return judge_email(
            application.email,
            confirmed=bool(application.email_confirmed_ms),
            can_send=self.terms.can_send,
        )

    # --- what is granted -------------------------------------------------------------

    async def _register(
        self, application: Application, findings: tuple[Finding, ...], management_key: bytes
    ) -> Report:
        subject, book = _subject_of(application), self._book
        found = await self._clerk.run(book.registration, subject.address)
        before = found[1] if found else None
        now_ms = self._clock()
        trial = Trial.begin(now_ms, self._dice)
        is_mine = before is not None and before.holder_id == subject.holder_id
        if before is not None and is_mine and before.status is Status.ACTIVE:
            trial = Trial.passed(now_ms, now_ms + jittered(REVIEW_MS, self._dice))
        # Before the log has it: whatever is registered is looked at again.
        standing = Standing(
            subject, application.address_token, trial, application.address_proved_ms
        )
        await self._clerk.run(book.put_standing, standing)
        changes: list[Change] = []
        if await self._clerk.run(book.key_hash, subject.holder_id) is None:
            changes.append(CreateHolder(subject.holder_id, management_key, application.contact))
        changes.append(_admit(subject, management_key, before.holder_id if before else b""))
        try:
            report = await self._granted(application, findings, changes)
        except Problem:
            if not is_mine:
                await self._clerk.run(book.end_standing, subject.address, subject.holder_id)
            raise
        if before is not None and not is_mine:
            await self._clerk.run(book.end_standing, subject.address, before.holder_id)
            await self._tell_former(before.holder_id, subject)
        return report

    async def _granted(
        self, application: Application, findings: tuple[Finding, ...], changes: Sequence[Change]
    ) -> Report:
        """Commits the changes; the application is no more. Problem: one of them was refused."""
        submitted = await self._submit(changes)
        for outcome in submitted.outcomes:
            if isinstance(outcome, Problem):
                raise outcome
        await self._clerk.run(self._book.forget, application.application_id)
        index = submitted.outcomes[-1]
        if isinstance(index, Problem):
            raise AssertionError("a problem was raised above")
        return Report(application, findings, index, submitted.checkpoint)

    async def _is_registered(self, subject: Subject) -> bool:
        """Whether the holder has it, under these names, and nothing is to be shown again."""
        found = await self._clerk.run(self._book.registration, subject.address)
        if found is None:
            return False
        now = found[1]
        names = (now.holder_id, now.host, now.domain)
        return (
            names == (subject.holder_id, subject.host, subject.domain)
            and now.status is not Status.LAPSED
        )

    async def _tell_former(self, holder_id: bytes, subject: Subject) -> None:
        email = await self._clerk.run(self._book.email, holder_id)
        if email:
            await self._tell(self._writer.taken_over(email, str(subject.address), subject.host))

    async def _tell(self, letter: Letter) -> None:
        await self._clerk.run(self._book.queue, letter, self._clock())

    # --- who may, and how much -------------------------------------------------------

    async def _check_key(self, holder_id: bytes, management_key: bytes) -> bool:
        """Whether there is such a holder; Problem "not_yours" if the key is not its."""
        key_hash = await self._clerk.run(self._book.key_hash, holder_id)
        if key_hash is not None and not _has_key(key_hash, management_key):
            raise Problem("not_yours", "the management key is not this holder's", "management_key")
        return key_hash is not None

    async def _check_alone(self, ask: Ask) -> None:
        """Problem "not_yours" while another key applies for this holder.

        The identifier stands in the domain's record, for all to read, before it is registered.
        """
        key_hash = sha256(ask.management_key).digest()
        if await self._clerk.run(self._book.is_applied_for, ask.holder_id, key_hash, self._clock()):
            raise Problem("not_yours", "another key applies for this holder", "management_key")

    async def _own(self, application_id: bytes, management_key: bytes) -> Application:
        application = await self._clerk.run(self._book.application, application_id)
        if application is None or application.expires_ms <= self._clock():
            raise Problem(
                "not_found", "there is no such application, or no longer; begin again", ""
            )
        if not _has_key(application.key_hash, management_key):
            raise Problem("not_yours", "the management key is not this holder's", "management_key")
        return application

    # --- applications ----------------------------------------------------------------

    def _new(
        self,
        purpose: Purpose,
        subject: Subject | _Holder,
        management_key: bytes,
        email: str,
        contact: tuple[ContactValue, ...] = (),
    ) -> tuple[Application, str]:
        """An application, and the token that its letter bears."""
        now_ms = self._clock()
        token = new_email_token(os.urandom)
        server = subject if isinstance(subject, Subject) else None
        application = Application(
            os.urandom(APPLICATION_ID_BYTES),
            purpose,
            subject.holder_id,
            sha256(management_key).digest(),
            server.address if server else None,
            server.host if server else "",
            subject.domain,
            contact,
            email,
            new_address_token(os.urandom) if server else "",
            token_hash(token) if email else b"",
            now_ms,
            now_ms + self.terms.pending_ms,
        )
        return application, token

    async def _take(
        self, application: Application, token: str, what: str, management_key: bytes
    ) -> Report:
        """Keeps an application, sends its letter, and takes a first look."""
        letter = None
        if application.email and self.terms.can_send:
            letter = self._writer.confirm(application.email, what, token, application.expires_ms)
        await self._clerk.run(self._book.keep, application, letter)
        return await self.check(application.application_id, management_key)


def _admit(subject: Subject, management_key: bytes, replaces: bytes = b"") -> Admit:
    return Admit(
        subject.holder_id,
        management_key,
        subject.address,
        subject.host,
        subject.domain,
        replaces=replaces,
    )


def _subject_of(application: Application) -> Subject:
    if application.address is None:
        raise AssertionError("an application for no mail server")
    return Subject(application.holder_id, application.address, application.host, application.domain)


def _is_same(application: Application, ask: Ask, subject: Subject) -> bool:
    """Whether to go on with it: the same names, by the same key, with no other contact."""
    return (
        (application.host, application.domain) == (subject.host, subject.domain)
        and _has_key(application.key_hash, ask.management_key)
        and (not application.contact or ask.contact in ((), application.contact))
    )


def _has_key(key_hash: bytes, management_key: bytes) -> bool:
    return hmac.compare_digest(key_hash, sha256(management_key).digest())
