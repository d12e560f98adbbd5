"""One SMTP session, as a client sees it on the wire."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import BinaryIO, Final, Self

REPLY_SECONDS: Final = 60.0
SMTP_PORT: Final = 25
SMTPS_PORT: Final = 465
# Ciphers that need no certificate, as OpenSSL names them; it takes them for none.
ANONYMOUS: Final = "AECDH:@SECLEVEL=0"
SENDER: Final = "someone@sender.example"


class Tls(StrEnum):
    """When a session is encrypted: never, after STARTTLS, or from its beginning."""

    NONE = "none"
    STARTTLS = "STARTTLS"
    IMPLICIT = "implicit"


@dataclass(frozen=True)
class Dialogue:
    """The server's replies, each all its lines; empty where the session did not get so far.

    `auth` is that to AUTH, which does not end the session, whatever it is.
    """

    greeting: str
    helo: str = ""
    mail: str = ""
    rcpt: str = ""
    data: str = ""
    end: str = ""
    auth: str = ""

    @property
    def outcome(self) -> str:
        """`accepted`, or the stage and the code of the refusal: `rcpt 550`."""
        stages = ("greeting", "helo", "mail", "rcpt", "data", "end")
        for stage in stages:
            reply = getattr(self, stage)
            if reply and reply[0] in "45":
                return f"{stage} {reply[:3]}"
            if not reply:
                return f"{stage} closed"
        return "accepted"

    @property
    def refusal(self) -> str:
        """The reply that refused; empty when none did."""
        if self.outcome == "accepted":
            return ""
        return str(getattr(self, self.outcome.split()[0]))


def send_mail(
    server: str,
    source: str,
    recipient: str,
    *,
    port: int = SMTP_PORT,
    credentials: str = "",
    tls: Tls = Tls.NONE,
) -> Dialogue:
    """Sends one small message from the address `source`; what the server replied.

    `credentials` are those of AUTH PLAIN, in base64.
    """
    commands = [
        "EHLO mail.sender.example",
        *(["STARTTLS", "EHLO mail.sender.example"] if tls is Tls.STARTTLS else []),
        *([f"AUTH PLAIN {credentials}"] if credentials else []),
        f"MAIL FROM:<{SENDER}>",
        f"RCPT TO:<{recipient}>",
        "DATA",
        # A recipient may have no domain, and a header may not.
        f"From: {SENDER}\r\nTo: undisclosed-recipients:;\r\nSubject: a test\r\n"
        "Message-ID: <1@sender.example>\r\n\r\nHello.\r\n.",
    ]
    auth = ""
    with _Session(server, port, source, is_encrypted=tls is Tls.IMPLICIT) as session:
        replies = [session.reply()]
        for command in commands:
            if replies[-1][:1] not in ("2", "3"):
                break
            reply = session.ask(command)
            if command.startswith("AUTH"):
                auth = reply
            elif command == "STARTTLS":
                assert reply.startswith("220"), reply
                session.encrypt()
                # What was said before does not count any more (RFC 3207, 4.2).
                replies.pop()
            else:
                replies.append(reply)
        if replies[-1]:
            session.ask("QUIT")
    return replace(Dialogue(*replies), auth=auth)


class _Session:
    """A connection, encrypted or not yet; a context manager."""

    def __init__(self, server: str, port: int, source: str, *, is_encrypted: bool) -> None:
        self._stack = ExitStack()
        self._connection = self._stack.enter_context(
            socket.create_connection((server, port), REPLY_SECONDS, (source, 0))
        )
        if is_encrypted:
            self.encrypt()
        else:
            self._incoming = self._stack.enter_context(self._connection.makefile("rb"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def encrypt(self) -> None:
        """Goes on over TLS."""
        self._connection = self._stack.enter_context(_context().wrap_socket(self._connection))
        self._incoming = self._stack.enter_context(self._connection.makefile("rb"))

    def reply(self) -> str:
        """The next reply."""
        return _reply(self._incoming)

    def ask(self, command: str) -> str:
        """The reply to a command."""
        self._connection.sendall(command.encode() + b"\r\n")
        return self.reply()


def _context() -> ssl.SSLContext:
    """Without a certificate: OpenSMTPD 6.8 with OpenSSL 3 finds no private key for any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # TLS 1.3 has no such ciphers.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ANONYMOUS)
    return context


def _reply(incoming: BinaryIO) -> str:
    """All lines of one reply (RFC 5321, 4.2.1), without line ends; empty when it was closed."""
    lines = []
    while True:
        try:
            line = incoming.readline().decode("utf-8", "replace").rstrip("\r\n")
        except ConnectionResetError:
            return ""
        lines.append(line)
        if line[3:4] != "-":
            return "\n".join(lines)
