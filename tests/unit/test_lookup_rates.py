"""How often a client may ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.lookup import rates
from node.lookup.rates import Rates


def test_a_burst_and_then_the_steady_rate() -> None:
    """Two a second, three at once; what is refused does not count."""
    limited = Rates(2, 3)

    assert [0, 0, 0, 0.5, 0.5] == [limited.wait("192.0.2.1", 10.0) for _ in range(5)]
    assert [0, 0.5] == [limited.wait("192.0.2.1", 10.5) for _ in range(2)]
    assert [0, 0, 0] == [limited.wait("192.0.2.1", 99.0) for _ in range(3)]


def test_a_client_of_ipv6_is_a_network() -> None:
    """Every address of a /64 is one client; the next /64 is another."""
    limited = Rates(1, 1)

    assert 0 == limited.wait("2001:db8::1", 1.0)
    assert 1 == limited.wait("2001:db8::2", 1.0)
    assert 0 == limited.wait("2001:db8:0:1::1", 1.0)


def test_clients_are_forgotten_when_there_are_too_many() -> None:
    """Memory is bounded: the longest silent goes."""
    limited = Rates(1, 1)
    limited.wait("2001:db8::", 1.0)
    for number in range(rates.MAX_CLIENTS):
        limited.wait(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1.0)

    assert 0 == limited.wait("2001:db8::", 1.0)


@given(st.lists(st.floats(0, 10), max_size=60))
def test_never_more_than_burst_and_rate(gaps: list[float]) -> None:
    """Over any time: the burst, and what the rate grants meanwhile."""
    limited, now, admitted = Rates(1, 5), 0.0, 0
    for gap in gaps:
        now += gap
        admitted += limited.wait("192.0.2.1", now) == 0

    assert admitted <= 5 + now + 1e-6
