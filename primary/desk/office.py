"""The desk, the rounds and the post together, as the settings say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from node.logging import get_logger
from node.resolving import Resolvers, system_resolvers
from node.workers import Workers
from primary.desk.adopting import Adopter
from primary.desk.book import Book
from primary.desk.complaints import Complaints
from primary.desk.desk import Desk
from primary.desk.looking import Looker
from primary.desk.mail import Mailer
from primary.desk.post import Post
from primary.desk.relay import Relay, RelaySettings
from primary.desk.reviews import Reviews
from primary.desk.rounds import Rounds
from primary.desk.servers import Servers
from primary.desk.terms import Terms
from primary.desk.vantage import VantagePoints
from primary.intake import Submit
from primary.registering.letters import Writer
from primary.registering.pacing import Pace
from primary.registering.quotas import Quotas
from primary.registering.relaying import RelayLimits
from primary.registering.schedule import DAY_MS
from primary.settings import PrimarySettings
from registry.board import Board

_log = get_logger("desk")


class Office:
    """All that serves who registers, on the running event loop."""

    def __init__(
        self,
        settings: PrimarySettings,
        submit: Submit,
        clock: Callable[[], int],
        on_held_back: Callable[[int], None],
        board: Callable[[], Board],
    ) -> None:
        """`board` is asked for its policies and decisions, as they are when it matters.

        `on_held_back` is told how many lapses are held back, for the board to decide.

        ConfigurationError: no resolvers are named, and the system has none either.
        """
        registering = settings.registering
        self.book = Book(settings.store_url)
        self.clerk = Workers("clerk")
        self.resolvers = Resolvers(registering.resolvers or system_resolvers())
        self._settings, self._submit, self._clock = settings, submit, clock
        self._looker = Looker(
            self.resolvers,
            (settings.origin, *registering.own_zones),
            registering.greeting_port,
        )
        self._writer = Writer(settings.origin, settings.confirm_link)
        self._dice = Random()  # noqa: S311 - when it looks is no secret worth more
        mailer = _mailer(settings)
        self._post = Post(self.book, self.clerk, mailer, clock) if mailer else None
        self._relay = self._make_relay(mailer) if mailer else None
        self.desk = Desk(
            self.book,
            self._looker,
            submit,
            clerk=self.clerk,
            writer=self._writer,
            terms=_terms(settings),
            policies=lambda: board().policies,
            clock=clock,
        )
        self.points = VantagePoints(self._looker, self._dice)
        self.rounds = self._make_rounds(self._make_reviews(board), on_held_back)
        self._adopter = Adopter(
            self.book, clerk=self.clerk, clock=clock, dice=self._dice, board=board
        )
        self.complaints = self._make_complaints()
        if settings.asks_proofs and mailer is None:
            _log.warning("mail.missing", advice="set [mail] server: nobody new can register")

    async def run(self) -> None:
        """Goes the rounds and takes mail, until cancelled; ConfigurationError: it cannot listen."""
        parts = [self.rounds.run(self._settings.registering.round_seconds)]
        if self._settings.asks_proofs:
            parts.append(self._adopter.run())
        if self._relay is not None:
            parts.append(self._relay.run())
        await asyncio.gather(*parts)

    def close(self) -> None:
        """Ends its threads and connections; after `run` has ended."""
        if self._relay is not None:
            self._relay.close()
        if self._post is not None:
            self._post.close()
        self.clerk.close()
        self.book.close()

    def _make_reviews(self, board: Callable[[], Board]) -> Reviews:
        pace = Pace(self._settings.registering.per_name_server)
        return Reviews(
            self.book,
            self._looker,
            self._submit,
            clerk=self.clerk,
            points=self.points,
            servers=Servers(self.resolvers, pace),
            writer=self._writer,
            clock=self._clock,
            dice=self._dice,
            board=board,
            board_mailbox=self._settings.web.board,
        )

    def _make_rounds(self, reviews: Reviews, on_held_back: Callable[[int], None]) -> Rounds:
        return Rounds(
            self.book,
            self._looker,
            clerk=self.clerk,
            writer=self._writer,
            reviews=reviews,
            post=self._post,
            clock=self._clock,
            dice=self._dice,
            on_held_back=on_held_back,
        )

    def _make_complaints(self) -> Complaints:
        web = self._settings.web
        return Complaints(
            self.book,
            self.clerk,
            self._writer,
            limits=RelayLimits(web.complaints_per_client, web.complaints_per_holder),
            board=web.board,
            clock=self._clock,
        )

    def _make_relay(self, mailer: Mailer) -> Relay | None:
        relay = self._settings.mail_relay
        if relay.listen is None:
            return None
        limits = RelayLimits(relay.per_client, relay.per_holder)
        return Relay(
            RelaySettings(relay.listen, relay.protocol, relay.max_bytes, limits),
            self._settings.origin,
            book=self.book,
            clerk=self.clerk,
            mailer=mailer,
            clock=self._clock,
        )


def _mailer(settings: PrimarySettings) -> Mailer | None:
    mail = settings.mail
    if mail.server is None:
        return None
    return Mailer(
        mail.server,
        mail.security,
        mail.user,
        mail.password.get_secret_value(),
        settings.mail_sender,
    )


def _terms(settings: PrimarySettings) -> Terms:
    registering = settings.registering
    return Terms(
        proofs=settings.asks_proofs,
        can_send=settings.mail.server is not None,
        relay=settings.mail_relay.listen is not None,
        lab=settings.lab,
        pending_ms=round(registering.pending_days * DAY_MS),
        quotas=Quotas(
            registering.per_domain,
            registering.per_email,
            registering.per_ipv4_24,
            registering.per_ipv6_64,
            registering.per_ipv6_48,
            registering.unconfirmed_per_email,
            registering.letters,
            registering.per_client,
            registering.pending,
        ),
    )
