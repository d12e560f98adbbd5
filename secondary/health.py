"""Whether this node should be sent queries, asked of its DNS server as a resolver would ask it."""

from __future__ import annotations

from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode

from secondary.announcing import Drain
from secondary.settings import SecondarySettings

ANSWER_SECONDS: Final = 1.0
DRAINED: Final = "drained by its operator"
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
# Listed always (RFC 5782, 5): it tells an answer from a loaded register from any other.
_TEST_ENTRY: Final = "2.0.0.127"


def why_not(settings: SecondarySettings) -> str:
    """Why nobody should be sent here; empty when all is well."""
    if Drain(settings.drain_file).is_on:
        return DRAINED
    listen = settings.dns.listen
    _, list_zone, _ = settings.dns.origins
    query = dns.message.make_query(f"{_TEST_ENTRY}.{list_zone}", "A", flags=0)
    try:
        answer = dns.query.udp(
            query,
            _ANY.get(listen.host, listen.host),
            timeout=ANSWER_SECONDS,
            port=listen.port,
        )
    except dns.exception.Timeout:
        return f"no answer from {listen}"
    except (dns.exception.DNSException, OSError) as error:
        return f"{listen}: {error}"
    if answer.rcode() != dns.rcode.NOERROR or not answer.answer:
        return f"{listen} answers {dns.rcode.to_text(answer.rcode())}"
    return ""
