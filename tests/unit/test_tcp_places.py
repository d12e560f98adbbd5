"""Who keeps a place when there is one too few."""

from __future__ import annotations

from dataclasses import dataclass

from node.connections import ConnectionLimits
from secondary.dns.tcp_places import SPARED_SECONDS, TcpPlaces

LATER = 2 * SPARED_SECONDS


@dataclass(eq=False)
class Client:
    """A connection that is as its places say."""

    host: str
    is_gone: bool = False

    def abandon(self) -> None:
        self.is_gone = True


def test_the_quietest_makes_room() -> None:
    """Not who came first, but who was answered the longest ago."""
    places = TcpPlaces(ConnectionLimits(in_all=2, a_client=2))
    first, second, third = Client("192.0.2.1"), Client("192.0.2.2"), Client("192.0.2.3")
    assert places.take(first, 0.0)
    assert places.take(second, 0.1)
    places.stir(first, 0.2)
    assert places.take(third, LATER)
    assert (first.is_gone, second.is_gone) == (False, True)


def test_who_came_or_was_answered_just_now_is_spared() -> None:
    """Newcomers are turned away rather than that."""
    places = TcpPlaces(ConnectionLimits(in_all=1, a_client=1))
    first, second = Client("192.0.2.1"), Client("192.0.2.2")
    assert places.take(first, 0.0)
    assert not places.take(second, SPARED_SECONDS / 2)
    places.stir(first, SPARED_SECONDS)
    assert not places.take(second, SPARED_SECONDS * 1.5)
    assert not first.is_gone


def test_a_client_costs_nobody_else_beyond_its_share() -> None:
    """Its own quietest goes, and a network of IPv6 is one client."""
    places = TcpPlaces(ConnectionLimits(in_all=3, a_client=2))
    other, first, second, third = (
        Client(host) for host in ("192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8::3")
    )
    for client in (other, first, second):
        assert places.take(client, 0.0)
    assert places.take(third, LATER)
    assert [other.is_gone, first.is_gone, second.is_gone] == [False, True, False]


def test_an_end_gives_one_place_back() -> None:
    """However often it is told, and who lost his place has none to give."""
    limits = ConnectionLimits(in_all=1, a_client=1)
    places = TcpPlaces(limits)
    first, second = Client("192.0.2.1"), Client("192.0.2.2")
    assert places.take(first, 0.0)
    assert places.take(second, LATER)
    places.leave(first)
    places.stir(first, LATER)
    assert limits.open == 1
    places.leave(second)
    places.leave(second)
    assert limits.open == 0
