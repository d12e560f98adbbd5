"""Asks DNS about addresses: each once at a time, within a time limit, as often as TTLs ask for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import dns.asyncquery
import dns.exception
import dns.message
import dns.rdatatype

from node.endpoint import Endpoint
from node.finding import Finding, address_type, judge, judge_listing
from node.logging import get_logger
from policyd.cache import Cache, Found
from policyd.metrics import PolicydMetrics
from registry.address import Address
from registry.label import dashed, reversed_name

# DNS flag day 2020: what passes unfragmented everywhere.
EDNS_PAYLOAD_BYTES: Final = 1232
# RFC 9520, 3.2: a failure is remembered for at least one second, and at most five minutes.
FAILURE_SECONDS: Final = 1.0
# As BIND's max-cache-ttl is for the careful: no answer is kept longer, whatever its TTL.
MAX_TTL_SECONDS: Final = 3600
# As many questions wait for DNS at once; beyond it they wait for each other, within their time.
MAX_QUESTIONS: Final = 1000
# RFC 5782, 5: one address is always listed, one never.
LISTED_ENTRY: Final = Address.parse("127.0.0.2")
UNLISTED_ENTRY: Final = Address.parse("127.0.0.1")

_log = get_logger("lookups")


class Lookups:
    """Answers from a cache, or from `resolvers`, asked one after another."""

    def __init__(
        self,
        resolvers: Sequence[Endpoint],
        zone: str,
        timeout_seconds: float,
        cache: Cache,
        metrics: PolicydMetrics,
    ) -> None:
        self._resolvers = tuple(resolvers)
        self._zone = zone.strip(".")
        self._timeout_seconds = timeout_seconds
        self._cache = cache
        self._metrics = metrics
        self._running: dict[Address, asyncio.Task[Finding]] = {}
        self._places = asyncio.Semaphore(MAX_QUESTIONS)

    def cached(self, address: Address) -> Finding | None:
        """What is known without asking; None if nothing is."""
        finding = self._cache.get(address, time.monotonic())
        if finding is not None:
            self._metrics.cached.inc()
        return finding

    async def find(self, address: Address) -> Finding:
        """What is known, or what DNS says within the time limit."""
        finding = self.cached(address)
        if finding is not None:
            return finding
        task = self._running.get(address)
        if task is None:
            task = asyncio.create_task(self._ask(address))
            self._running[address] = task
            task.add_done_callback(lambda _: self._running.pop(address, None))
        # Who asks may leave; others wait for the same answer.
        return await asyncio.shield(task)

    async def test_entries(self, list_zone: str) -> str:
        """Why the list cannot be trusted; empty when its test entries are as they must be."""
        for entry, expected in (
            (LISTED_ENTRY, Finding.REGISTERED),
            (UNLISTED_ENTRY, Finding.NOT_REGISTERED),
        ):
            name = f"{reversed_name(entry)}.{list_zone.strip('.')}."
            response = await self._query(name, dns.rdatatype.A)
            if isinstance(response, str):
                return f"{name}: {response}"
            finding, detail = judge_listing(response)
            if finding is not expected:
                return f"{name}: {detail or finding}, expected: {expected}"
        return ""

    async def _ask(self, address: Address) -> Finding:
        started = time.monotonic()
        name = f"{dashed(address)}.{self._zone}."
        response = await self._query(name, address_type(address))
        if isinstance(response, str):
            finding, detail, ttl = Finding.FAILURE, response, FAILURE_SECONDS
        else:
            finding, detail = judge(response, address)
            ttl = FAILURE_SECONDS if finding is Finding.FAILURE else ttl_of(response)
        now = time.monotonic()
        self._metrics.lookup_seconds.observe(now - started)
        self._metrics.lookups.labels(str(finding)).inc()
        self._cache.put(address, Found(finding, now + ttl))
        if finding is Finding.FAILURE:
            _log.warning("lookup.failed", name=name, detail=detail)
        return finding

    async def _query(self, name: str, rdtype: dns.rdatatype.RdataType) -> dns.message.Message | str:
        """The answer, or why there is none."""
        try:
            async with asyncio.timeout(self._timeout_seconds), self._places:
                return await self._query_each(name, rdtype)
        except (TimeoutError, dns.exception.Timeout):
            return f"no answer within {self._timeout_seconds:g} s"
        except (OSError, dns.exception.DNSException) as error:
            return str(error) or type(error).__name__

    async def _query_each(self, name: str, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        # A resolver that is silent leaves its share of the time to the next.
        share = self._timeout_seconds / len(self._resolvers)
        for resolver in self._resolvers[:-1]:
            try:
                return await _query_one(resolver, name, rdtype, share)
            except (OSError, dns.exception.DNSException):
                continue
        return await _query_one(self._resolvers[-1], name, rdtype, share)


async def _query_one(
    resolver: Endpoint, name: str, rdtype: dns.rdatatype.RdataType, seconds: float
) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype, use_edns=0, payload=EDNS_PAYLOAD_BYTES)
    response, _ = await dns.asyncquery.udp_with_fallback(
        query, resolver.host, timeout=seconds, port=resolver.port
    )
    return response


def ttl_of(response: dns.message.Message) -> float:
    """For how long the answer holds: its records, or its absence (RFC 2308, 5)."""
    if response.answer:
        return min(MAX_TTL_SECONDS, *(rrset.ttl for rrset in response.answer))
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return float(min(MAX_TTL_SECONDS, rrset.ttl, rrset[0].minimum))
    # Without SOA there is no statement of how long: it is not kept.
    return 0
