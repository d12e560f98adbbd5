"""The WHOIS role: WHOIS, and RDAP where the settings ask for it, from the replica in memory."""

from __future__ import annotations

import os
from typing import Final

import uvloop

from node.allocator import use_one_arena
from node.lookup.rates import Rates
from node.lookup.rdap import answer as rdap_answer
from node.lookup.rdap_server import RdapCollector, RdapServer
from node.lookup.whois import answer
from node.lookup.whois_server import WhoisCollector, WhoisServer
from node.web_server import WebLimits
from secondary.notice import Condition
from secondary.reader import Reader
from secondary.serving import Server, ServingProcess, make_reader
from secondary.settings import Role, SecondarySettings
from secondary.whois.directory import DirectoryView

_REMARKS: Final = {
    Condition.GOOD: "",
    Condition.BEHIND: "% this server is behind others: ask another one\n",
    Condition.STALE: "% this server has heard nothing from the registry for too long\n",
    Condition.FORKED: "% the registry signed two registers: this is the last that both agree on\n",
}


def run(settings: SecondarySettings) -> None:
    """Answers until SIGTERM or SIGINT; ConfigurationError if it cannot listen."""
    use_one_arena()
    os.nice(settings.whois.niceness)
    reader = make_reader(settings, DirectoryView, pause_seconds=settings.whois.pause_seconds)
    zone = settings.dns.zone
    whois = WhoisServer(
        settings.whois.listen,
        lambda line: remark(reader.condition) + answer(line, reader.view, zone),
        Rates(settings.whois.per_second, settings.whois.burst),
    )
    rdap = _rdap_server(settings, reader)
    servers: list[Server] = [whois, rdap] if rdap else [whois]
    process = ServingProcess(Role.WHOIS, reader, servers, settings.whois, settings.drain_seconds)
    process.metrics.register(WhoisCollector(whois))
    if rdap is not None:
        process.metrics.register(RdapCollector(rdap))
    process.run(uvloop.new_event_loop)


def _rdap_server(settings: SecondarySettings, reader: Reader[DirectoryView]) -> RdapServer | None:
    rdap, zone = settings.rdap, settings.dns.zone
    if rdap.listen is None:
        return None
    url = rdap.url or f"http://{rdap.listen}/"
    return RdapServer(
        rdap.listen,
        lambda path: rdap_answer(
            path, reader.view, zone, url, remark(reader.condition).strip("% \n")
        ),
        Rates(rdap.per_second, rdap.burst),
        WebLimits(rdap.connections, rdap.connections_per_client),
    )


def remark(condition: Condition) -> str:
    """What has to be said before every answer; nothing as a rule."""
    return _REMARKS[condition]
