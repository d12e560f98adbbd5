"""The DNS role: table, responder and transports put together."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.files import read_private
from node.logging import get_logger
from secondary.connections import ConnectionLimits
from secondary.dns.cookies import ServerCookies
from secondary.dns.counters import AnswerCounter
from secondary.dns.dashed_zone import DashedNames
from secondary.dns.identity import Identity
from secondary.dns.implementation import Implementation, choose
from secondary.dns.list_zone import ListedNames
from secondary.dns.pure.answering import FastPath
from secondary.dns.pure.udp import pure_listeners
from secondary.dns.rate_limit import KEY_BYTES, AnswerKind, RateLimiter, RateLimits, kind_of
from secondary.dns.reply import Transport
from secondary.dns.responder import Responder
from secondary.dns.table import DictTable, NameTable
from secondary.dns.tcp import MAX_CONNECTIONS, MAX_CONNECTIONS_A_CLIENT, TcpListener
from secondary.dns.tcp_places import TcpPlaces
from secondary.dns.transport import Answer
from secondary.dns.udp import ListenUdp, UdpListener
from secondary.dns.unlisted_zone import UnlistedNames
from secondary.dns.zone import Contents, Zone, ZoneNames
from secondary.dns.zones import Zones
from secondary.notice import Condition
from secondary.reader import Reader
from secondary.serving import ServingProcess, make_reader
from secondary.settings import DnsSettings, SecondarySettings
from secondary.view import View

V = TypeVar("V", bound=View)

_log = get_logger("dns")


def run(settings: SecondarySettings) -> None:
    """Answers DNS until SIGTERM or SIGINT; ConfigurationError if it cannot."""
    implementation = choose(is_compiled_wanted=settings.dns.compiled)
    _log.info("dns.implementation", implementation=implementation.value)
    if implementation is Implementation.COMPILED:
        _run_compiled(settings)
    else:
        _run_pure(settings)


def _run_pure(settings: SecondarySettings) -> None:
    reader = make_reader(settings, DictTable, settings.dns_table_file)
    answers = _answers(settings, lambda: reader.view, lambda: reader.condition)
    fast = FastPath(answers.responder, answers.limiter)
    listen_udp = pure_listeners(fast, lambda: reader.good_view)
    server = DnsServer([settings.dns.listen], answers, listen_udp)
    _serve(settings, reader, server, answers.limiter)


def _run_compiled(settings: SecondarySettings) -> None:
    # Not there where there was no compiler.
    from secondary.dns.batched_udp import FastAnswers, batched_listeners  # noqa: PLC0415
    from secondary.dns.compiled.table import CompiledTable  # noqa: PLC0415

    reader = make_reader(settings, CompiledTable, settings.dns_table_file)
    answers = _answers(settings, lambda: reader.view, lambda: reader.condition)
    threads = settings.dns.threads or len(os.sched_getaffinity(0))
    fast = FastAnswers.before(answers, lambda: reader.good_view, threads)
    server = DnsServer([settings.dns.listen], answers, batched_listeners(fast))
    _serve(settings, reader, server, answers.limiter)


def _serve(
    settings: SecondarySettings, reader: Reader[V], server: DnsServer, limiter: RateLimiter
) -> None:
    process = ServingProcess(reader, settings.dns.http, server, settings.drain_seconds)
    process.metrics.register(AnswerCollector(server.counters))
    process.metrics.register(LimitCollector(limiter))
    process.run()


def _answers(
    settings: SecondarySettings,
    table: Callable[[], NameTable | None],
    condition: Callable[[], Condition],
) -> LimitedAnswers:
    limits = settings.dns.positive_limit, settings.dns.negative_limit, settings.dns.error_limit
    limiter = RateLimiter(RateLimits(*limits), secrets.token_bytes(KEY_BYTES))
    return LimitedAnswers(_responder(settings, table, condition), limiter)


def _responder(
    settings: SecondarySettings,
    table: Callable[[], NameTable | None],
    condition: Callable[[], Condition],
) -> Responder:
    dns = settings.dns
    try:
        return Responder(
            _zones(dns),
            table,
            max_silence_seconds=settings.max_silence_seconds,
            cookies=read_cookies(dns.cookie_secret_file),
            identity=Identity(dns.nsid, dns.identity, dns.version),
            condition=condition,
        )
    except ValueError as error:
        raise ConfigurationError(f"dns: {error}") from error


def _zones(dns: DnsSettings) -> Zones:
    contents: tuple[Contents, ...] = (
        DashedNames(),
        ListedNames(),
        UnlistedNames(dns.register_at or f"https://{dns.zone}/"),
    )
    return Zones(
        Zone(ZoneNames(origin, dns.name_servers, dns.hostmaster), names)
        for origin, names in zip(dns.origins, contents, strict=True)
    )


def read_cookies(path: Path | None) -> ServerCookies:
    """Cookies of the secrets in a file, or of one that nobody else knows.

    ConfigurationError says what is wrong with the file.
    """
    if path is None:
        return ServerCookies.of_one_process()
    try:
        return ServerCookies.parse(read_private(path).decode("ascii"))
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from error


class LimitedAnswers:
    """What the transports ask: a responder, and over UDP the limits on what it says."""

    def __init__(self, responder: Responder, limiter: RateLimiter) -> None:
        self.responder = responder
        self.limiter = limiter

    def __call__(self, wire: bytes, transport: Transport, client: bytes) -> bytes | None:
        """The answer to send to `client`, None to stay silent."""
        return self.answer_at(wire, transport, client, time.time(), time.monotonic_ns() // 1000)

    def answer_at(
        self, wire: bytes, transport: Transport, client: bytes, now: float, now_us: int
    ) -> bytes | None:
        """The same at a given time; `now_us` is the limiter's, `now` in seconds since 1970."""
        response = self.responder.respond(wire, transport, now, client)
        if response is None:
            return None
        # Over TCP, and with a cookie of ours, the client's address is no forgery.
        if transport is Transport.TCP or response.is_client_known:
            return response.wire
        if self.limiter.admits(client, kind_of(response.wire), now_us):
            return response.wire
        return response.truncated()


