"""What an authoritative server must do, by RFC and section, with real packets.

`smtpnic dns-check` asks most of it of our server in test_dns_check.py. Here is what it cannot ask
from outside: what depends on settings, limits, secrets, time and the state of the register. Each
test is of both implementations.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from lab.cluster import loopback_network
from node.endpoint import Endpoint
from registry.address import Address
from registry.label import reversed_name
from secondary.dns.cookies import ServerCookies
from secondary.dns.identity import Identity
from secondary.dns.implementation import Implementation
from secondary.dns.rate_limit import RateLimits
from secondary.notice import Condition
from tests.support.fast_path import LISTED_ADDRESSES
from tests.support.served_dns import SECONDS, Served, client_of, running
from tests.support.wait import wait_until

ZONE = "smtpnic.example"
LISTED = f"192-0-2-36.{ZONE}"
ABSENT = f"192-0-2-99.{ZONE}"
# A positive and a negative answer of each zone, and an apex.
ASKED_FOR = (
    LISTED,
    ABSENT,
    f"36.2.0.192.list.{ZONE}",
    f"99.2.0.192.list.{ZONE}",
    f"36.2.0.192.unlisted.{ZONE}",
    f"8.8.8.8.unlisted.{ZONE}",
    ZONE,
)
LISTED_IPV6 = f"2001-0db8-0000-0000-0000-0000-0000-0036.{ZONE}"
# As the RFCs have it: 8 octets of the client's.
CLIENT_COOKIE = bytes(range(1, 9))
SECRETS = [bytes([number] * 16) for number in range(3)]
# Answers of a kind to one network that a burst may have, and how many are asked for.
LIMIT, ASKED = 20, 120

both = pytest.mark.parametrize("implementation", list(Implementation))


@contextmanager
def answering(served: Served, host: str = "") -> Iterator[Endpoint]:
    """Where it answers."""
    server = served.server(Endpoint(host or f"{loopback_network()}.1", 0))
    with running(server):
        yield server.udp[0].endpoint


def ask(
    endpoint: Endpoint, name: str, type_: str = "A", *, over: str = "udp", **options: object
) -> dns.message.Message:
    """The answer to one question, checked to belong to it."""
    query = dns.message.make_query(name, type_, **options)  # type: ignore[arg-type]
    call = dns.query.udp if over == "udp" else dns.query.tcp
    answer: dns.message.Message = call(query, endpoint.host, port=endpoint.port, timeout=SECONDS)
    assert query.is_response(answer)
    return answer


def ask_with_cookie(endpoint: Endpoint, cookie: bytes, name: str = LISTED) -> dns.message.Message:
    option = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)
    return ask(endpoint, name, use_edns=0, options=[option])


def cookie_in(answer: dns.message.Message) -> bytes:
    """The one COOKIE option of an answer."""
    (cookie,) = (
        option.to_wire() or b""
        for option in answer.options
        if option.otype == dns.edns.OptionType.COOKIE
    )
    return bytes(cookie)


def records(answer: dns.message.Message) -> list[str]:
    """Type and TTL of each record set of the answer section."""
    return [f"{dns.rdatatype.to_text(each.rdtype)} {each.ttl}" for each in answer.answer]


def errors(answer: dns.message.Message) -> list[int]:
    """The codes of its extended errors."""
    return [int(error.code) for error in answer.extended_errors()]


# From so many ports that each of the server's threads has had some of the queries.
ASKED_OF_ALL = 20
# What a registered name's answer says then, with EDNS.
SAID = {
    Condition.GOOD: (dns.rcode.NOERROR, []),
    Condition.FORKED: (dns.rcode.NOERROR, [3]),
    Condition.STALE: (dns.rcode.SERVFAIL, [24]),
    Condition.BEHIND: (dns.rcode.SERVFAIL, [24]),
}


def become(served: Served, endpoint: Endpoint, condition: Condition) -> None:
    """The register is worth that from now on; each fast path looks every half second."""
    served.condition = condition

    def is_seen() -> bool:
        answers = [ask(endpoint, LISTED, use_edns=0) for _ in range(ASKED_OF_ALL)]
        return all(SAID[condition] == (answer.rcode(), errors(answer)) for answer in answers)

    wait_until(is_seen, seconds=SECONDS, what=condition.name)


@both
def test_each_zone_has_its_records_at_the_apex(implementation: Implementation) -> None:
    """RFC 1034, 4.2.1; RFC 8659, 4.2: SOA, NS, TXT and CAA, of all three zones; the serial is the
    state entry's (here 7), the SOA is kept for 60 s and all else for 300."""
    served = Served(implementation)
    with answering(served) as endpoint:
        for zone in (ZONE, f"list.{ZONE}", f"unlisted.{ZONE}"):
            found = [records(ask(endpoint, zone, type_)) for type_ in ("SOA", "NS", "TXT", "CAA")]
            assert [["SOA 60"], ["NS 300"], ["TXT 300"], ["CAA 300"]] == found
            soa = ask(endpoint, zone, "SOA").answer[0][0]
            assert (served.given().standing.position.state.zone_serial, 60) == (
                soa.serial,
                soa.minimum,
            )


