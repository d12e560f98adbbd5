"""Points about what one client may have, and how it is told that it has it.

They ask no more of a server than a busy resolver may: some hundred queries within a second, a few
dozen connections for as long as their answers take. How high a limit is, is the operator's to say,
and several servers may stand behind one address: that nothing was limited is no failure.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

import dns.edns
import dns.rcode
from dns.rdatatype import SOA

from smtpnic.dns_check.asker import Asker, Connection, Silence, ask_tcp, framed
from smtpnic.dns_check.basics import zone_serial
from smtpnic.dns_check.edns import COOKIE_OPTION, obtain_cookie
from smtpnic.dns_check.message import Reply, question
from smtpnic.dns_check.point import Deviation, Point, Scope, Target

# A mirror gives a network 200 positive answers a second unless it is told otherwise.
FLOOD: Final = 300
# What the smallest receive buffers hold.
_VOLLEY: Final = 100
# A twentieth, which is the network's loss; of two answers beyond a limit other servers drop one.
_MOST_LOST: Final = FLOOD // 20
# A mirror lets a client have 37; it may have 150 for all.
CONNECTIONS: Final = 48
# A mirror closes what is idle after 30 s, and a query that is not whole after 5 s.
LONGEST_OPEN_SECONDS: Final = 40.0
# Between two bytes of a query that never becomes whole.
SLOW_GAP_SECONDS: Final = 1.0
# For the server to close what its client has closed.
_CLOSING_SECONDS: Final = 1.0
# Far from the end when nobody waits any longer, and no longer than any query.
_SLOW_QUERY: Final = (512).to_bytes(2)


def _rate_limit(ask: Asker, target: Target) -> str:
    wire = question(target.zone, SOA)
    limited = _limited(_flood(ask, wire))
    if not limited:
        return f"not limited within {FLOOD} queries"
    over_tcp = ask_tcp(ask, wire)
    if over_tcp.is_truncated:
        raise Deviation("the whole answer over TCP", "TC over TCP")
    zone_serial(over_tcp.parse())
    return f"TC to {limited} of {FLOOD} queries, whole over TCP"


def _rate_limit_cookie(ask: Asker, target: Target) -> str:
    option = dns.edns.GenericOption(COOKIE_OPTION, obtain_cookie(ask, target))
    limited = _limited(_flood(ask, question(target.zone, SOA, edns=True, options=[option])))
    if limited:
        expected = f"whole answers to {FLOOD} queries with the server's own cookie"
        raise Deviation(expected, f"TC to {limited}")
    return f"{FLOOD} queries, not limited"


def _flood(ask: Asker, wire: bytes) -> list[Reply]:
    """What comes for the same query, asked FLOOD times; Deviation if too little does."""
    replies: list[Reply] = []
    for first in range(0, FLOOD, _VOLLEY):
        ids = range(first, first + _VOLLEY)
        came = ask.volley([number.to_bytes(2) + wire[2:] for number in ids])
        replies += [reply for reply in came if reply is not None]
    missing = FLOOD - len(replies)
    if missing > _MOST_LOST:
        raise Deviation(f"an answer or TC to each of {FLOOD} queries", f"silence to {missing}")
    return replies


def _limited(replies: list[Reply]) -> int:
    """How many say TC; Deviation if any is neither that nor a whole answer."""
    for reply in replies:
        code = dns.rcode.to_text(dns.rcode.Rcode.make(reply.header_rcode))
        if reply.header_rcode != dns.rcode.NOERROR:
            raise Deviation("an answer or TC", code)
        if reply.is_truncated and reply.answer_count:
            raise Deviation("TC without records, no larger than the query", "TC with records")
        if not reply.is_truncated and not reply.answer_count:
            raise Deviation("an answer or TC", "an empty answer without TC")
    return sum(reply.is_truncated for reply in replies)


def _client_limit(ask: Asker, target: Target) -> str:
    wire = question(target.zone, SOA)
    answered = _answered_at_once(ask, wire)
    if not answered:
        raise Deviation(f"answers on some of {CONNECTIONS} connections", "none")
    zone_serial(ask_tcp(ask, wire).parse())
    if answered == CONNECTIONS:
        return f"answered on each of {CONNECTIONS} connections"
    return f"answered on {answered} of {CONNECTIONS} connections, the others closed"


def _answered_at_once(ask: Asker, wire: bytes) -> int:
    """On how many connections, open at the same time, the query is answered."""
    connections: list[Connection] = []
    with ExitStack() as stack:
        try:
            for _ in range(CONNECTIONS):
                connections.append(stack.enter_context(ask.connect()))
                connections[-1].send(framed(wire))
            return sum(_is_answered(connection) for connection in connections)
        finally:
            _give_places_back(connections)


def _give_places_back(connections: list[Connection]) -> None:
    """The next point has none of these in its way; a server that closes none is not waited for."""
    for connection in connections:
        connection.finish()
    for connection in connections:
        if connection.closed_after(_CLOSING_SECONDS) is None:
            return


def _is_answered(connection: Connection) -> bool:
    """Whether it was, or was closed; Deviation if neither."""
    if connection.receive() is not None:
        return True
    if connection.closed_after(_CLOSING_SECONDS) is None:
        expected = f"each of {CONNECTIONS} connections answered or closed"
        raise Deviation(expected, "silence on one of them")
    return False


def _slow_query(ask: Asker, _: Target) -> str:
    with ask.connect() as connection:
        connection.send(_SLOW_QUERY)
        for number in range(1, int(LONGEST_OPEN_SECONDS / SLOW_GAP_SECONDS) + 1):
            if connection.closed_after(SLOW_GAP_SECONDS) is not None:
                return f"closed within {number * SLOW_GAP_SECONDS:g} s"
            connection.send(b"\0")
    expected = f"the connection's end within {LONGEST_OPEN_SECONDS:g} s, its query not being whole"
    raise Deviation(expected, "it stayed open")


def _idle(ask: Asker, target: Target) -> str:
    with ask.connect() as connection:
        connection.send(framed(question(target.zone, SOA)))
        if connection.receive() is None:
            raise Silence("an answer", "silence or the connection's end over TCP")
        seconds = connection.closed_after(LONGEST_OPEN_SECONDS)
    if seconds is None:
        expected = f"an idle connection's end within {LONGEST_OPEN_SECONDS:g} s"
        raise Deviation(expected, "it stayed open")
    return f"closed after {seconds:.0f} s"


POINTS: Final = (
    Point(
        "rate-limit",
        "RFC 2181, 9",
        "says TC beyond a limit, never nothing",
        _rate_limit,
        Scope.REGISTRY,
        needs=("udp", "tcp"),
    ),
    Point(
        "rate-limit-cookie",
        "RFC 7873, 5.2.5",
        "does not limit who has its cookie",
        _rate_limit_cookie,
        Scope.REGISTRY,
        needs=("rate-limit", "cookie-accepted"),
    ),
    Point(
        "tcp-client-limit",
        "RFC 9210, 4",
        "answers or closes each of many connections",
        _client_limit,
        Scope.REGISTRY,
        needs=("tcp",),
    ),
    Point(
        "tcp-slow-query",
        "RFC 9210, 4",
        "does not wait for a slow query for ever",
        _slow_query,
        Scope.REGISTRY,
        needs=("tcp",),
    ),
    Point(
        "tcp-idle",
        "RFC 7766, 6.2.3",
        "closes an idle connection",
        _idle,
        Scope.REGISTRY,
        needs=("tcp-reuse",),
    ),
)
