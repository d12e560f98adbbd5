"""The DNS role: table, responder and transports put together."""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from node.allocator import use_one_arena
from node.capabilities import Capability, give_up
from node.connections import ConnectionLimits
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.files import read_private
from node.logging import get_logger
from secondary.dns.cookies import ServerCookies
from secondary.dns.counters import BUCKET_SECONDS, AnswerCounter
from secondary.dns.dashed_zone import DashedNames
from secondary.dns.identity import Identity
from secondary.dns.implementation import Implementation, choose
from secondary.dns.list_zone import ListedNames
from secondary.dns.rate_limit import KEY_BYTES, AnswerKind, RateLimiter, RateLimits, kind_of
from secondary.dns.reply import Transport
from secondary.dns.responder import Responder
from secondary.dns.server_zone import ServerNames
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
from secondary.sections import DnsSettings
from secondary.serving import ServingProcess, make_reader
from secondary.settings import Role, SecondarySettings
from secondary.view import View

if TYPE_CHECKING:
    from secondary.dns.xdp import XdpFront

V = TypeVar("V", bound=View)

_log = get_logger("dns")


def run(settings: SecondarySettings) -> None:
    """Answers DNS until SIGTERM or SIGINT; ConfigurationError if it cannot."""
    use_one_arena()
    implementation = choose(is_compiled_wanted=settings.dns.compiled)
    _log.info("dns.implementation", implementation=implementation.value)
    if implementation is Implementation.COMPILED:
        _run_compiled(settings)
    elif settings.dns.interface:
        raise ConfigurationError("dns.interface needs the compiled module, and dns.compiled")
    else:
        _run_pure(settings)


def _run_pure(settings: SecondarySettings) -> None:
    # Only one of the two is in memory.
    from secondary.dns.pure.answering import FastPath  # noqa: PLC0415
    from secondary.dns.pure.udp import pure_listeners  # noqa: PLC0415

    reader = make_reader(settings, DictTable, settings.dns_table_file)
    answers = _answers(settings, lambda: reader.view, reader.condition_at)
    fast = FastPath(answers.responder, answers.limiter)
    listen_udp = pure_listeners(fast, lambda: reader.good_view)
    server = DnsServer([settings.dns.listen], answers, listen_udp)
    _serve(settings, reader, server, [LimitCollector(answers.limiter)])


def _run_compiled(settings: SecondarySettings) -> None:
    # Not there where there was no compiler.
    from secondary.dns.batched_udp import FastAnswers, batched_listeners  # noqa: PLC0415
    from secondary.dns.compiled.table import CompiledTable  # noqa: PLC0415

    front = _front(settings.dns) if settings.dns.interface else None
    reader = make_reader(settings, CompiledTable, settings.dns_table_file)
    answers = _answers(settings, lambda: reader.view, reader.condition_at)
    threads = settings.dns.threads or len(os.sched_getaffinity(0))
    fast = FastAnswers.before(answers, lambda: reader.good_view, threads)
    server = DnsServer([settings.dns.listen], answers, batched_listeners(fast, front))
    collectors: list[Collector] = [LimitCollector(answers.limiter)]
    _serve(settings, reader, server, [*collectors, front] if front else collectors)


def _front(settings: DnsSettings) -> XdpFront:
    """Opened before any thread runs: each would keep what opening it needs."""
    from secondary.dns.xdp import XdpFront  # noqa: PLC0415

    front = XdpFront.open(settings.interface, settings.listen)
    give_up(Capability)
    return front


def _serve(
    settings: SecondarySettings,
    reader: Reader[V],
    server: DnsServer,
    collectors: Iterable[Collector],
) -> None:
    process = ServingProcess(Role.DNS, reader, [server], settings.dns, settings.drain_seconds)
    for collector in (AnswerCollector(server.counters), *collectors):
        process.metrics.register(collector)
    process.run()


def _answers(
    settings: SecondarySettings,
    table: Callable[[], NameTable | None],
    condition: Callable[[float], Condition],
) -> LimitedAnswers:
    limits = settings.dns.positive_limit, settings.dns.negative_limit, settings.dns.error_limit
    limiter = RateLimiter(RateLimits(*limits), secrets.token_bytes(KEY_BYTES))
    return LimitedAnswers(_responder(settings, table, condition), limiter)


def _responder(
    settings: SecondarySettings,
    table: Callable[[], NameTable | None],
    condition: Callable[[float], Condition],
) -> Responder:
    dns = settings.dns
    try:
        return Responder(
            _zones(dns),
            table,
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
    zones = [
        Zone(ZoneNames(origin, dns.name_servers, dns.hostmaster), names)
        for origin, names in zip(dns.origins, contents, strict=True)
    ]
    return Zones([*zones, *_server_zone(dns)])


def _server_zone(dns: DnsSettings) -> list[Zone]:
    if dns.server_zone is None:
        return []
    servers = ServerNames(dns.server_zone, dns.name_servers, dns.server_hosts, dns.server_ttl)
    names = ZoneNames(dns.server_zone, tuple(dns.server_hosts), dns.hostmaster, holds_servers=True)
    return [Zone(names, servers)]


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
    """Shows what was answered, by transport, type and response code, and how long it took."""

    def __init__(self, counters: Iterable[AnswerCounter]) -> None:
        self._counters = tuple(counters)

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        answers = CounterMetricFamily(
            "smtpnic_dns_answers", "Answers sent.", labels=["transport", "type", "rcode"]
        )
        ignored = CounterMetricFamily(
            "smtpnic_dns_ignored", "Messages left without an answer.", labels=["transport"]
        )
        failed = CounterMetricFamily(
            "smtpnic_dns_failed", "Queries at which this server failed.", labels=["transport"]
        )
        times = HistogramMetricFamily(
            "smtpnic_dns_answer_seconds",
            "From reading a query to its answer sent.",
            labels=["transport"],
        )
        for transport in Transport:
            mine = [counter for counter in self._counters if counter.transport is transport]
            totals: Counter[tuple[str, str]] = Counter()
            for counter in mine:
                for kind, rcode, count in counter.by_kind():
                    totals[kind, rcode] += count
            for (kind, rcode), count in totals.items():
                answers.add_metric([transport.value, kind, rcode], count)
            ignored.add_metric([transport.value], sum(counter.ignored for counter in mine))
            failed.add_metric([transport.value], sum(counter.failed for counter in mine))
            _add_times(times, transport, mine)
        return answers, ignored, failed, times


def _add_times(
    times: HistogramMetricFamily, transport: Transport, counters: Sequence[AnswerCounter]
) -> None:
    """The times of one transport; a histogram's buckets hold those before them too."""
    counts = [sum(column) for column in zip(*(one.times for one in counters), strict=True)]
    bounds = [*map(str, BUCKET_SECONDS), "+Inf"]
    buckets = list(zip(bounds, accumulate(counts), strict=True))
    times.add_metric([transport.value], buckets, sum(one.total_us for one in counters) / 1e6)


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