@both
@pytest.mark.parametrize("name", [LISTED, LISTED_IPV6])
def test_a_positive_answer_has_what_was_asked_for_alone(
    implementation: Implementation, name: str
) -> None:
    """RFC 1034, 4.3.2: the address without the text, the text without the address, for 300 s, and
    nothing beside them."""
    address = "A" if name == LISTED else "AAAA"
    with answering(Served(implementation)) as endpoint:
        for type_ in (address, "TXT"):
            answer = ask(endpoint, name, type_)
            assert [f"{type_} 300"] == records(answer)
            assert [] == answer.authority
            assert [] == answer.additional


@both
def test_unlisted_answers_hold_for_a_minute(implementation: Implementation) -> None:
    """RFC 5782, 2.1: who registers is in that list for a minute at most."""
    name = f"{reversed_name(Address.parse('8.8.8.8'))}.unlisted.{ZONE}"
    with answering(Served(implementation)) as endpoint:
        assert ["A 60"] == records(ask(endpoint, name))
        assert ["TXT 60"] == records(ask(endpoint, name, "TXT"))


@both
def test_any_has_one_record_set(implementation: Implementation) -> None:
    """RFC 8482, 4.1, at a registered name and at the apex."""
    with answering(Served(implementation)) as endpoint:
        assert ["A 300"] == records(ask(endpoint, LISTED, "ANY"))
        assert 1 == len(ask(endpoint, ZONE, "ANY").answer)


@both
def test_what_is_not_loaded_is_a_failure(implementation: Implementation) -> None:
    """RFC 8914, 4.15: SERVFAIL with "not ready", and no answer that could be taken for one."""
    served = Served(implementation)
    served.table = None
    with answering(served) as endpoint:
        for over in ("udp", "tcp"):
            answer = ask(endpoint, LISTED, over=over, use_edns=0)
            assert (dns.rcode.SERVFAIL, [14], []) == (
                answer.rcode(),
                errors(answer),
                answer.answer,
            )


@both
@pytest.mark.parametrize("condition", [Condition.STALE, Condition.BEHIND])
@pytest.mark.parametrize("over", ["udp", "tcp"])
def test_what_is_too_old_or_behind_is_a_failure(
    implementation: Implementation, condition: Condition, over: str
) -> None:
    """RFC 8914, 4.25: SERVFAIL with "invalid data" and a text, whatever is asked, for as long as
    it is so; who speaks no EDNS gets SERVFAIL alone."""
    served = Served(implementation)
    with answering(served) as endpoint:
        good = [ask(endpoint, name, over=over, id=1, use_edns=0).to_wire() for name in ASKED_FOR]
        become(served, endpoint, condition)
        for name in ASKED_FOR:
            answer = ask(endpoint, name, over=over, use_edns=0)
            (error,) = answer.extended_errors()
            assert (dns.rcode.SERVFAIL, 24) == (answer.rcode(), error.code)
            assert ("old" if condition is Condition.STALE else "behind") in (error.text or "")
            assert [] == answer.answer + answer.authority
            answer = ask(endpoint, name, over=over)
            assert (dns.rcode.SERVFAIL, -1) == (answer.rcode(), answer.edns)
            assert [] == answer.answer + answer.authority
        become(served, endpoint, Condition.GOOD)
        again = [ask(endpoint, name, over=over, id=1, use_edns=0).to_wire() for name in ASKED_FOR]
        assert good == again


