"""The WHOIS role (RFC 3912): one line in, some lines out, the connection closed."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from node.endpoint import Endpoint
from secondary.connections import ConnectionLimits
from secondary.serving import ServingProcess, make_reader
from secondary.settings import SecondarySettings
from secondary.sockets import bound_socket
from secondary.whois.answers import NOT_UTF8, TOO_LONG, answer, remark
from secondary.whois.directory import Directory

# A host name is 253 characters; that and more, in UTF-8, for those who write U-labels.
MAX_QUESTION_BYTES: Final = 1024
# From the connection to the end of the answer: a person at a terminal types faster.
ANSWER_SECONDS: Final = 10.0
# Some tens of requests a second, each as slow as it may be, are served still.
MAX_CONNECTIONS: Final = 200
# The address of one NAT may stand for an office.
MAX_CONNECTIONS_A_CLIENT: Final = 10
BACKLOG: Final = 100


def run(settings: SecondarySettings) -> None:
    """Answers WHOIS until SIGTERM or SIGINT; ConfigurationError if it cannot listen."""
    os.nice(settings.whois.niceness)
    reader = make_reader(settings, Directory, pause_seconds=settings.whois.pause_seconds)
    server = WhoisServer(
        settings.whois.listen,
        lambda question: (
            remark(reader.condition) + answer(question, reader.view, settings.dns.zone)
        ),
    )
    process = ServingProcess(reader, settings.whois.http, server, settings.drain_seconds)
    process.metrics.register(WhoisCollector(server))
    process.run()


class WhoisServer:
    """Answers one question a connection."""

    def __init__(self, endpoint: Endpoint, answer_to: Callable[[str], str]) -> None:
        """Binds at once; ConfigurationError says what is in the way."""
        self.answered = 0
        # Turned away, too slow, or gone before the end.
        self.unanswered = 0
        self._answer_to = answer_to
        self._limits = ConnectionLimits(MAX_CONNECTIONS, MAX_CONNECTIONS_A_CLIENT)
        self._socket = bound_socket(endpoint, socket.SOCK_STREAM)
        self._server: asyncio.Server | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, the port settled."""
        return Endpoint(*self._socket.getsockname()[:2])

    async def start(self) -> None:
        """Begins to accept."""
        self._server = await asyncio.start_server(
            self._serve, sock=self._socket, limit=MAX_QUESTION_BYTES, backlog=BACKLOG
        )

    async def stop(self) -> None:
        """Accepts no more; what is being answered has a few seconds at most anyway."""
        if self._server is not None:
            self._server.close()
        self._socket.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = writer.get_extra_info("peername")[0]
        if not self._limits.admit(host):
            self.unanswered += 1
            writer.transport.abort()
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                text = await self._text_for(reader)
                writer.write(text.replace("\n", "\r\n").encode())
                await writer.drain()
                writer.close()
                await writer.wait_closed()
            self.answered += 1
        except (TimeoutError, OSError):
            self.unanswered += 1
        finally:
            self._limits.release(host)
            writer.transport.abort()

    async def _text_for(self, reader: asyncio.StreamReader) -> str:
        """The answer to the line that comes, or why there is none."""
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            # Closed its side without an end of line: a question all the same.
            line = error.partial
        except asyncio.LimitOverrunError:
            return TOO_LONG
        try:
            question = line.decode()
        except UnicodeDecodeError:
            return NOT_UTF8
        return self._answer_to(question)


class WhoisCollector(Collector):
    """Shows what was answered."""

    def __init__(self, server: WhoisServer) -> None:
        self._server = server

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        yield CounterMetricFamily(
            "smtpnic_whois_answers", "Questions answered.", value=self._server.answered
        )
        yield CounterMetricFamily(
            "smtpnic_whois_unanswered",
            "Connections turned away, too slow, or broken.",
            value=self._server.unanswered,
        )
