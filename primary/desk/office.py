"""The desk, the rounds and the post together, as the settings say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from node.logging import get_logger
from node.workers import Workers
from primary.desk.book import Book
from primary.desk.desk import Desk, Submit
from primary.desk.looking import Looker
from primary.desk.mail import Mailer
from primary.desk.post import Post
from primary.desk.relay import Relay, RelaySettings
from primary.desk.resolving import Resolvers, system_resolvers
from primary.desk.reviews import Reviews
from primary.desk.rounds import Rounds
from primary.desk.terms import Terms
from primary.registering.letters import Writer
from primary.registering.quotas import Quotas
from primary.registering.relaying import RelayLimits
from primary.registering.schedule import DAY_MS
from primary.settings import PrimarySettings

_log = get_logger("desk")


class Office:
    """All that serves who registers, on the running event loop."""

    def __init__(
        self,
        settings: PrimarySettings,
        submit: Submit,
        clock: Callable[[], int],
        on_halt: Callable[[bool], None],
    ) -> None:
        """`on_halt` is told whether lapses are held back.

        ConfigurationError: no resolvers are named, and the system has none either.
        """
        registering = settings.registering
        self._book = Book(settings.store_url)
        self._clerk = Workers("clerk")
        looker = Looker(
            Resolvers(registering.resolvers or system_resolvers()),
            (settings.origin, *registering.own_zones),
            registering.greeting_port,
        )
        writer = Writer(settings.origin, settings.mail.confirm_link)
        mailer = _mailer(settings)
        self._post = Post(self._book, self._clerk, mailer, clock) if mailer else None
        self._relay = self._make_relay(settings, mailer, clock) if mailer else None
        self._interval_seconds = registering.round_seconds
        self.desk = Desk(
            self._book,
            looker,
            submit,
            clerk=self._clerk,
            writer=writer,
            terms=_terms(settings),
            clock=clock,
        )
        dice = Random()  # noqa: S311 - when it looks is no secret worth more
        reviews = Reviews(
            self._book,
            looker,
            submit,
            clerk=self._clerk,
            writer=writer,
            clock=clock,
            dice=dice,
            on_halt=on_halt,
        )
        self.rounds = Rounds(
            self._book,
            looker,
            submit,
            clerk=self._clerk,
            writer=writer,
            reviews=reviews,
            post=self._post,
            clock=clock,
            dice=dice,
        )
        if settings.asks_proofs and mailer is None:
            _log.warning("mail.missing", advice="set [mail] server: nobody new can register")

    async def run(self) -> None:
        """Goes the rounds and takes mail, until cancelled; ConfigurationError: it cannot listen."""
        parts = [self.rounds.run(self._interval_seconds)]
        if self._relay is not None:
            parts.append(self._relay.run())
        await asyncio.gather(*parts)

    def close(self) -> None:
        """Ends its threads and connections; after `run` has ended."""
        if self._relay is not None:
            self._relay.close()
        if self._post is not None:
            self._post.close()
        self._clerk.close()
        self._book.close()

    def _make_relay(
        self, settings: PrimarySettings, mailer: Mailer, clock: Callable[[], int]
    ) -> Relay | None:
        relay = settings.relay
        if relay.listen is None:
            return None
        limits = RelayLimits(relay.per_client, relay.per_holder)
        return Relay(
            RelaySettings(relay.listen, relay.protocol, relay.max_bytes, limits),
            settings.origin,
            book=self._book,
            clerk=self._clerk,
            mailer=mailer,
            clock=clock,
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
        relay=settings.relay.listen is not None,
        lab=settings.lab,
        pending_ms=round(registering.pending_days * DAY_MS),
        quotas=Quotas(
            registering.per_domain,
            registering.per_email,
            registering.per_ipv4_24,
            registering.per_ipv6_64,
            registering.per_ipv6_48,
            registering.unconfirmed_per_email,
        ),
    )