class DnsServer:
    """A UDP and a TCP listener at every endpoint."""

    def __init__(
        self, endpoints: Iterable[Endpoint], answer: Answer, listen_udp: ListenUdp
    ) -> None:
        """Binds all of them at once; ConfigurationError says what is in the way."""
        places = TcpPlaces(ConnectionLimits(MAX_CONNECTIONS, MAX_CONNECTIONS_A_CLIENT))
        self.udp: list[UdpListener] = []
        self.tcp: list[TcpListener] = []
        for endpoint in endpoints:
            udp = listen_udp(endpoint, answer)
            self.udp += udp
            # Where any free port will do, it is the same for both.
            self.tcp.append(TcpListener(udp[0].endpoint, answer, places))

    @property
    def counters(self) -> list[AnswerCounter]:
        """What every listener counts."""
        return [*(udp.counter for udp in self.udp), *(tcp.counter for tcp in self.tcp)]

    async def start(self) -> None:
        """Begins to answer."""
        for udp in self.udp:
            udp.start()
        for tcp in self.tcp:
            await tcp.start()

    async def stop(self) -> None:
        """Answers no more."""
        for tcp in self.tcp:
            await tcp.stop()
        for udp in self.udp:
            udp.stop()


class AnswerCollector(Collector):
    """Shows what was answered, by transport and response code."""

    def __init__(self, counters: Iterable[AnswerCounter]) -> None:
        self._counters = tuple(counters)

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        answers = CounterMetricFamily(
            "smtpnic_dns_answers", "Answers sent.", labels=["transport", "rcode"]
        )
        ignored = CounterMetricFamily(
            "smtpnic_dns_ignored", "Messages left without an answer.", labels=["transport"]
        )
        failed = CounterMetricFamily(
            "smtpnic_dns_failed", "Queries at which this server failed.", labels=["transport"]
        )
        for transport in Transport:
            mine = [counter for counter in self._counters if counter.transport is transport]
            totals: dict[str, int] = {}
            for counter in mine:
                for rcode, count in counter.answers().items():
                    totals[rcode] = totals.get(rcode, 0) + count
            for rcode, count in totals.items():
                answers.add_metric([transport.value, rcode], count)
            ignored.add_metric([transport.value], sum(counter.ignored for counter in mine))
            failed.add_metric([transport.value], sum(counter.failed for counter in mine))
        return answers, ignored, failed


class LimitCollector(Collector):
    """Shows what the limits held back."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        limited = CounterMetricFamily(
            "smtpnic_dns_limited", "Answers over UDP replaced by TC.", labels=["kind"]
        )
        for kind in AnswerKind:
            limited.add_metric([kind.name.lower()], self._limiter.limited[kind])
        return (limited,)
