"""Counts what there is already, where quotas are set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from node.workers import Workers
from primary.desk.book import Book
from primary.desk.looking import Looker
from primary.registering.application import Application
from primary.registering.judging import Subject
from primary.registering.owners import canonical_mailbox, registrable_domain
from primary.registering.proof_records import names_holder
from primary.registering.quotas import (
    Quotas,
    Scope,
    check_quota,
    decided,
    ranges_of,
    scopes_of,
)
from primary.registering.schedule import DAY_MS, HOUR_MS
from primary.registering.windows import Windows
from registry.root import Policies

WEEK_MS: Final = 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class QuotaKeeper:
    """Raises Problem "quota" where there is no room for one more. For one event loop's thread."""

    book: Book
    clerk: Workers
    looker: Looker
    settings: Quotas
    # What the board has set, as it is now.
    policies: Callable[[], Policies]
    # How long a letter may wait to be answered.
    pending_ms: int
    _windows: Windows = field(default_factory=Windows)

    @property
    def quotas(self) -> Quotas:
        """As they are now."""
        return decided(self.settings, self.policies())

    async def check_server(self, subject: Subject, email: str) -> None:
        """Whether one more mail server has room, of a holder with this e-mail address.

        Nothing else is counted as long as the caller lets nobody else in between. What the holder
        has at that address already is not one more, though there are too many by now.
        """
        counts, run, address = self.book.counts, self.clerk.run, subject.address
        quotas = self.quotas
        domain, mailbox = registrable_domain(subject.domain), canonical_mailbox(email)
        kept = await run(self.book.standings.get, address, subject.holder_id)
        if kept is None or registrable_domain(kept.subject.domain) != domain:
            count = await run(counts.registrable, domain, address)
            check_quota(quotas, Scope.DOMAIN, domain, count)
        if kept is not None:
            return
        count = await run(counts.mailbox, mailbox, address)
        check_quota(quotas, Scope.EMAIL, mailbox, count)
        for network in ranges_of(address):
            count = await run(counts.network, network, address)
            if count >= quotas.of(network.scope) and await self._runs_network(subject):
                return
            check_quota(quotas, network.scope, network.text, count)

    async def take_application(self, client: str, now_ms: int) -> None:
        """Whether one more application may wait, begun by this client; nobody: is not counted."""
        scopes = scopes_of(client) if client else ()
        for scope, what in scopes:
            count = self._windows.count(_client(what), now_ms, HOUR_MS)
            check_quota(self.quotas, scope, what, count)
        for _, what in scopes:
            self._windows.add(_client(what), now_ms, HOUR_MS)
        waiting, run = self.book.applications, self.clerk.run
        count = await run(waiting.number)
        if count >= self.quotas.pending:
            # Nobody shuts others out with applications of which nothing is ever shown.
            count -= await run(waiting.forget_unshown, now_ms - HOUR_MS)
        check_quota(self.quotas, Scope.PENDING, "", count)

    def finished(self, client: str) -> None:
        """The application that was taken is granted: whoever has many mail servers goes on."""
        for _, what in scopes_of(client) if client else ():
            self._windows.take_back(_client(what))

    async def take_letter(self, application: Application, now_ms: int) -> None:
        """Whether one more letter may be sent to a mailbox that did not answer the others.

        It is counted at once, so that of many that are begun together each sees the others, and
        by who causes it too: whoever has one mail server cannot write to thousands of people.
        """
        mailbox, cause = canonical_mailbox(application.email), _cause(application)
        # What was sent before a restart is in the book alone.
        kept = await self.clerk.run(self.book.applications.unanswered, mailbox)
        count = max(kept, self._windows.count(_reader(mailbox), now_ms, self.pending_ms))
        check_quota(self.quotas, Scope.UNCONFIRMED, application.email, count)
        count = self._windows.count(cause, now_ms, WEEK_MS)
        check_quota(self.quotas, Scope.LETTERS, cause, count)
        self._windows.add(_reader(mailbox), now_ms, self.pending_ms)
        self._windows.add(cause, now_ms, WEEK_MS)

    def answered(self, application: Application) -> None:
        """Somebody reads the letters to that mailbox."""
        self._windows.forget(_reader(canonical_mailbox(application.email)))

    async def _runs_network(self, subject: Subject) -> bool:
        """Whether the reverse zone of a network, not of the address alone, names the holder."""
        answers = await self.looker.network(subject)
        return any(
            names_holder(text, subject.holder_id)
            for answer in answers[1:]
            for text in answer.values
        )


def _client(what: str) -> str:
    return f"client {what}"


def _reader(mailbox: str) -> str:
    return f"mailbox {mailbox}"


def _cause(application: Application) -> str:
    """Who had the letter sent: the largest network around a mail server, or a holder."""
    if application.address is None:
        return f"holder {application.holder_id.hex()}"
    return ranges_of(application.address)[-1].text
