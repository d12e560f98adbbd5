"""A before-queue filter for Postfix (SMTPD_PROXY_README): it adds advice to the last 250.

Postfix connects to it, says whose mail it passes on with XFORWARD, and gives the client whatever
the last reply is. All goes on to the SMTP server behind; nothing is changed but that reply.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from node.endpoint import Endpoint
from node.logging import get_logger
from policyd.decision import Client, Outcome
from policyd.judge import ACCEPTED, Decision, Judge
from policyd.places import Places
from policyd.smtp_lines import SmtpStream

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CONNECT_SECONDS: Final = 5.0
# All are for the client, which keeps the message and tries again (RFC 5321, 3.8 and 4.2.1).
TOO_MANY: Final = b"421 4.3.2 too many connections to this filter, try again later\r\n"
NOBODY_BEHIND: Final = b"421 4.3.2 the server behind this filter does not answer\r\n"
TOO_LONG: Final = b"421 4.4.2 nothing was heard for too long\r\n"

# XFORWARD_README: IPv6 addresses are written with a prefix.
_FORWARDED: Final = re.compile(rb"\bADDR=(?:IPV6:)?([0-9A-Fa-f.:]+)", re.IGNORECASE)
_log = get_logger("filter")


class FilterSession:
    """One session: a client, which is Postfix, and the server behind.

    `heard` is told whenever one of them said something.
    """

    def __init__(
        self, judge: Judge, client: Streams, server: Streams, heard: Callable[[], None]
    ) -> None:
        self._judge = judge
        self._from_client, self._to_client = SmtpStream(client[0], heard), client[1]
        self._from_server, self._to_server = SmtpStream(server[0], heard), server[1]
        self._address = ""

    async def run(self) -> None:
        """Passes commands and replies on until one side leaves."""
        if not await self._pass_reply():
            return
        while command := await self._from_client.line():
            self._note(command)
            self._to_server.write(command)
            await self._to_server.drain()
            reply = await self._pass_reply()
            if not reply:
                return
            if command[:4].upper() == b"DATA" and reply[-1].startswith(b"354"):
                if not await self._from_client.pass_message(self._to_server):
                    return
                if not await self._pass_reply(await self._advice()):
                    return

    def _note(self, command: bytes) -> None:
        found = _FORWARDED.search(command) if command[:9].upper() == b"XFORWARD " else None
        if found is not None:
            self._address = found[1].decode("ascii")

    async def _advice(self) -> bytes:
        """What is added to a 250; empty for who is registered, exempt, or unknown."""
        decision = await self._decision()
        if decision.address is None or decision.outcome not in (Outcome.ADVISE, Outcome.REFUSE):
            return b""
        return f"; {self._judge.policy.advice(decision.address)}".encode("ascii", "replace")

    async def _decision(self) -> Decision:
        if not self._address:
            return ACCEPTED
        try:
            return await self._judge.decide(Client(self._address))
        except Exception:  # noqa: BLE001 - mail is not lost by a fault of ours
            _log.exception("decision.failed", client=self._address)
            return ACCEPTED

    async def _pass_reply(self, advice: bytes = b"") -> list[bytes]:
        reply = await self._from_server.reply()
        if advice and reply and reply[-1].startswith(b"250"):
            reply[-1] = reply[-1].rstrip(b"\r\n") + advice + b"\r\n"
        self._to_client.write(b"".join(reply))
        await self._to_client.drain()
        return reply


class SmtpFilter:
    """Takes connections, and makes one to the server behind for each.

    A session in which neither side says anything for `silence_seconds` is ended.
    """

    def __init__(
        self, judge: Judge, following: Endpoint, places: Places, silence_seconds: float
    ) -> None:
        self._judge = judge
        self._places = places
        self._following = following
        self._silence_seconds = silence_seconds

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One session, from its first to its last byte; no error leaves it."""
        try:
            if self._places.take():
                await self._serve((reader, writer))
            else:
                _log.warning("session.refused", error="too many connections")
                writer.write(TOO_MANY)
        finally:
            self._places.leave()
            with suppress(OSError):
                writer.close()

    async def _serve(self, client: Streams) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                server = await asyncio.open_connection(self._following.host, self._following.port)
        except (OSError, TimeoutError) as error:
            _log.warning("server.unreachable", error=str(error) or type(error).__name__)
            client[1].write(NOBODY_BEHIND)
            return
        try:
            await self._run(client, server)
        except TimeoutError:
            _log.warning("session.silent", seconds=self._silence_seconds)
            _end_silent(client[1])
            server[1].transport.abort()
        except (OSError, ValueError) as error:
            _log.warning("session.broken", error=str(error) or type(error).__name__)
        finally:
            with suppress(OSError):
                server[1].close()

    async def _run(self, client: Streams, server: Streams) -> None:
        """The session; TimeoutError when nothing was heard for too long."""
        now = asyncio.get_running_loop().time
        async with asyncio.timeout(self._silence_seconds) as limit:
            heard = lambda: limit.reschedule(now() + self._silence_seconds)  # noqa: E731
            await FilterSession(self._judge, client, server, heard).run()


def _end_silent(client: asyncio.StreamWriter) -> None:
    if client.transport.get_write_buffer_size():
        # What it does not read would keep it open.
        client.transport.abort()
    else:
        client.write(TOO_LONG)
