"""The answers of both fast paths are those of the responder, byte for byte, or none."""

from __future__ import annotations

from random import Random

import dns.edns
import dns.message
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.address import Address, special_ranges
from secondary.dns.cookies import ServerCookies
from secondary.dns.implementation import Implementation
from secondary.dns.pure import kept
from secondary.dns.rate_limit import RateLimits
from tests.support.fast_path import SECRETS, Both, mutated, random_query
from tests.support.views import NOW_S, standing

CLIENTS = (bytes([198, 51, 100, 7]), bytes(range(16)))
BOTH = {implementation: Both(implementation) for implementation in Implementation}
LONGEST = ".".join(["a" * 50] * 4 + ["a" * 49])
QUERIES = 20_000
# What stands first in names: of addresses, of other zones, and what cannot be.
LABELS = (
    b"192-0-2-36",
    b"192-0-2-99",
    b"2001-0db8-0000-0000-0000-0000-0000-0036",
    b"2001-0DB8-0000-0000-0000-0000-0000-0036",
    b"list",
    b"LIST",
    b"smtpnic",
    b"192.0.2.36",
    b"192-0-2-036",
    b"",
    b"x" * 63,
    b"x" * 64,
    b"x" * 192,
)
# Of what is no rubbish: apexes, classes and cookies without a question are left to the responder.
LEAST_ANSWERED = 0.85
both_fast = pytest.mark.parametrize("implementation", list(Implementation))


def cookies(random: Random) -> list[bytes]:
    """Cookies of both secrets, of all ages, for each client."""
    return [
        ServerCookies([secret]).answer(random.randbytes(8), client, int(NOW_S) - age)[0]
        for secret in SECRETS
        for age in (0, 1000, 2000, 3600, 3601, -300, -301)
        for client in CLIENTS
    ]


