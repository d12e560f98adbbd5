"""One SMTP session, as a client sees it on the wire."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import BinaryIO, Final

REPLY_SECONDS: Final = 60.0
SMTP_PORT: Final = 25
SENDER: Final = "someone@sender.example"


@dataclass(frozen=True)
class Dialogue:
    """The server's replies, each all its lines; empty where the session did not get so far."""

    greeting: str
    helo: str = ""
    mail: str = ""
    rcpt: str = ""
    data: str = ""
    end: str = ""

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
) -> Dialogue:
    """Sends one small message from the address `source`; what the server replied.

    `credentials` are those of AUTH PLAIN, in base64.
    """
    replies: list[str] = []
    commands = [
        "EHLO mail.sender.example",
        *([f"AUTH PLAIN {credentials}"] if credentials else []),
        f"MAIL FROM:<{SENDER}>",
        f"RCPT TO:<{recipient}>",
        "DATA",
        # A recipient may have no domain, and a header may not.
        f"From: {SENDER}\r\nTo: undisclosed-recipients:;\r\nSubject: a test\r\n"
        "Message-ID: <1@sender.example>\r\n\r\nHello.\r\n.",
    ]
    with (
        socket.create_connection((server, port), REPLY_SECONDS, (source, 0)) as connection,
        connection.makefile("rb") as incoming,
    ):
        replies.append(_reply(incoming))
        for command in commands:
            if replies[-1][:1] not in ("2", "3"):
                break
            connection.sendall(command.encode() + b"\r\n")
            replies.append(_reply(incoming))
            if command.startswith("AUTH"):
                authenticated = replies.pop()
                assert authenticated.startswith("235"), (authenticated, replies)
        if replies[-1]:
            connection.sendall(b"QUIT\r\n")
            _reply(incoming)
    return Dialogue(*replies)


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
