"""Holds an SMTP session up to RCPT, as a client of some address would; sends no message.

Where the machine does not have the address, some servers can play one.
"""

from __future__ import annotations

import errno
import io
import re
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from node.endpoint import Endpoint

# RFC 5321, 4.5.3.2.1: five minutes for a greeting are for real mail; a person looks at this.
MAX_REPLY_LINES: Final = 100
# A session that is played asks DNS as a real one does.
PLAYED_SECONDS: Final = 60.0
NOT_TRIED: Final = "not tried"
_REPLY_LINE: Final = re.compile(rb"[0-9]{3}[ -]")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client of an address saw: the reply to RCPT or the one that ended the session.

    `is_played`: nobody connected, the server said what it would do.
    """

    address: str
    outcome: str
    reply: str
    greeting: str = ""
    is_played: bool = False


def hold(server: Endpoint, source: str, recipient: str, timeout_seconds: float) -> Seen:
    """Greets, names a sender and a recipient, and leaves; every failure is an outcome."""
    try:
        with (
            socket.create_connection(
                (server.host, server.port), timeout_seconds, (source, 0)
            ) as connection,
            connection.makefile("rb") as incoming,
        ):
            return _talk(incoming, connection.sendall, source, recipient)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return Seen(source, NOT_TRIED, "this machine does not have the address")
        return Seen(source, "failed", error.strerror or str(error))


def play(command: Sequence[str], source: str, recipient: str) -> Seen:
    """The same session, played by the server's own `command`; it need not have the address."""
    said = b"".join(line.encode() + b"\r\n" for line in (*_commands(recipient), "QUIT"))
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command, and an address
            [*command, source], input=said, capture_output=True, timeout=PLAYED_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Seen(source, "failed", f"{command[0]}: {error}", is_played=True)
    # Remarks for people stand between the replies.
    replies = b"".join(line for line in done.stdout.splitlines(True) if _REPLY_LINE.match(line))
    seen = _talk(io.BytesIO(replies), lambda _: None, source, recipient)
    return replace(seen, is_played=True)


def _commands(recipient: str) -> tuple[str, ...]:
    return (
        "EHLO receiver-test.invalid",
        f"MAIL FROM:<postmaster@{recipient.rpartition('@')[2]}>",
        f"RCPT TO:<{recipient}>",
    )


def _talk(incoming: BinaryIO, send: Callable[[bytes], object], source: str, recipient: str) -> Seen:
    greeting = reply = _reply(incoming)
    for command in _commands(recipient):
        if not reply.startswith("2"):
            break
        send(command.encode() + b"\r\n")
        reply = _reply(incoming)
    if reply:
        send(b"QUIT\r\n")
    outcomes = {"2": "accepted", "4": "told to try again", "5": "refused"}
    return Seen(source, outcomes.get(reply[:1], "cut off"), reply, greeting)


def _reply(incoming: BinaryIO) -> str:
    lines: list[str] = []
    while len(lines) < MAX_REPLY_LINES:
        line = incoming.readline(4096).decode("utf-8", "replace").rstrip("\r\n")
        lines.append(line)
        if line[3:4] != "-":
            break
    return "\n".join(lines)
