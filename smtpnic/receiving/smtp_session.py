"""Holds an SMTP session up to RCPT, as a client of some address would; sends no message."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import BinaryIO, Final

from node.endpoint import Endpoint

# RFC 5321, 4.5.3.2.1: five minutes for a greeting are for real mail; a person looks at this.
MAX_REPLY_LINES: Final = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client of an address saw: the reply to RCPT or the one that ended the session."""

    address: str
    outcome: str
    reply: str
    greeting: str = ""


def hold(server: Endpoint, source: str, recipient: str, timeout_seconds: float) -> Seen:
    """Greets, names a sender and a recipient, and leaves; every failure is an outcome."""
    try:
        with socket.create_connection(
            (server.host, server.port), timeout_seconds, (source, 0)
        ) as connection:
            return _talk(connection, source, recipient)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return Seen(source, "not tried", "this machine does not have the address")
        return Seen(source, "failed", error.strerror or str(error))


def _talk(connection: socket.socket, source: str, recipient: str) -> Seen:
    commands = (
        "EHLO receiver-test.invalid",
        f"MAIL FROM:<postmaster@{recipient.rpartition('@')[2]}>",
        f"RCPT TO:<{recipient}>",
    )
    with connection.makefile("rb") as incoming:
        greeting = reply = _reply(incoming)
        for command in commands:
            if not reply.startswith("2"):
                break
            connection.sendall(command.encode() + b"\r\n")
            reply = _reply(incoming)
        if reply:
            connection.sendall(b"QUIT\r\n")
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