@both
def test_what_is_too_old_is_no_reason_for_other_answers(implementation: Implementation) -> None:
    """What does not come from the register is said as ever: refusals, and opcodes not known."""
    served = Served(implementation)
    served.condition = Condition.STALE
    with answering(served) as endpoint:
        for name, type_, code in (("example.org", "A", 20), (ZONE, "AXFR", 18)):
            answer = ask(endpoint, name, type_, use_edns=0)
            assert (dns.rcode.REFUSED, [code]) == (answer.rcode(), errors(answer))


@both
def test_after_a_fork_answers_say_that_there_is_doubt(implementation: Implementation) -> None:
    """RFC 8914, 4.4 and 4.20: the answer of always, with "stale answer", or its like for names
    that are not there; the same over TCP."""
    served = Served(implementation)
    with answering(served) as endpoint:
        for name, code in ((LISTED, 3), (ABSENT, 19)):
            become(served, endpoint, Condition.GOOD)
            good = ask(endpoint, name, use_edns=0)
            become(served, endpoint, Condition.FORKED)
            for over in ("udp", "tcp"):
                marked = ask(endpoint, name, over=over, use_edns=0)
                assert ([], [code]) == (errors(good), errors(marked))
                assert good.rcode() == marked.rcode()
                assert (good.answer, good.authority) == (marked.answer, marked.authority)


@both
def test_refusals_say_why(implementation: Implementation) -> None:
    """RFC 8914, 4.21 and 4.19: not authoritative; prohibited. Only with EDNS."""
    with answering(Served(implementation)) as endpoint:
        for name, type_, code in (("example.org", "A", 20), (ZONE, "AXFR", 18)):
            answer = ask(endpoint, name, type_, use_edns=0)
            assert (dns.rcode.REFUSED, [code]) == (answer.rcode(), errors(answer))
            answer = ask(endpoint, name, type_)
            assert (dns.rcode.REFUSED, -1) == (answer.rcode(), answer.edns)


@both
def test_who_answers_is_told_where_it_is_set(implementation: Implementation) -> None:
    """RFC 5001, 2.2, and RFC 4892, 3: NSID to who asks for it, id.server and version.bind."""
    served = Served(implementation, identity=Identity("fra-1", "fra", "9.9"))
    nsid = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
    with answering(served) as endpoint:
        (option,) = ask(endpoint, LISTED, use_edns=0, options=[nsid]).options
        assert b"fra-1" == option.to_wire()
        assert () == ask(endpoint, LISTED, use_edns=0).options
        for name, said in (
            ("id.server", "fra"),
            ("hostname.bind", "fra"),
            ("version.bind", "9.9"),
            ("version.server", "9.9"),
        ):
            answer = ask(endpoint, name, "TXT", rdclass="CH")
            assert f'"{said}"' == answer.answer[0][0].to_text()


@both
def test_nothing_is_told_of_who_answers_unless_it_is_set(implementation: Implementation) -> None:
    """RFC 4892, 3.4, and RFC 5001, 2.2: both can be hidden, and are at first."""
    nsid = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
    with answering(Served(implementation)) as endpoint:
        assert () == ask(endpoint, LISTED, use_edns=0, options=[nsid]).options
        assert dns.rcode.REFUSED == ask(endpoint, "version.bind", "TXT", rdclass="CH").rcode()


@both
def test_a_change_of_the_cookie_secret_goes_unnoticed(implementation: Implementation) -> None:
    """RFC 9018, 5: a cookie of the old secret is good while that is known, and is replaced by one
    of the new; of a secret that is gone it is good no more."""
    old, new, gone = SECRETS
    with answering(Served(implementation, cookies=ServerCookies([old]))) as endpoint:
        first = cookie_in(ask_with_cookie(endpoint, CLIENT_COOKIE))
        assert first == cookie_in(ask_with_cookie(endpoint, first))
    with answering(Served(implementation, cookies=ServerCookies([new, old]))) as endpoint:
        second = cookie_in(ask_with_cookie(endpoint, first))
        assert second != first
        assert second == cookie_in(ask_with_cookie(endpoint, second))
    limits = RateLimits(1, 1, 1)
    with answering(Served(implementation, limits, cookies=ServerCookies([new]))) as endpoint:
        assert all(ask_with_cookie(endpoint, second).answer for _ in range(5))
        assert not all(ask_with_cookie(endpoint, first).answer for _ in range(5))
    with answering(Served(implementation, limits, cookies=ServerCookies([gone]))) as endpoint:
        assert not all(ask_with_cookie(endpoint, second).answer for _ in range(5))


