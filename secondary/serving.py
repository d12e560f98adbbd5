"""The life of a process that serves from a view: start, readiness, signals, draining."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Protocol, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.logging import get_logger
from node.monitoring import Monitoring, new_metrics
from secondary.background import SWITCH_SECONDS
from secondary.etcd import EtcdStore
from secondary.notice import Condition
from secondary.reader import Reader
from secondary.reader_values import Source
from secondary.roots import Roots
from secondary.sections import DnsSettings, WhoisSettings
from secondary.settings import Role, SecondarySettings
from secondary.view import View

V = TypeVar("V", bound=View)


_log = get_logger("serving")


class Server(Protocol):
    """What a role serves with; its sockets are bound before it is started."""

    async def start(self) -> None:
        """Begins to serve, in the running event loop."""

    async def stop(self) -> None:
        """Ends."""


def make_reader(
    settings: SecondarySettings,
    new_view: Callable[[], V],
    table_file: Path | None = None,
    pause_seconds: float = 0.0,
) -> Reader[V]:
    """A reader of the replica that the settings name; nothing is sent yet."""
    source = Source(
        EtcdStore(settings.etcd_endpoints, settings.etcd.tls),
        settings.layout,
        Roots.load(settings),
        settings.extension_file,
    )
    if settings.max_silence_seconds is not None:
        _log.warning(
            "staleness.overridden",
            max_silence_seconds=settings.max_silence_seconds,
            advice="the board's limit does not hold here: leave the setting out but for tests",
        )
    return Reader(
        source,
        new_view,
        recheck_seconds=settings.recheck_seconds,
        random=Random(),  # noqa: S311
        table_file=table_file,
        pause_seconds=pause_seconds,
        max_silence_seconds=settings.max_silence_seconds,
    )


class ServingProcess:
    """One role: its reader, its server, and what it shows of itself over HTTP.

    SIGTERM and SIGINT: not ready, serves on for a while, ends. SIGHUP: the replica is checked.
    """

    def __init__(
        self,
        role: Role,
        reader: Reader[V],
        servers: Sequence[Server],
        settings: DnsSettings | WhoisSettings,
        drain_seconds: float,
    ) -> None:
        """Listens for HTTP at once; ConfigurationError where it cannot."""
        self.metrics = new_metrics(role.value)
        self.metrics.register(ReaderCollector(reader))
        self._reader = reader
        self._servers = servers
        self._drain_seconds = drain_seconds
        self._draining = False
        self._monitoring = Monitoring(
            settings.http, settings.health, self.metrics, self._unready_reason
        )

    def run(self, new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        """Serves until it is told to end, on asyncio's own event loop or on another."""
        sys.setswitchinterval(SWITCH_SECONDS)
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        loop.add_signal_handler(signal.SIGHUP, self._reader.request_check)
        self._reader.start()
        self._monitoring.start()
        for server in self._servers:
            await server.start()
        _log.info("serving.started", http=str(self._monitoring.endpoint))
        await ending.wait()
        await self._drain()

    async def _drain(self) -> None:
        """Serves on until those who choose among servers have seen that this one leaves."""
        self._draining = True
        _log.info("serving.draining", seconds=self._drain_seconds)
        await asyncio.sleep(self._drain_seconds)
        for server in self._servers:
            await server.stop()
        self._monitoring.close()
        self._reader.stop()
        _log.info("serving.ended")

    def _unready_reason(self) -> str:
        if self._draining:
            return "ending"
        if self._reader.view is None:
            return "the register is not loaded yet"
        if self._reader.condition is Condition.BEHIND:
            return "the register here is behind other mirrors"
        return ""


class ReaderCollector(Collector):
    """Shows how a reader and its view are doing."""

    def __init__(self, reader: Reader[V]) -> None:
        self._reader = reader

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        reader = self._reader
        yield _gauge(
            "smtpnic_etcd_up", "Whether etcd answered the last time.", not reader.contact.is_away
        )
        yield _gauge(
            "smtpnic_etcd_silence_seconds",
            "Since etcd last answered.",
            reader.contact.silence_seconds,
        )
        yield _gauge(
            "smtpnic_revision_lag",
            "Revisions of etcd not applied yet, as last seen.",
            reader.revision_lag,
        )
        yield from reader.etcd_times.collect()
        counts = reader.counts
        yield _count("smtpnic_replica_loads", "Views loaded and checked.", counts.loads)
        yield _count(
            "smtpnic_replica_refused", "Loads and changes refused as unsigned.", counts.refused
        )
        yield _count("smtpnic_replica_behind", "Views loaded that were older.", counts.behind)
        yield _count(
            "smtpnic_view_diverged", "Views that were not what they should be.", counts.diverged
        )
        yield _count(
            "smtpnic_strange_revisions", "Changes by strangers, ignored.", reader.strange_revisions
        )
        conditions = GaugeMetricFamily(
            "smtpnic_condition", "1 for what the view is worth.", labels=["condition"]
        )
        for condition in Condition:
            conditions.add_metric([condition.name.lower()], float(reader.condition is condition))
        yield conditions
        view = reader.view
        yield _gauge(
            "smtpnic_view_loaded", "Whether there is a view to serve from.", view is not None
        )
        if view is not None:
            yield from _view_metrics(reader, view)


def _view_metrics(reader: Reader[V], view: View) -> Iterator[Metric]:
    standing = view.standing
    yield _gauge("smtpnic_table_size", "Records in the view.", len(view))
    yield _gauge("smtpnic_log_size", "Size of the log.", standing.position.checkpoint.size)
    yield _gauge("smtpnic_zone_serial", "Zone serial.", standing.position.state.zone_serial)
    yield _gauge(
        "smtpnic_vouched_timestamp_seconds",
        "When the registry's keys last vouched for the view.",
        standing.vouched_s,
    )
    yield _gauge(
        "smtpnic_answers_until_timestamp_seconds",
        "Until when the view is served if nothing more is heard from the registry.",
        reader.answers_until_s(standing),
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _count(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(name, text, value=value)
