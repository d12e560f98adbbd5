"""Response rate limiting: who is counted together, and what is let through."""

from __future__ import annotations

from secondary.dns.rate_limit import AnswerKind, RateLimiter, RateLimits

SECOND_US = 1_000_000


def limiter() -> RateLimiter:
    return RateLimiter(RateLimits(positive=10, negative=100, error=0), bytes(16))


def admitted(counter: RateLimiter, client: bytes, kind: AnswerKind, now_us: int) -> int:
    return sum(counter.admits(client, kind, now_us) for _ in range(1000))


def test_negatives_are_counted_apart() -> None:
    """Each kind has its own limit, and 0 is none."""
    counter = limiter()

    counts = [admitted(counter, bytes(4), kind, SECOND_US) for kind in AnswerKind]

    assert [10, 100, 1000] == counts
    assert [990, 900, 0] == counter.limited


def test_the_limit_is_by_the_second() -> None:
    """What is used up comes back with time."""
    counter = limiter()
    admitted(counter, bytes(4), AnswerKind.POSITIVE, SECOND_US)

    assert 5 == admitted(counter, bytes(4), AnswerKind.POSITIVE, SECOND_US + SECOND_US // 2)
    assert 10 == admitted(counter, bytes(4), AnswerKind.POSITIVE, 3 * SECOND_US)


def test_a_network_is_one_client() -> None:
    """A /24 and a /56 share what they get; the next network has its own."""
    counter = limiter()
    for size, last in ((4, 3), (16, 7)):
        admitted(counter, bytes(size), AnswerKind.POSITIVE, SECOND_US)
        neighbour = bytearray(size)
        neighbour[last] = 1
        other = bytearray(size)
        other[last - 1] = 1
        assert not counter.admits(bytes(neighbour), AnswerKind.POSITIVE, SECOND_US)
        assert counter.admits(bytes(other), AnswerKind.POSITIVE, SECOND_US)
