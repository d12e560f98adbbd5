"""The desk: takes applications, looks at what they rest on, and registers what was shown.

Whatever happens between two steps, the same call again goes on: the log says what is registered,
the book what is still to be shown.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256

from node.workers import Workers
from primary.changes import CreateHolder, ReplaceKey, UpdateHolder
from primary.desk.book import Book
from primary.desk.counting import QuotaKeeper
from primary.desk.examining import Examiner
from primary.desk.granting import Granter, admit
from primary.desk.looking import Looker
from primary.desk.naming import subject_of
from primary.desk.terms import Ask, Report, Terms
from primary.intake import Submit
from primary.registering.application import (
    APPLICATION_ID_BYTES,
    Application,
    Purpose,
    email_of,
)
from primary.registering.asking import check_address, check_reachable
from primary.registering.findings import Verdict, all_hold
from primary.registering.judging import Subject
from primary.registering.letters import Writer
from primary.registering.tokens import is_token, new_address_token, new_email_token, token_hash
from registry.address import Address
from registry.contact import ContactValue
from registry.errors import Problem
from registry.holder import holder_id_of
from registry.kinds import Status
from registry.names import parse_domain
from registry.root import Policies


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
        policies: Callable[[], Policies],
        clock: Callable[[], int],
    ) -> None:
        """`policies` are the board's, as they are when asked for.

        `clock` gives milliseconds since 1970-01-01T00:00:00Z.
        """
        self._book = book
        self._clerk = clerk
        self._looker = looker
        self._writer = writer
        self.terms = terms
        self._clock = clock
        self._quotas = QuotaKeeper(book, clerk, looker, terms.quotas, policies, terms.pending_ms)
        self._examiner = Examiner(looker, terms.can_send, clock)
        self._keeping = asyncio.Lock()
        self._granter = Granter(book, submit, self._quotas, clerk=clerk, writer=writer, clock=clock)

    async def begin(self, ask: Ask) -> Report:
        """Takes an application for a mail server, or goes on with the one that there is.

        Problem: what is asked for can never be granted, or not now; it says what to do.
        """
        check_address(ask.address, lab=self.terms.lab)
        known = await self._check_key(ask.holder_id, ask.management_key)
        subject = await subject_of(ask, self._looker)
        # Checks the names as the log will.
        change = admit(subject, ask.management_key)
        subject = Subject(ask.holder_id, ask.address, change.host, change.domain)
        before = await self._find(Purpose.REGISTER, subject)
        names = (subject.host, subject.domain)
        if before is not None and _is_same(before, names, ask.management_key, ask.contact):
            return await self.check(before.application_id, ask.management_key)
        if known and await self._is_registered(subject):
            # Nothing changes, and a receipt says so.
            again = admit(subject, ask.management_key, ask.holder_id)
            same = self._new(Purpose.REGISTER, subject, ask.management_key, "")
            return await self._granter.commit(same, (), [again])
        if not known:
            self._check_newcomer(ask)
        email = "" if known else email_of(ask.contact)
        mailbox = email or await self._clerk.run(self._book.registered.email, ask.holder_id)
        # It is checked again when all is shown; nobody need do all that for nothing.
        await self._quotas.check_server(subject, mailbox)
        await self._quotas.take_application(ask.client, self._clock())
        contact = ask.contact if email else ()
        application = self._new(Purpose.REGISTER, subject, ask.management_key, email, contact)
        report = await self._take(application, ask.management_key)
        if report.index is not None:
            self._quotas.finished(ask.client)
        return report

    async def begin_contact(
        self, holder_id: bytes, management_key: bytes, contact: tuple[ContactValue, ...]
    ) -> Report:
        """Changes a holder's contact: at once, or once a new mailbox is confirmed."""
        change = UpdateHolder(holder_id, management_key, contact)
        check_reachable(contact, relay=self.terms.relay)
        if not await self._check_key(holder_id, management_key):
            raise Problem("not_found", "no such holder; register a mail server first", "holder_id")
        email, holder = email_of(contact), _Holder(holder_id)
        same = await self._clerk.run(self._book.registered.email, holder_id) == email
        application = self._new(
            Purpose.CONTACT, holder, management_key, "" if same else email, contact
        )
        if same:
            return await self._granter.commit(application, (), [change])
        before = await self._find(Purpose.CONTACT, holder)
        if before is not None and before.contact == contact:
            return await self.check(before.application_id, management_key)
        return await self._take(application, management_key)

    async def begin_recovery(self, holder_id: bytes, management_key: bytes, domain: str) -> Report:
        """Gives a holder another key, once a domain of it and its mailbox have said so.

        Nothing is kept before the domain has.
        """
        change = ReplaceKey(holder_id, management_key)
        holder = _Holder(holder_id, parse_domain(domain, "domain"))
        run, registered = self._clerk.run, self._book.registered
        email = await run(registered.email, holder_id)
        if not email or not await run(registered.has_domain, holder_id, holder.domain):
            raise Problem(
                "not_found",
                f"no holder of this identifier has a mail server of {holder.domain}",
                "domain",
            )
        before = await self._find(Purpose.RECOVER, holder)
        if before is not None and _has_key(before.key_hash, change.management_key):
            return await self.check(before.application_id, management_key)
        application = self._new(Purpose.RECOVER, holder, management_key, email)
        finding = await self._examiner.recovery(application)
        if finding.verdict is not Verdict.HELD:
            return Report(application, (finding, self._examiner.email(application)))
        return await self._take(application, management_key)

    async def check(self, application_id: bytes, management_key: bytes) -> Report:
        """Looks again, sends the letter once the rest holds, and grants what is all shown.

        Problem "quota": there is no room for it, or for the letter.
        """
        application = await self._own(application_id, management_key)
        report = await self._look(application)
        if not all_hold(report.findings):
            return report
        return await self._granter.grant(application, report.findings, management_key)

    async def is_holder(self, holder_id: bytes, management_key: bytes) -> bool:
        """Whether there is such a holder; Problem "not_yours" if the key is not its."""
        return await self._check_key(holder_id, management_key)

    async def cancel(self, application_id: bytes, management_key: bytes) -> None:
        """The application is no more."""
        await self._own(application_id, management_key)
        await self._clerk.run(self._book.applications.forget, application_id)

    async def prove_address(self, token: str, source: Address) -> None:
        """A connection from `source` bore the token; what follows of it is done."""
        run, waiting, now_ms = self._clerk.run, self._book.applications, self._clock()
        if not is_token(token) or not await run(waiting.prove_address, token, source, now_ms):
            raise Problem(
                "not_found",
                f"your connection comes from {source}, and nothing waits for this token from "
                "there; on a machine of several addresses run it with --from",
                "token",
            )
        application = await run(waiting.waiting_for, token)
        if application is not None and application.email and not application.email_token_hash:
            # Whoever applies hears of a quota, and not the machine that connects.
            with suppress(Problem):
                await self._look(application)

    async def confirm_email(self, token: str) -> Application:
        """Whoever has the letter says yes; for what."""
        application = None
        if is_token(token):
            application = await self._clerk.run(
                self._book.applications.confirm_email, token_hash(token), self._clock()
            )
        if application is None:
            raise Problem(
                "not_found", "no application waits for this; it may have expired", "token"
            )
        self._quotas.answered(application)
        return application

    # --- who may, and how much -------------------------------------------------------

    async def _is_registered(self, subject: Subject) -> bool:
        """Whether the holder has it, under these names, and nothing is to be shown again."""
        found = await self._clerk.run(self._book.registered.registration, subject.address)
        if found is None:
            return False
        now = found[1]
        names = (now.holder_id, now.host, now.domain)
        if names != (subject.holder_id, subject.host, subject.domain):
            return False
        if now.status is Status.NEW:
            # Of a rebuilt database nobody knows how far its week was.
            get = self._book.standings.get
            return await self._clerk.run(get, subject.address, subject.holder_id) is not None
        return now.status is not Status.LAPSED

    async def _check_key(self, holder_id: bytes, management_key: bytes) -> bool:
        """Whether there is such a holder; Problem "not_yours" if the key is not its."""
        key_hash = await self._clerk.run(self._book.registered.key_hash, holder_id)
        if key_hash is not None and not _has_key(key_hash, management_key):
            raise Problem("not_yours", "the management key is not this holder's", "management_key")
        return key_hash is not None

    def _check_newcomer(self, ask: Ask) -> None:
        """Problem: this cannot become a holder."""
        CreateHolder(ask.holder_id, ask.management_key, ask.contact)
        if ask.holder_id != holder_id_of(ask.management_key):
            raise Problem(
                "holder",
                "a holder's identifier is made of its management key; update your client, and "
                "make a new key",
                "holder_id",
            )
        check_reachable(ask.contact, relay=self.terms.relay)

    async def _own(self, application_id: bytes, management_key: bytes) -> Application:
        application = await self._clerk.run(self._book.applications.get, application_id)
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
    ) -> Application:
        now_ms = self._clock()
        server = subject if isinstance(subject, Subject) else None
        return Application(
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
            b"",
            now_ms,
            now_ms + self.terms.pending_ms,
        )

    async def _find(self, purpose: Purpose, what: Subject | _Holder) -> Application | None:
        """The holder's application for the same thing."""
        address = what.address if isinstance(what, Subject) else None
        find = self._book.applications.find
        return await self._clerk.run(find, what.holder_id, purpose, address, what.domain)

    async def _take(self, application: Application, management_key: bytes) -> Report:
        """Keeps an application in the place of the one before, and takes a first look.

        Of the same that are begun at once, as by two lines of one file, one is kept for all.
        """
        waiting, run = self._book.applications, self._clerk.run
        asked = (application.holder_id, application.purpose)
        async with self._keeping:
            before = await run(waiting.find, *asked, application.address, application.domain)
            names = (application.host, application.domain)
            if before is not None and _is_same(before, names, management_key, application.contact):
                application = before
            else:
                await run(waiting.keep, application, erases=before is not None)
        return await self.check(application.application_id, management_key)

    async def _look(self, application: Application) -> Report:
        """What is found; the letter is sent once all else holds, so that nobody is pestered."""
        findings = await self._examiner.look(application)
        is_unsent = self.terms.can_send and application.email and not application.email_token_hash
        if is_unsent and all_hold(findings[:-1]):
            application = await self._send_letter(application)
            findings = (*findings[:-1], self._examiner.email(application))
        return Report(application, findings)

    async def _send_letter(self, application: Application) -> Application:
        await self._quotas.take_letter(application, self._clock())
        token = new_email_token(os.urandom)
        letter = self._writer.confirm(
            application.email, _matter(application), token, application.expires_ms
        )
        sent = replace(application, email_token_hash=token_hash(token))
        await self._clerk.run(self._book.applications.send_letter, sent, letter, self._clock())
        return sent


def _matter(application: Application) -> str:
    """What is asked for, as a letter says it."""
    match application.purpose:
        case Purpose.REGISTER:
            return f"the registration of {application.address} ({application.host})"
        case Purpose.CONTACT:
            return "the change of your contact"
        case Purpose.RECOVER:
            return "another management key of your holder"


def _is_same(
    before: Application,
    names: tuple[str, str],
    management_key: bytes,
    contact: tuple[ContactValue, ...],
) -> bool:
    """Whether to go on with it: the same names, by the same key, with no other contact."""
    return (
        (before.host, before.domain) == names
        and _has_key(before.key_hash, management_key)
        and (not before.contact or contact in ((), before.contact))
    )


def _has_key(key_hash: bytes, management_key: bytes) -> bool:
    return hmac.compare_digest(key_hash, sha256(management_key).digest())
