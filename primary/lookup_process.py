"""The process that answers WHOIS and RDAP: `python -m primary.lookup_process primary.toml`.

A process of its own, below the primary in priority: whoever asks takes nothing from who registers.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Final

import uvloop
from prometheus_client import CollectorRegistry

from node.errors import ConfigurationError
from node.exits import ExitCode, exit_code
from node.http import MonitoringServer
from node.logging import configure, get_logger
from node.lookup.rates import Rates
from node.lookup.rdap import answer as rdap_answer
from node.lookup.rdap_server import RdapCollector, RdapServer
from node.lookup.whois import answer as whois_answer
from node.lookup.whois_server import WhoisCollector, WhoisServer
from node.web_server import WebLimits
from primary.checkpoint_file import CheckpointFile
from primary.clock import clock_ms
from primary.lookup_feed import LookupFeed
from primary.settings import PrimarySettings
from primary.store.store import Store
from registry.errors import RegistryError

# Of a thread that loads or follows: it leaves the interpreter to who is asked (Python: 5 ms).
SWITCH_SECONDS: Final = 0.0005

_log = get_logger("lookup")


class LookupProcess:
    """WHOIS and RDAP, as far as the settings ask for them."""

    def __init__(self, settings: PrimarySettings, feed: LookupFeed) -> None:
        """Binds at once; ConfigurationError says what is in the way."""
        self._feed = feed
        self._metrics = CollectorRegistry()
        self._whois = self._make_whois(settings)
        self._rdap = self._make_rdap(settings)
        http = settings.whois.http
        self._monitoring = http and MonitoringServer(http, self._metrics, self._unready_reason)

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT."""
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        self._feed.start()
        if self._monitoring:
            self._monitoring.start()
        servers = [server for server in (self._whois, self._rdap) if server is not None]
        for server in servers:
            await server.start()
            _log.info("listening", listener=type(server).__name__, endpoint=str(server.endpoint))
        await ending.wait()
        for server in servers:
            await server.stop()
        if self._monitoring:
            self._monitoring.close()
        self._feed.stop()

    def _make_whois(self, settings: PrimarySettings) -> WhoisServer | None:
        whois, feed = settings.whois, self._feed
        if whois.listen is None:
            return None
        server = WhoisServer(
            whois.listen,
            lambda line: whois_answer(line, feed.directory, settings.origin),
            Rates(whois.per_second, whois.burst),
        )
        self._metrics.register(WhoisCollector(server))
        return server

    def _make_rdap(self, settings: PrimarySettings) -> RdapServer | None:
        rdap, feed = settings.rdap, self._feed
        if rdap.listen is None:
            return None
        url = rdap.url or f"http://{rdap.listen}/"
        server = RdapServer(
            rdap.listen,
            lambda path: rdap_answer(path, feed.directory, settings.origin, url),
            Rates(rdap.per_second, rdap.burst),
            WebLimits(rdap.connections, rdap.connections_per_client),
        )
        self._metrics.register(RdapCollector(server))
        return server

    def _unready_reason(self) -> str:
        return "" if self._feed.directory is not None else "the register is not loaded yet"


def main() -> None:
    """Answers for the primary whose settings file is the argument."""
    settings = PrimarySettings.load(Path(sys.argv[1]))
    configure(settings.log_format, settings.log_level)
    os.nice(settings.whois.niceness)
    sys.setswitchinterval(SWITCH_SECONDS)
    # What is loaded stays, and none of it is in a cycle.
    gc.disable()
    store = Store(settings.store_url)
    try:
        feed = LookupFeed(
            store.reader,
            CheckpointFile(settings.checkpoint_file),
            settings.whois.pause_seconds,
            clock_ms,
        )
        process = LookupProcess(settings, feed)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(process.run())
    except (RegistryError, ConfigurationError) as error:
        _log.error("lookup.failed", reason=str(error))
        raise SystemExit(exit_code(error)) from None
    finally:
        store.close()
    raise SystemExit(ExitCode.OK)


if __name__ == "__main__":
    main()
