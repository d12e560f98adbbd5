"""Counts what there is already, where quotas are set."""

from __future__ import annotations

from dataclasses import dataclass

from node.workers import Workers
from primary.desk.book import Book
from primary.desk.looking import Looker
from primary.registering.judging import Subject
from primary.registering.proof_records import names_holder
from primary.registering.quotas import Quotas, Scope, UnansweredLetters, check_quota, ranges_of


@dataclass(frozen=True, slots=True)
class QuotaKeeper:
    """Raises Problem "quota" where there is no room for one more."""

    book: Book
    clerk: Workers
    looker: Looker
    quotas: Quotas
    letters: UnansweredLetters

    async def check_server(self, subject: Subject, mailbox: str) -> None:
        """Whether one more mail server has room, of a holder with this mailbox."""
        book, run = self.book, self.clerk.run
        if await run(book.standing, subject.address, subject.holder_id) is not None:
            # It is among those counted already.
            return
        count = await run(book.count_domain, subject.domain)
        check_quota(self.quotas, Scope.DOMAIN, subject.domain, count)
        count = await run(book.count_email, mailbox)
        check_quota(self.quotas, Scope.EMAIL, mailbox, count)
        for network in ranges_of(subject.address):
            count = await run(book.count_network, network)
            if count >= self.quotas.of(network.scope) and await self._runs_network(subject):
                return
            check_quota(self.quotas, network.scope, network.text, count)

    async def take_letter(self, mailbox: str, now_ms: int) -> None:
        """Whether one more letter may be sent to a mailbox that did not answer the others.

        It is counted at once, so that of many that are begun together each sees the others.
        """
        # What was sent before a restart is in the book alone.
        kept = await self.clerk.run(self.book.count_unconfirmed, mailbox)
        count = max(kept, self.letters.count(mailbox, now_ms))
        check_quota(self.quotas, Scope.UNCONFIRMED, mailbox, count)
        self.letters.add(mailbox, now_ms)

    async def _runs_network(self, subject: Subject) -> bool:
        """Whether the reverse zone of a network, not of the address alone, names the holder."""
        answers = await self.looker.network(subject)
        return any(
            names_holder(text, subject.holder_id)
            for answer in answers[1:]
            for text in answer.values
        )
