"""A WHOIS server (RFC 3912): one line in, some lines out, the connection closed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, cast

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from node.connections import ConnectionLimits
from node.endpoint import Endpoint
from node.lookup.rates import Rates
from node.lookup.whois import NOT_UTF8, TOO_LONG, TOO_MANY_CONNECTIONS, too_often
from node.sockets import bound_socket

# A host name is 253 characters; that and more, in UTF-8, for those who write U-labels.
MAX_QUESTION_BYTES: Final = 1024
# From the connection to the end of the answer: a person at a terminal types faster.
ANSWER_SECONDS: Final = 10.0
# Some tens of requests a second, each as slow as it may be, are served still.
MAX_CONNECTIONS: Final = 200
# The address of one NAT may stand for an office.
MAX_CONNECTIONS_A_CLIENT: Final = 10
BACKLOG: Final = 511


class WhoisServer:
    """Answers one question a connection."""

    def __init__(self, endpoint: Endpoint, answer_to: Callable[[str], str], rates: Rates) -> None:
        """Binds at once; ConfigurationError says what is in the way."""
        self.answered = 0
        # Turned away with a word: too many connections, too many questions.
        self.refused = 0
        # Too slow, or gone before the end.
        self.unanswered = 0
        self.answer_to = answer_to
        self.rates = rates
        self.limits = ConnectionLimits(MAX_CONNECTIONS, MAX_CONNECTIONS_A_CLIENT)
        self._socket = bound_socket(endpoint, socket.SOCK_STREAM)
        self._server: asyncio.Server | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, the port settled."""
        return Endpoint(*self._socket.getsockname()[:2])

    async def start(self) -> None:
        """Begins to accept."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, loop), sock=self._socket, backlog=BACKLOG
        )

    async def stop(self) -> None:
        """Accepts no more; what is being answered has a few seconds at most anyway."""
        if self._server is not None:
            self._server.close()
        self._socket.close()


class _Connection(asyncio.Protocol):
    """One question. Without streams and tasks, which cost more than the answer."""

    def __init__(self, server: WhoisServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._host = ""
        self._received = b""
        self._is_admitted = False
        self._is_answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are none of asyncio's classes.
        self._transport = transport = cast("asyncio.Transport", transport)
        self._host = transport.get_extra_info("peername")[0]
        self._deadline = self._loop.call_later(ANSWER_SECONDS, transport.abort)
        self._is_admitted = self._server.limits.admit(self._host)
        if not self._is_admitted:
            self._server.refused += 1
            self._reply(TOO_MANY_CONNECTIONS)

    def data_received(self, data: bytes) -> None:
        if self._is_answered:
            return
        self._received += data
        line, end, _ = self._received.partition(b"\n")
        if len(line) > MAX_QUESTION_BYTES:
            self._reply(TOO_LONG)
        elif end:
            self._answer(line)

    def eof_received(self) -> bool:
        # Closed its side without an end of line: a question all the same.
        if not self._is_answered:
            self._answer(self._received)
        # The transport is closed by `_reply`, once all is sent.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        if self._is_admitted:
            self._server.limits.release(self._host)
        if exc is not None or not self._is_answered:
            self._server.unanswered += 1

    def _answer(self, line: bytes) -> None:
        seconds = self._server.rates.wait(self._host, self._loop.time())
        if seconds:
            self._server.refused += 1
            self._reply(too_often(seconds))
            return
        try:
            question = line.decode()
        except UnicodeDecodeError:
            self._reply(NOT_UTF8)
            return
        self._reply(self._server.answer_to(question))
        self._server.answered += 1

    def _reply(self, text: str) -> None:
        self._is_answered = True
        self._transport.write(text.replace("\n", "\r\n").encode())
        with suppress(OSError):
            self._transport.close()


class WhoisCollector(Collector):
    """Shows what was answered."""

    def __init__(self, server: WhoisServer) -> None:
        self._server = server

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        server = self._server
        yield CounterMetricFamily(
            "smtpnic_whois_answers", "Questions answered.", value=server.answered
        )
        yield CounterMetricFamily(
            "smtpnic_whois_refused",
            "Questions and connections of clients that had their share.",
            value=server.refused,
        )
        yield CounterMetricFamily(
            "smtpnic_whois_unanswered", "Connections too slow, or broken.", value=server.unanswered
        )
