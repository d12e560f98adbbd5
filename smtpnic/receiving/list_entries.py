"""The test entries of the list (RFC 5782, 5): who does not find them does not trust the list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.message
import dns.query

from node.endpoint import Endpoint
from node.finding import Finding, judge_listing
from registry.address import Address
from registry.label import reversed_name
from smtpnic.receiver import EDNS_PAYLOAD_BYTES

# One is always listed, one never.
ENTRIES: Final = (
    (Address.parse("127.0.0.2"), Finding.REGISTERED),
    (Address.parse("127.0.0.1"), Finding.NOT_REGISTERED),
)


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One test entry through one resolver: what was found, and what has to be."""

    resolver: Endpoint
    name: str
    expected: Finding
    found: Finding
    detail: str

    @property
    def is_right(self) -> bool:
        """Whether the list can be trusted as far as this entry tells."""
        return self.found is self.expected


def ask_entries(resolver: Endpoint, list_zone: str, timeout_seconds: float) -> list[ListEntry]:
    """Both entries; a resolver that fails is a finding."""
    found = []
    for address, expected in ENTRIES:
        name = f"{reversed_name(address)}.{list_zone.strip('.')}."
        try:
            query = dns.message.make_query(name, "A", use_edns=0, payload=EDNS_PAYLOAD_BYTES)
            response, _ = dns.query.udp_with_fallback(
                query, resolver.host, timeout=timeout_seconds, port=resolver.port
            )
            finding, detail = judge_listing(response)
        except dns.exception.Timeout:
            finding, detail = Finding.FAILURE, f"no answer within {timeout_seconds:g} s"
        except (OSError, dns.exception.DNSException) as error:
            finding, detail = Finding.FAILURE, str(error)
        found.append(ListEntry(resolver, name, expected, finding, detail))
    return found
