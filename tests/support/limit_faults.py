"""Faults of a name server with what one client may have; see `tests.support.model_faults`."""

from __future__ import annotations

import dns.rcode

from tests.support.model_faults import Fault, setting
from tests.support.model_server import bare, cut


def every_second(query: bytes, _: bytes) -> bytes | None:
    """As BIND and NSD do at first (slip 2)."""
    return cut(query) if query[1] % 2 else None


def nodata(query: bytes, _: bytes) -> bytes:
    answer = cut(query)
    return answer[:2] + b"\x84" + answer[3:]


LIMIT_FAULTS = {
    "drops every second answer beyond a limit": Fault(
        setting(answers_in_a_row=150, beyond=every_second), "rate-limit", "came silence to 75"
    ),
    "says NODATA beyond a limit": Fault(
        setting(answers_in_a_row=250, beyond=nodata), "rate-limit", "an empty answer without TC"
    ),
    "answers with records and TC": Fault(
        setting(
            answers_in_a_row=250,
            beyond=lambda _, answer: answer[:2] + bytes([answer[2] | 2]) + answer[3:],
        ),
        "rate-limit",
        "no larger than the query; came TC with records",
    ),
    "refuses beyond a limit": Fault(
        setting(answers_in_a_row=250, beyond=lambda query, _: bare(query, dns.rcode.REFUSED)),
        "rate-limit",
        "came REFUSED",
    ),
    "limits who has its cookie": Fault(
        setting(answers_in_a_row=200, exempts_cookies=False), "rate-limit-cookie", "came TC to 100"
    ),
    "leaves a client's connections in silence": Fault(
        setting(connections_served=20), "tcp-client-limit", "came silence on one of them"
    ),
    "waits for a query that does not become whole": Fault(
        # Each byte comes within the time of an idle connection.
        setting(query_seconds=3600, idle_seconds=1.5),
        "tcp-slow-query",
        "its query not being whole; came it stayed open",
    ),
    "keeps what is idle": Fault(
        setting(idle_seconds=3600), "tcp-idle", "an idle connection's end within 3 s; came it"
    ),
}
