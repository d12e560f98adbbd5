"""Looks an address up in DNS the way a receiving mail server does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.TXT import TXT

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.finding import Finding, address_type, judge
from registry.address import Address
from registry.errors import Problem
from registry.label import dashed

DNS_PORT: Final = 53
# DNS flag day 2020: what passes unfragmented everywhere.
EDNS_PAYLOAD_BYTES: Final = 1232
MAX_CONCURRENT_SERVERS: Final = 16
# Of asking again while waiting: a change takes some milliseconds from the primary to DNS.
POLL_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Answer:
    """What one server's answer says about an address.

    `texts` are the TXT records of a registered name; `detail` says why, when the finding
    alone does not tell.
    """

    server: Endpoint
    name: str
    finding: Finding
    detail: str = ""
    texts: tuple[str, ...] = ()
    milliseconds: float = 0.0


def parse_server(text: str) -> Endpoint:
    """A DNS server's IP address, with or without a port: `192.0.2.1`, `[2001:db8::1]:5353`.

    ConfigurationError for anything else.
    """
    try:
        return Endpoint(str(Address.parse(text)), DNS_PORT)
    except Problem:
        pass
    try:
        endpoint = Endpoint.parse(text)
        Address.parse(endpoint.host)
    except (Problem, ValueError):
        raise ConfigurationError(
            f"{text!r} is no DNS server: give its IP address, as in 192.0.2.1:53 "
            "or [2001:db8::1]:53"
        ) from None
    return endpoint


def system_servers() -> list[Endpoint]:
    """The resolvers this machine is set up with; ConfigurationError when there are none."""
    try:
        found = dns.resolver.get_default_resolver()
    except dns.exception.DNSException as error:
        raise ConfigurationError(
            f"this machine has no resolver configured ({error}): give --server IP:PORT"
        ) from error
    return [Endpoint(str(server), found.port) for server in found.nameservers]


def ask_all(
    servers: Sequence[Endpoint], address: Address, zone: str, timeout_seconds: float
) -> list[Answer]:
    """The answers of all servers, in their order; they are asked at the same time."""
    with ThreadPoolExecutor(min(len(servers), MAX_CONCURRENT_SERVERS)) as pool:
        return list(pool.map(lambda server: ask(server, address, zone, timeout_seconds), servers))


def wait_registered(
    servers: Sequence[Endpoint], address: Address, zone: str, timeout_seconds: float
) -> list[Answer]:
    """Each server's first answer that finds the address registered, or its last one in time.

    The answers' `milliseconds` count from this call.
    """
    started = time.monotonic()

    def wait(server: Endpoint) -> Answer:
        while True:
            answer = ask(server, address, zone, timeout_seconds)
            waited = time.monotonic() - started
            if answer.finding is Finding.REGISTERED or waited > timeout_seconds:
                return replace(answer, milliseconds=waited * 1000)
            time.sleep(POLL_SECONDS)

    with ThreadPoolExecutor(min(len(servers), MAX_CONCURRENT_SERVERS)) as pool:
        return list(pool.map(wait, servers))


def ask(server: Endpoint, address: Address, zone: str, timeout_seconds: float) -> Answer:
    """One server's answer: the address records, and the TXT of a registered name."""
    name = f"{dashed(address)}.{zone.strip('.')}."
    started = time.monotonic()
    try:
        response = _query(server, name, address_type(address), timeout_seconds)
        milliseconds = (time.monotonic() - started) * 1000
        finding, detail = judge(response, address)
        texts = _texts(server, name, timeout_seconds) if finding is Finding.REGISTERED else ()
        return Answer(server, name, finding, detail, texts, milliseconds)
    except dns.exception.Timeout:
        detail = f"no answer within {timeout_seconds:g} s"
    except OSError as error:
        detail = f"cannot be reached: {error.strerror or error}"
    except dns.exception.DNSException as error:
        detail = f"the answer is not proper DNS: {error}"
    return Answer(server, name, Finding.FAILURE, detail)


def _query(
    server: Endpoint, name: str, rdtype: dns.rdatatype.RdataType, timeout_seconds: float
) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype, use_edns=0, payload=EDNS_PAYLOAD_BYTES)
    response, _ = dns.query.udp_with_fallback(
        query, server.host, timeout=timeout_seconds, port=server.port
    )
    return response


def _texts(server: Endpoint, name: str, timeout_seconds: float) -> tuple[str, ...]:
    response = _query(server, name, dns.rdatatype.TXT, timeout_seconds)
    return tuple(
        b"".join(rdata.strings).decode(errors="replace")
        for rrset in response.answer
        for rdata in rrset
        if isinstance(rdata, TXT)
    )
