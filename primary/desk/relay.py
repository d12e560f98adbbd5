"""Takes mail to holders, by SMTP or LMTP, and forwards it where the contact says.

The message goes on as it came: its signatures stay good. The sender of the envelope becomes the
registry's own (SPF, RFC 7208, is about who sends), so no bounce tells where it went (P6).
"""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.logging import get_logger
from node.workers import Workers
from primary.desk.book import Book
from primary.desk.mail import Mailer, NotSentError
from primary.registering.relaying import (
    MAX_RECEIVED,
    RelayCounter,
    RelayLimits,
)
from registry.relaying import holder_of

# RFC 5321, 4.5.3.2.7 grants a client five minutes to go on; this is no public mail exchanger.
IDLE_SECONDS: Final = 60.0
MAX_RECIPIENTS: Final = 1

NO_SUCH_HOLDER: Final = "550 5.1.1 no holder has this address"
NO_BOUNCES: Final = "550 5.7.1 bounces are not forwarded"
TOO_MANY: Final = "451 4.7.1 too many messages, try again later"
ONE_AT_A_TIME: Final = "452 4.5.3 one recipient a message"
A_LOOP: Final = "554 5.4.6 this message goes round in circles"
NOT_NOW: Final = "451 4.4.1 it cannot be forwarded at present, try again later"
NOT_TAKEN: Final = "550 5.7.1 the holder's mail server does not take this message"
FORWARDED: Final = "250 2.0.0 forwarded"

_log = get_logger("relay")


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """Where it listens, what it speaks ("smtp" or "lmtp"), and how much it takes."""

    listen: Endpoint
    protocol: Literal["smtp", "lmtp"]
    max_bytes: int
    limits: RelayLimits


class Relay:
    """The receiver and forwarder, on the running event loop."""

    def __init__(
        self,
        settings: RelaySettings,
        origin: str,
        *,
        book: Book,
        clerk: Workers,
        mailer: Mailer,
        clock: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._origin = origin
        self._book = book
        self._clerk = clerk
        self._mailer = mailer
        self._clock = clock
        self._counter = RelayCounter(settings.limits)
        # Its own: the holder's mail server may take its time.
        self._carrier = Workers("relay")

    async def run(self) -> None:
        """Takes mail until cancelled. ConfigurationError: it cannot listen."""
        loop, endpoint = asyncio.get_running_loop(), self._settings.listen
        try:
            server = await loop.create_server(self._protocol, endpoint.host, endpoint.port)
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {endpoint}: {error.strerror}") from error
        _log.info("listening", listener="relay", endpoint=str(endpoint))
        async with server:
            await server.serve_forever()

    def close(self) -> None:
        """Ends the thread that forwards."""
        self._carrier.close()

    def _protocol(self) -> SMTP:
        make = LMTP if self._settings.protocol == "lmtp" else SMTP
        return make(
            self,
            data_size_limit=self._settings.max_bytes,
            enable_SMTPUTF8=True,
            hostname=self._origin,
            ident="relay",
            timeout=IDLE_SECONDS,
            # What is not asked for is not offered.
            auth_exclude_mechanism=["LOGIN", "PLAIN"],
        )

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        """Takes a sender, unless it is that of a bounce."""
        if address in ("", "<>"):
            return NO_BOUNCES
        envelope.mail_from = address
        envelope.mail_options += options
        return "250 2.1.0 ok"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        """Takes a relay address of a holder that there is."""
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return ONE_AT_A_TIME
        holder_id = holder_of(address, self._origin)
        if holder_id is None or not await self._clerk.run(self._book.registered.email, holder_id):
            return NO_SUCH_HOLDER
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options += options
        return "250 2.1.5 ok"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Forwards the message, or says why not."""
        holder_id = holder_of(envelope.rcpt_tos[0], self._origin)
        content = envelope.content or b""
        message = content if isinstance(content, bytes) else content.encode()
        if holder_id is None:
            return NO_SUCH_HOLDER
        if _hops(message) > MAX_RECEIVED:
            return A_LOOP
        client = self._client(session, envelope)
        if not self._counter.admit(client, holder_id, self._clock()):
            return TOO_MANY
        mailbox = await self._clerk.run(self._book.registered.email, holder_id)
        if not mailbox:
            return NO_SUCH_HOLDER
        received = f"Received: from {_printable(client)} by {self._origin}\r\n".encode()
        try:
            await self._carrier.run(self._mailer.hand_over, mailbox, received + message)
        except NotSentError as error:
            # What the next server says may tell where it is.
            _log.warning("relay.not_taken", holder=holder_id.hex(), may_pass=error.may_pass)
            return NOT_NOW if error.may_pass else NOT_TAKEN
        return FORWARDED

    def _client(self, session: Session, envelope: Envelope) -> str:
        """Who sends: by LMTP it is always the same mail exchanger that connects."""
        peer: Any = session.peer
        if self._settings.protocol == "lmtp" or not isinstance(peer, tuple):
            return (envelope.mail_from or "").lower()
        return str(peer[0])


def _hops(message: bytes) -> int:
    headers = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(message)
    return len(headers.get_all("Received", []))


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())
