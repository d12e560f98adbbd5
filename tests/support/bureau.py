"""A desk, its rounds and its post over a real log, real names and real mail; the clock is ours."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from node.resolving import Resolvers
from node.workers import Workers
from primary.desk.book import Book
from primary.desk.desk import Desk
from primary.desk.looking import Looker
from primary.desk.mail import Mailer
from primary.desk.post import Post
from primary.desk.reviews import Reviews
from primary.desk.rounds import Rounds
from primary.desk.servers import Servers
from primary.desk.terms import Ask, Report, Terms
from primary.desk.vantage import VantagePoints
from primary.intake import Intake
from primary.registering.findings import Verdict
from primary.registering.letters import Writer
from primary.registering.pacing import Pace
from primary.registering.quotas import Quotas
from primary.registering.schedule import DAY_MS
from registry.address import Address
from registry.board import Board
from registry.contact import ContactValue
from registry.decision import SetLapses, SetPolicy
from registry.kinds import ContactField
from registry.registration import Registration
from tests.support.boards import a_chain
from tests.support.internet import SMTP_PORT, Internet, Mailboxes, token_in
from tests.support.sequencing import Log, Person, contact_with, new_log

T = TypeVar("T")

TERMS = Terms(
    proofs=True, can_send=True, relay=False, lab=True, pending_ms=7 * DAY_MS, quotas=Quotas()
)
OWN_ZONE = "smtpnic.example"
BOARD = "board@smtpnic.example"
# Of the one name server there is; nobody waits for turns here.
QUERIES_A_SECOND = 1e6


@dataclass(frozen=True)
class Applicant(Person):
    """Somebody with a mail server, a domain and a mailbox."""

    address: str = ""

    def contact(self, *values: ContactValue) -> tuple[ContactValue, ...]:
        mailbox = ContactValue(ContactField.EMAIL, self.mailbox, public=True)
        return contact_with(mailbox, *values)

    @property
    def mailbox(self) -> str:
        return f"{self.name}@{self.domain}"

    def ask(self, **others: Any) -> Ask:
        asked = Ask(self.holder_id, self.key, Address.parse(self.address), contact=self.contact())
        return replace(asked, **others)


class Bureau:
    """All that serves who registers, without the network in front of it."""

    def __init__(self, directory: Path, net: Internet, runner: asyncio.Runner) -> None:
        self.net = net
        self.log: Log = new_log(directory)
        self.mailboxes: Mailboxes = net.mailboxes()
        self._runner = runner
        self.book = Book(self.log.url)
        self.clerk = Workers("clerk")
        self.looker = Looker(Resolvers(net.resolvers), (OWN_ZONE,), SMTP_PORT)
        self.mailer = Mailer(self.mailboxes.endpoint, "none", "", "", f"registry@{OWN_ZONE}")
        self.writer = Writer(OWN_ZONE, "https://smtpnic.example/confirm/{token}")
        self.terms = TERMS
        self.held_back = 0
        self.points = VantagePoints(self.looker, Random(9))
        # What the board has decided about lapses.
        self.board = Board.begin(a_chain())
        self.open()

    def open(self) -> None:
        """As a start of the primary does."""
        self.run(self._open())

    async def _open(self) -> None:
        self.intake = Intake(self.log.sequencer, 1000, lambda _: None)
        self.post = Post(self.book, self.clerk, self.mailer, self.now)
        self.desk = Desk(
            self.book,
            self.looker,
            self.intake.submit,
            clerk=self.clerk,
            writer=self.writer,
            terms=self.terms,
            policies=lambda: self.board.policies,
            clock=self.now,
        )
        reviews = Reviews(
            self.book,
            self.looker,
            self.intake.submit,
            clerk=self.clerk,
            writer=self.writer,
            clock=self.now,
            dice=Random(8),
            points=self.points,
            servers=Servers(self.looker.resolvers, Pace(QUERIES_A_SECOND)),
            board=lambda: self.board,
            board_mailbox=BOARD,
        )
        self.rounds = Rounds(
            self.book,
            self.looker,
            clerk=self.clerk,
            writer=self.writer,
            reviews=reviews,
            post=self.post,
            clock=self.now,
            dice=Random(7),
            on_held_back=lambda number: setattr(self, "held_back", number),
        )

    def set_policies(self, **values: int) -> None:
        """The board has decided so, and it is in the log."""
        self.board = replace(self.board, policies=replace(self.board.policies, **values))

    def reopen(self) -> None:
        """As a restart does, with what the terms are now."""
        self.run(self.intake.close())
        self.post.close()
        self.open()

    def decide(self, act: SetLapses | SetPolicy) -> None:
        """The board has decided so, and it is in the log."""
        match act:
            case SetLapses():
                self.board = replace(self.board, lapses=act)
            case SetPolicy(name, value):
                policies = self.board.policies.having(name, value)
                self.board = replace(self.board, policies=policies)

    def now(self) -> int:
        return self.log.now_ms

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def close(self) -> None:
        self.run(self.intake.close())
        self.post.close()
        self.clerk.close()
        self.book.close()
        self.log.close()

    # --- what people do --------------------------------------------------------------

    def applicant(self, name: str = "ann") -> Applicant:
        """Somebody new, with names that lead to each other, and nothing shown yet."""
        address = self.net.new_address()
        domain = f"d{address.rpartition('.')[2]}.example.org"
        self.net.name(address, f"mail.{domain}")
        return Applicant(name, f"mail.{domain}", domain, address=address)

    def round(self, later_ms: int = 0) -> None:
        """The clock goes on, and then a round is gone."""
        self.log.now_ms += later_ms
        self.run(self.rounds.once())

    def begin(self, person: Applicant, **others: Any) -> Report:
        return self.run(self.desk.begin(person.ask(**others)))

    def check(self, report: Report, person: Applicant) -> Report:
        return self.run(self.desk.check(report.application.application_id, person.key))

    def let_in(self, person: Applicant) -> None:
        self.net.let_in(person.domain, person.holder_id)

    def connect(self, report: Report, address: str = "") -> None:
        source = Address.parse(address) if address else report.application.address
        assert source is not None
        self.run(self.desk.prove_address(report.application.address_token, source))

    def confirm(self, person: Applicant) -> None:
        """Reads the letter, and follows the link."""
        self.run(self.post.send_due())
        letter = self.mailboxes.wait_letter(person.mailbox, "confirm")
        self.run(self.desk.confirm_email(token_in(letter)))

    def register(self, person: Applicant) -> Report:
        """All steps."""
        report = self.begin(person)
        self.let_in(person)
        self.connect(report)
        if report.application.email:
            self.confirm(person)
        return self.check(report, person)

    def registered(self, person: Applicant) -> Registration | None:
        return self.log.registered(person.address)


def verdicts(report: Report) -> dict[str, Verdict]:
    return {str(finding.condition): finding.verdict for finding in report.findings}


@contextmanager
def open_bureau(directory: Path, net: Internet) -> Iterator[Bureau]:
    with asyncio.Runner() as runner:
        bureau = Bureau(directory, net, runner)
        try:
            yield bureau
        finally:
            bureau.close()
