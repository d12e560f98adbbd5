"""Hands letters to the configured SMTP server, one after another, and again while it is away."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formatdate, make_msgid
from typing import Final

from node.endpoint import Endpoint
from primary.registering.letters import Letter
from registry.errors import RegistryError

# RFC 5321, 4.5.3.2 grants minutes to each command; a letter that does not go is tried again.
SMTP_SECONDS: Final = 30.0
# RFC 3834, 5: so that no vacation notice answers.
_AUTOMATIC: Final = (("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All"))


class NotSentError(RegistryError):
    """The mail server did not take a letter. `may_pass`: trying again later may help."""

    def __init__(self, message: str, *, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass


@dataclass(frozen=True, slots=True)
class Mailer:
    """How letters leave: the SMTP server, whether and how it is spoken to over TLS, and from whom.

    `security` is "none", "starttls" or "tls".
    """

    server: Endpoint
    security: str
    user: str
    password: str
    sender: str

    def send(self, letter: Letter) -> None:
        """Sends a letter; NotSentError if it was not taken."""
        try:
            message = self._compose(letter)
        except (ValueError, LookupError, MessageError) as error:
            # An address may be good, and look like an encoded word (RFC 2047) of a line's end.
            raise NotSentError(f"no letter can be written: {error}", may_pass=False) from None
        self.hand_over(letter.recipient, message)

    def _compose(self, letter: Letter) -> bytes:
        message = EmailMessage(policy=SMTPUTF8)
        message["From"] = self.sender
        message["To"] = letter.recipient
        message["Subject"] = letter.subject
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2])
        for name, value in _AUTOMATIC:
            message[name] = value
        message.set_content(letter.body)
        is_ascii = letter.recipient.isascii()
        return message.as_bytes(policy=SMTP if is_ascii else SMTPUTF8)

    def hand_over(self, recipient: str, message: bytes) -> None:
        """Hands a whole message over, for one recipient; NotSentError if it was not taken."""
        # RFC 6531: only an address that needs it asks the server for it.
        options = [] if recipient.isascii() else ["SMTPUTF8"]
        try:
            with self._connected() as connection:
                connection.sendmail(self.sender, [recipient], message, mail_options=options)
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            raise NotSentError(f"{code} {text!r}", may_pass=code < 500) from None
        except smtplib.SMTPResponseException as error:
            code = error.smtp_code
            raise NotSentError(f"{code} {error.smtp_error!r}", may_pass=code < 500) from None
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise NotSentError(f"{self.server}: {error}", may_pass=True) from error

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        host, port = self.server.host, self.server.port
        # Reads all authorities of the machine: not where nothing is encrypted.
        context = ssl.create_default_context() if self.security != "none" else None
        if self.security == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                host, port, timeout=SMTP_SECONDS, context=context
            )
        else:
            connection = smtplib.SMTP(host, port, timeout=SMTP_SECONDS)
        with connection:
            if self.security == "starttls":
                connection.starttls(context=context)
            if self.user:
                connection.login(self.user, self.password)
            yield connection