@both
def test_two_servers_of_a_site_take_each_others_cookies(implementation: Implementation) -> None:
    """RFC 9018, 1: also of the other implementation, which has no line in common."""
    other = next(each for each in Implementation if each is not implementation)
    cookies = ServerCookies(SECRETS[:1])
    with (
        answering(Served(implementation, cookies=cookies), "127.77.0.1") as mine,
        answering(Served(other, cookies=cookies), "127.77.0.2") as its,
    ):
        given = cookie_in(ask_with_cookie(mine, CLIENT_COOKIE))
        assert given == cookie_in(ask_with_cookie(its, given))


def counts(
    endpoint: Endpoint, name: str, *, cookie: bytes = b"", source: str = ""
) -> tuple[int, int]:
    """How many of ASKED answers were whole, and how many said TC: each is one of these."""
    option = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)
    query = dns.message.make_query(name, "A", use_edns=0, options=[option] if cookie else [])
    whole = truncated = 0
    with client_of(endpoint, source) as client:
        for number in range(ASKED):
            query.id = number
            client.send(query.to_wire())
            answer = dns.message.from_wire(client.recv(4096))
            assert number == answer.id
            if answer.flags & dns.flags.TC:
                assert [] == answer.answer + answer.authority
                truncated += 1
            else:
                whole += 1
    return whole, truncated


@both
def test_beyond_its_limit_a_network_is_told_to_come_over_tcp(
    implementation: Implementation,
) -> None:
    """Slip 1: no query is met with silence, each is whole or TC; over TCP there is no limit
    (RFC 7766, 5)."""
    served = Served(implementation, RateLimits(LIMIT, 10 * LIMIT, LIMIT))
    with answering(served) as endpoint:
        whole, truncated = counts(endpoint, LISTED)
        assert LIMIT <= whole < ASKED
        assert ASKED == whole + truncated
        assert ["A 300"] == records(ask(endpoint, LISTED, over="tcp"))


@both
def test_absences_have_a_limit_of_their_own_ten_times_as_high(
    implementation: Implementation,
) -> None:
    """What is used up for positive answers is not for negative ones, of which most lookups are."""
    served = Served(implementation, RateLimits(LIMIT, 10 * LIMIT, LIMIT))
    with answering(served) as endpoint:
        assert 0 < counts(endpoint, LISTED)[1]
        assert (ASKED, 0) == counts(endpoint, ABSENT)
        assert 0 < counts(endpoint, "example.org")[1]


@both
def test_who_has_a_valid_cookie_is_not_limited(implementation: Implementation) -> None:
    """RFC 7873, 5.2.5: its address is no forgery. A forged cookie is worth nothing."""
    served = Served(implementation, RateLimits(LIMIT, LIMIT, LIMIT))
    with answering(served) as endpoint:
        cookie = cookie_in(ask_with_cookie(endpoint, CLIENT_COOKIE))
        assert (ASKED, 0) == counts(endpoint, LISTED, cookie=cookie)
        assert 0 < counts(endpoint, LISTED, cookie=CLIENT_COOKIE + os.urandom(16))[1]


@both
def test_another_network_has_its_own_limit(implementation: Implementation) -> None:
    """By /24: one that is flooded takes nothing from its neighbour."""
    served = Served(implementation, RateLimits(LIMIT, LIMIT, LIMIT))
    with answering(served) as endpoint:
        for source, is_new in (("127.88.1.1", True), ("127.88.1.2", False), ("127.88.2.1", True)):
            whole, _ = counts(endpoint, LISTED, source=source)
            assert is_new == (whole >= LIMIT)


@both
def test_an_answer_depends_on_nothing_that_others_asked(implementation: Implementation) -> None:
    """The same questions in another order, from another server, have the same answers."""
    names = [f"{Address.parse(text)}" for text in LISTED_ADDRESSES]
    questions = [(LISTED, "A"), (ABSENT, "A"), (LISTED, "TXT"), (ZONE, "SOA"), (LISTED_IPV6, "A")]
    questions += [(f"{reversed_name(Address.parse(each))}.list.{ZONE}", "A") for each in names]

    def answers(order: list[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        with answering(Served(implementation)) as endpoint:
            return {each: ask(endpoint, *each, id=1).to_wire() for each in order}

    assert answers(questions) == answers(questions[::-1])
