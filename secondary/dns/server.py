"""The DNS role: table, responder and transports put together."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from secondary.connections import ConnectionLimits
from secondary.dns.counters import AnswerCounter
from secondary.dns.reply import Transport
from secondary.dns.responder import Responder
from secondary.dns.table import DictTable
from secondary.dns.tcp import MAX_CONNECTIONS, MAX_CONNECTIONS_A_CLIENT, TcpListener
from secondary.dns.tcp_places import TcpPlaces
from secondary.dns.transport import Answer
from secondary.dns.udp import UdpListener
from secondary.dns.zone import Zone, ZoneNames
from secondary.serving import ServingProcess, make_reader
from secondary.settings import DnsSettings, SecondarySettings


def run(settings: SecondarySettings) -> None:
    """Answers DNS until SIGTERM or SIGINT; ConfigurationError if it cannot."""
    reader = make_reader(settings, DictTable, settings.dns_table_file)
    responder = Responder(
        _zone(settings.dns), lambda: reader.view, max_silence_seconds=settings.max_silence_seconds
    )

    def answer(wire: bytes, transport: Transport) -> bytes | None:
        return responder.answer(wire, transport, time.time())

    server = DnsServer([settings.dns.listen], answer)
    process = ServingProcess(reader, settings.dns.http, server, settings.drain_seconds)
    process.metrics.register(AnswerCollector(server.counters))
    process.run()


def _zone(dns: DnsSettings) -> Zone:
    try:
        return Zone(ZoneNames(dns.zone, dns.name_servers, dns.hostmaster))
    except ValueError as error:
        raise ConfigurationError(f"dns: {error}") from error


class DnsServer:
    """A UDP and a TCP listener at every endpoint."""

    def __init__(self, endpoints: Iterable[Endpoint], answer: Answer) -> None:
        """Binds all of them at once; ConfigurationError says what is in the way."""
        places = TcpPlaces(ConnectionLimits(MAX_CONNECTIONS, MAX_CONNECTIONS_A_CLIENT))
        self.udp: list[UdpListener] = []
        self.tcp: list[TcpListener] = []
        for endpoint in endpoints:
            udp = UdpListener(endpoint, answer)
            self.udp.append(udp)
            # Where any free port will do, it is the same for both.
            self.tcp.append(TcpListener(udp.endpoint, answer, places))

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
