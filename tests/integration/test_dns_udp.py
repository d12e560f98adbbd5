"""UDP as it is served by both implementations: real sockets, real answers."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import dns.message
import dns.rcode
import pytest

from lab.cluster import loopback_network
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from secondary.dns.implementation import Implementation, choose
from secondary.dns.rate_limit import RateLimits
from secondary.dns.reply import Transport
from secondary.dns.server import DnsServer
from tests.support.fast_path import random_query
from tests.support.responding import CLIENT
from tests.support.served_dns import SECONDS, Served, client_of, loaded, running
from tests.support.views import put_registration, registration
from tests.support.wait import wait_until

LISTED = "192-0-2-36.smtpnic.example"
# An apex has what only the responder knows.
APEX = "smtpnic.example"


@pytest.fixture(params=list(Implementation))
def served(request: pytest.FixtureRequest) -> Served:
    """Each implementation, not limited."""
    return Served(request.param)


@pytest.fixture
def server(served: Served) -> Iterator[DnsServer]:
    """A running server of it."""
    server = served.server(Endpoint(f"{loopback_network()}.1", 0))
    with running(server):
        yield server


def asked(server: DnsServer, name: str, type_: str = "A") -> dns.message.Message:
    """The answer to one query."""
    query = dns.message.make_query(name, type_)
    with client_of(server.udp[0].endpoint) as client:
        client.send(query.to_wire())
        answer = dns.message.from_wire(client.recv(4096))
    assert query.is_response(answer)
    return answer


def total(server: DnsServer) -> int:
    """How many answers were counted."""
    return sum(sum(udp.counter.answers) for udp in server.udp)


def test_the_compiled_implementation_was_built() -> None:
    """What is tested here is what runs by default, and it can be chosen not to."""
    assert choose(is_compiled_wanted=True) is Implementation.COMPILED
    assert choose(is_compiled_wanted=False) is Implementation.PURE


def test_everybody_gets_the_own_answer(server: DnsServer, served: Served) -> None:
    """Hundreds at a time from several clients, common queries and others among one another."""
    random = Random(1)
    with (
        client_of(server.udp[0].endpoint) as one,
        client_of(server.udp[0].endpoint) as two,
        client_of(server.udp[0].endpoint) as three,
    ):
        for _ in range(20):
            sent = []
            for client in (one, two, three):
                queries = [random_query(random) for _ in range(30)]
                wires = {
                    number.to_bytes(2, "big") + query[2:] for number, query in enumerate(queries)
                }
                for wire in wires:
                    client.send(wire)
                sent.append((client, wires))
            for client, wires in sent:
                answered = (served.answers(wire, Transport.UDP, CLIENT) for wire in wires)
                received = {told(client.recv(4096)) for _ in wires}
                assert {told(answer) for answer in answered} == received


def told(wire: bytes | None) -> tuple[int, dns.rcode.Rcode, str, str]:
    """An answer but for its cookie, which is of one second and one client."""
    assert wire is not None
    message = dns.message.from_wire(wire)
    return message.id, message.rcode(), str(message.answer), str(message.authority)


@pytest.mark.parametrize(
    ("wildcard", "host"), [("0.0.0.0", "127.0.0.77"), ("::", "::1"), ("::1", "::1")]
)
def test_answers_come_from_the_address_that_was_asked(
    served: Served, wildcard: str, host: str
) -> None:
    """Whether the fast path answers or the responder, at a wildcard of either family."""
    server = served.server(Endpoint(wildcard, 0))
    endpoint = Endpoint(host, server.udp[0].endpoint.port)
    with running(server), client_of(endpoint) as client:
        for name in (LISTED, APEX):
            client.send(dns.message.make_query(name, "TXT").to_wire())
            assert dns.message.from_wire(client.recv(4096)).answer


def test_rubbish_is_ignored_and_counted(server: DnsServer) -> None:
    """Responses and what is no message get no answer; the next query does."""
    with client_of(server.udp[0].endpoint) as client:
        for rubbish in (b"", b"x", bytes(11), b"\0\0\x80" + bytes(9), b"\xff" * 5000):
            client.send(rubbish)
        assert asked(server, LISTED).answer
    wait_until(
        lambda: sum(udp.counter.ignored for udp in server.udp) == 5,
        seconds=SECONDS,
        what="five were ignored",
    )


def test_counts_are_those_of_what_was_sent(server: DnsServer) -> None:
    """By type and response code, fast path and responder together; each with its time."""
    for name, type_ in (
        (LISTED, "A"),
        (LISTED, "TXT"),
        (APEX, "SOA"),
        (LISTED, "ANY"),
        ("x.smtpnic.example", "AAAA"),
        ("example.org", "TYPE65280"),
    ):
        asked(server, name, type_)
    wait_until(lambda: total(server) == 6, seconds=SECONDS, what="six were counted")
    counted = {
        (kind, rcode): count for udp in server.udp for kind, rcode, count in udp.counter.by_kind()
    }
    assert counted == {
        ("A", "NOERROR"): 1,
        ("TXT", "NOERROR"): 1,
        ("SOA", "NOERROR"): 1,
        ("ANY", "NOERROR"): 1,
        ("AAAA", "NXDOMAIN"): 1,
        ("other", "REFUSED"): 1,
    }
    wait_until(
        lambda: sum(sum(udp.counter.times) for udp in server.udp) == 6,
        seconds=SECONDS,
        what="their times were counted",
    )


def test_changes_and_replaced_tables_are_seen(server: DnsServer, served: Served) -> None:
    """A change at once, and another table as soon as the one before is retired."""
    assert served.table is not None
    put_registration(served.table, "192.0.2.99", registration())
    assert asked(server, "192-0-2-99.smtpnic.example").answer
    for address in ("192.0.2.100", "192.0.2.101"):
        before, served.table = served.table, loaded(served.implementation, address)
        before.retire()
        assert asked(server, LISTED).rcode() == dns.rcode.NXDOMAIN
        assert asked(server, f"{address.replace('.', '-')}.smtpnic.example").answer


@pytest.mark.parametrize("implementation", list(Implementation))
def test_limits_count_all_threads_together(implementation: Implementation) -> None:
    """One client may have 50 answers at once, whichever socket it came to; the rest say TC."""
    served = Served(implementation, RateLimits(50, 50, 50))
    server = served.server(Endpoint(f"{loopback_network()}.1", 0))
    whole = 0
    with running(server):
        for _ in range(200):
            whole += len(asked(server, LISTED).answer)
        assert 50 <= whole < 200
        wait_until(
            lambda: sum(served.answers.limiter.limited) == 200 - whole,
            seconds=SECONDS,
            what="what was limited was counted",
        )


def test_a_port_that_is_taken_is_named(served: Served) -> None:
    """Though the threads of one server share it."""
    endpoint = Endpoint(f"{loopback_network()}.1", 0)
    server = served.server(endpoint)
    with running(server), pytest.raises(ConfigurationError, match="in use"):
        served.server(server.udp[0].endpoint)