@pytest.mark.parametrize("seed", range(4))
@both_fast
def test_same_answers(implementation: Implementation, seed: int) -> None:
    """On queries as servers get them, nearly all of which it answers."""
    random = Random(seed)
    made = cookies(random)
    declined = 0
    for _ in range(QUERIES // 4):
        query = random_query(random, made)
        fast, slow = BOTH[implementation].ask(query, random.choice(CLIENTS))
        assert fast in (None, slow), query.hex()
        declined += fast is None
    assert declined < (1 - LEAST_ANSWERED) * QUERIES / 4


@pytest.mark.parametrize("seed", range(4))
@both_fast
def test_same_answers_to_rubbish(implementation: Implementation, seed: int) -> None:
    """On queries with bytes changed, taken out and put in."""
    random = Random(seed)
    made = cookies(random)
    for _ in range(QUERIES // 4):
        query = mutated(random, random_query(random, made))
        fast, slow = BOTH[implementation].ask(query, random.choice(CLIENTS))
        assert fast in (None, slow), query.hex()


@given(wire=st.binary(max_size=600))
@both_fast
def test_same_answers_to_anything(implementation: Implementation, wire: bytes) -> None:
    """Whatever the bytes."""
    fast, slow = BOTH[implementation].ask(wire, CLIENTS[0])
    assert fast in (None, slow)


@pytest.mark.parametrize("host", ["a.b.c", f"{'a' * 60}.b.c", ".".join(["a" * 49] * 5), LONGEST])
@both_fast
def test_same_texts(implementation: Implementation, host: str) -> None:
    """Host names of all lengths, in texts of one string and of two, whole and truncated."""
    both = Both(implementation, hosts=[host])
    for payload in (None, 512, 1232):
        query = dns.message.make_query("192-0-2-36.smtpnic.example", "TXT")
        if payload is not None:
            query.use_edns(payload=payload)
        fast, slow = both.ask(query.to_wire(), CLIENTS[0])
        assert fast == slow


@both_fast
def test_same_limits(implementation: Implementation) -> None:
    """What one counts as one network's, and when it says TC, the other does too."""
    both, random = Both(implementation, RateLimits(5, 9, 3)), Random(1)
    made = cookies(random)
    now_us = 10**9
    truncated = 0
    for _ in range(3000):
        query = random_query(random, made)
        now_us += random.randrange(10_000)
        client = random.choice(CLIENTS)
        fast, slow = both.ask(query, client, now_us=now_us)
        if fast is None:
            # Each has a limiter of its own here: what one left out, the other takes back.
            both.limiter.slots[:] = both.reference.limiter.slots
            continue
        assert fast == slow
        truncated += fast[2] >> 1 & 1
    assert truncated > 500


@given(now=st.integers(0, 2**33), age=st.integers(-(2**33), 2**33))
@both_fast
def test_same_cookies_at_any_time(implementation: Implementation, now: int, age: int) -> None:
    """Serial number arithmetic and all."""
    cookie = ServerCookies(SECRETS).answer(bytes(8), CLIENTS[0], (now - age) % 2**32)[0]
    query = dns.message.make_query("x.example", "A", use_edns=0)
    wire = bytearray(query.to_wire())
    wire[-2:] = (len(cookie) + 4).to_bytes(2, "big")
    wire += bytes([0, 10, 0, len(cookie)]) + cookie
    fast, slow = BOTH[implementation].ask(bytes(wire), CLIENTS[0], now=now)
    assert fast == slow


@pytest.mark.parametrize("seed", range(4))
@both_fast
def test_what_was_asked_before_does_not_matter(implementation: Implementation, seed: int) -> None:
    """A query mutilated within its name, asked between sound ones that are like it."""
    random = Random(seed)
    made = cookies(random)
    for _ in range(QUERIES // 40):
        query = random_query(random, made)
        for wire in (query, mutated(random, query), other_label(random, query), query):
            fast, slow = BOTH[implementation].ask(wire, random.choice(CLIENTS))
            assert fast in (None, slow), wire.hex()


def other_label(random: Random, query: bytes) -> bytes:
    """The query for a name that differs in its first label alone."""
    label = random.choice(LABELS)
    return query[:12] + bytes([len(label)]) + label + query[13 + query[12] :]


def test_what_pure_python_keeps_of_queries_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes up queries fills no memory, and does not change what others are told."""
    monkeypatch.setattr(kept, "MAX_KEPT", 20)
    both, random = Both(Implementation.PURE), Random(1)
    for number in range(2000):
        query = dns.message.make_query(
            f"x.{number % 200}.example", dns.rdatatype.RdataType.make(random.randrange(256, 9999))
        )
        for wire in (query.to_wire(), random_query(random)):
            fast, slow = both.ask(wire, CLIENTS[0])
            assert fast in (None, slow), wire.hex()
        assert max(both.fast.kept) <= 20
    long = dns.message.make_query(".".join(["a" * 60] * 3), "A").to_wire()
    both.ask(long, CLIENTS[0])
    assert both.ask(long, CLIENTS[0])[0] is not None


@pytest.mark.parametrize("sizes", [(8, 8), (8, 24), (24, 24), (24, 8), (16, 8), (8, 16)])
@both_fast
def test_of_two_cookies_the_first_counts(
    implementation: Implementation, sizes: tuple[int, int]
) -> None:
    """Whatever the last one is, and whatever was asked with it before (RFC 7873, 5.3)."""
    both, random = Both(implementation), Random(1)
    first, last = (random.randbytes(size) for size in sizes)
    for one, other in ((first, last), (last, first), (first, first), (first, last)):
        for name in ("192-0-2-36.smtpnic.example", "192-0-2-99.smtpnic.example", "x.example.org"):
            options: list[dns.edns.Option] = [
                dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)
                for cookie in (one, other)
            ]
            query = dns.message.make_query(name, "A", use_edns=0, options=options)
            fast, slow = both.ask(query.to_wire(), CLIENTS[0])
            assert fast == slow


@both_fast
def test_a_serial_that_rises_is_told_at_once(implementation: Implementation) -> None:
    """In the SOA record of a negative answer."""
    both = Both(implementation)
    query = dns.message.make_query("x.smtpnic.example", "A").to_wire()
    for serial in (5, 6, 0xFFFFFFFF):
        both.table.advance(standing(serial=serial))
        answer = both.ask(query, CLIENTS[0])[0]
        assert answer is not None
        assert serial == dns.message.from_wire(answer).authority[0][0].serial


@given(packed=st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16))
def test_ranges_are_what_is_special(packed: bytes) -> None:
    """The ranges that are handed over hold an address exactly if it has a special purpose."""
    address = Address(packed)
    within = any(
        first.family == address.family and first <= address <= last
        for first, last in special_ranges()
    )
    assert within == (address.special_purpose() is not None)
