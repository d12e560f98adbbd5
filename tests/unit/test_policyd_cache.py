"""What DNS said is kept as long as it said so, and no more of it than fits."""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.rrset
import pytest

from node.finding import Finding, judge, judge_listing, unmapped
from policyd.cache import Cache, Found
from policyd.lookups import MAX_TTL_SECONDS, ttl_of
from registry.address import Address

ONE, TWO, THREE = (Address.parse(f"11.0.0.{number}") for number in (1, 2, 3))


def test_a_finding_holds_until_its_time() -> None:
    """And not a moment longer."""
    cache = Cache(10)
    cache.put(ONE, Found(Finding.REGISTERED, until=100.0))
    assert Finding.REGISTERED is cache.get(ONE, 99.9)
    assert cache.get(ONE, 100.0) is None
    assert 0 == len(cache)


def test_who_was_asked_about_longest_ago_goes_first() -> None:
    """A flood of addresses pushes out what nobody asks for."""
    cache = Cache(2)
    cache.put(ONE, Found(Finding.REGISTERED, 100.0))
    cache.put(TWO, Found(Finding.NOT_REGISTERED, 100.0))
    cache.get(ONE, 0.0)
    cache.put(THREE, Found(Finding.REGISTERED, 100.0))
    assert cache.get(TWO, 0.0) is None
    assert Finding.REGISTERED is cache.get(ONE, 0.0)


def answer(*records: str, authority: str = "") -> dns.message.Message:
    response = dns.message.make_response(dns.message.make_query("x.smtpnic.org.", "A"))
    for record in records:
        name, ttl, rdtype, value = record.split(" ", 3)
        response.answer.append(dns.rrset.from_text(name, int(ttl), "IN", rdtype, value))
    if authority:
        ttl, minimum = authority.split()
        response.authority.append(
            dns.rrset.from_text(
                "smtpnic.org.", int(ttl), "IN", "SOA", f"a. b. 1 3600 600 86400 {minimum}"
            )
        )
    return response


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (answer("x.smtpnic.org. 300 A 11.0.0.1"), 300),
        (answer("x.smtpnic.org. 300 CNAME y.", "y. 20 A 11.0.0.1"), 20),
        (answer("x.smtpnic.org. 900000 A 11.0.0.1"), MAX_TTL_SECONDS),
        (answer(authority="60 3600"), 60),
        (answer(authority="3600 60"), 60),
        (answer(), 0),
    ],
)
def test_how_long_an_answer_holds(response: dns.message.Message, expected: float) -> None:
    """The smallest TTL; for an absence, that of the SOA and its MINIMUM (RFC 2308, 5)."""
    assert expected == ttl_of(response)


def test_an_answer_is_compared_with_the_address() -> None:
    """A resolver that lies registers nobody."""
    lie = answer("x.smtpnic.org. 300 A 203.0.113.80")
    assert Finding.FAILURE is judge(lie, ONE)[0]
    assert Finding.REGISTERED is judge(answer("x.smtpnic.org. 300 A 11.0.0.1"), ONE)[0]
    assert Finding.NOT_REGISTERED is judge(answer(), ONE)[0]


def test_only_one_code_is_a_listing() -> None:
    """An address in the place of it is a failure."""
    assert Finding.REGISTERED is judge_listing(answer("x. 300 A 127.0.0.2"))[0]
    assert Finding.FAILURE is judge_listing(answer("x. 300 A 127.255.255.254"))[0]
    assert Finding.NOT_REGISTERED is judge_listing(answer())[0]
    refused = answer()
    refused.set_rcode(dns.rcode.REFUSED)
    assert (Finding.FAILURE, "REFUSED") == judge_listing(refused)


def test_a_mapped_address_is_its_ipv4_address() -> None:
    """::ffff:11.0.0.1 connects to a socket of IPv6, and is registered as 11.0.0.1."""
    assert ONE == unmapped(Address.parse("::ffff:11.0.0.1"))
    assert Address.parse("2a00::1") == unmapped(Address.parse("2a00::1"))
