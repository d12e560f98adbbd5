"""The compiled answers are those of the responder, byte for byte, or none."""

from __future__ import annotations

from random import Random

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.address import Address, special_ranges
from secondary.dns.cookies import ServerCookies
from secondary.dns.rate_limit import RateLimits
from tests.support.fast_path import SECRETS, Both, mutated, random_query
from tests.support.views import NOW_S

CLIENTS = (bytes([198, 51, 100, 7]), bytes(range(16)))
BOTH = Both()
LONGEST = ".".join(["a" * 50] * 4 + ["a" * 49])
QUERIES = 20_000
# Of what is no rubbish: apexes, classes and cookies without a question are left to the responder.
LEAST_ANSWERED = 0.85


def cookies(random: Random) -> list[bytes]:
    """Cookies of both secrets, of all ages, for each client."""
    return [
        ServerCookies([secret]).answer(random.randbytes(8), client, int(NOW_S) - age)[0]
        for secret in SECRETS
        for age in (0, 1000, 2000, 3600, 3601, -300, -301)
        for client in CLIENTS
    ]


@pytest.mark.parametrize("seed", range(4))
def test_same_answers(seed: int) -> None:
    """On queries as servers get them, nearly all of which it answers."""
    random = Random(seed)
    made = cookies(random)
    declined = 0
    for _ in range(QUERIES // 4):
        query = random_query(random, made)
        fast, slow = BOTH.ask(query, random.choice(CLIENTS))
        assert fast in (None, slow), query.hex()
        declined += fast is None
    assert declined < (1 - LEAST_ANSWERED) * QUERIES / 4


@pytest.mark.parametrize("seed", range(4))
def test_same_answers_to_rubbish(seed: int) -> None:
    """On queries with bytes changed, taken out and put in."""
    random = Random(seed)
    made = cookies(random)
    for _ in range(QUERIES // 4):
        query = mutated(random, random_query(random, made))
        fast, slow = BOTH.ask(query, random.choice(CLIENTS))
        assert fast in (None, slow), query.hex()


@given(wire=st.binary(max_size=600))
def test_same_answers_to_anything(wire: bytes) -> None:
    """Whatever the bytes."""
    fast, slow = BOTH.ask(wire, CLIENTS[0])
    assert fast in (None, slow)


@pytest.mark.parametrize("host", ["a.b.c", f"{'a' * 60}.b.c", ".".join(["a" * 49] * 5), LONGEST])
def test_same_texts(host: str) -> None:
    """Host names of all lengths, in texts of one string and of two, whole and truncated."""
    both = Both(hosts=[host])
    for payload in (None, 512, 1232):
        query = dns.message.make_query("192-0-2-36.smtpnic.example", "TXT")
        if payload is not None:
            query.use_edns(payload=payload)
        fast, slow = both.ask(query.to_wire(), CLIENTS[0])
        assert fast == slow


def test_same_limits() -> None:
    """What one counts as one network's, and when it says TC, the other does too."""
    both, random = Both(RateLimits(5, 9, 3)), Random(1)
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
def test_same_cookies_at_any_time(now: int, age: int) -> None:
    """Serial number arithmetic and all."""
    cookie = ServerCookies(SECRETS).answer(bytes(8), CLIENTS[0], (now - age) % 2**32)[0]
    query = dns.message.make_query("x.example", "A", use_edns=0)
    wire = bytearray(query.to_wire())
    wire[-2:] = (len(cookie) + 4).to_bytes(2, "big")
    wire += bytes([0, 10, 0, len(cookie)]) + cookie
    fast, slow = BOTH.ask(bytes(wire), CLIENTS[0], now=now)
    assert fast == slow


def test_an_old_table_is_left_to_the_responder() -> None:
    """Which says what is wrong."""
    query = dns.message.make_query("192-0-2-36.smtpnic.example", "A").to_wire()
    late = NOW_S + 14 * 86400
    assert BOTH.ask(query, CLIENTS[0], now=late - 1)[0] is not None
    assert BOTH.ask(query, CLIENTS[0], now=late + 1)[0] is None


@given(packed=st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16))
def test_ranges_are_what_is_special(packed: bytes) -> None:
    """The ranges that are handed over hold an address exactly if it has a special purpose."""
    address = Address(packed)
    within = any(
        first.family == address.family and first <= address <= last
        for first, last in special_ranges()
    )
    assert within == (address.special_purpose() is not None)
