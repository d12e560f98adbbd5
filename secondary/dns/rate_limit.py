"""How many answers over UDP a network gets a second, so that nobody is flooded with them.

Who asks with a forged address gets its owner answers that he did not ask for. Beyond the limit an
answer is replaced by an empty one with TC (slip 1): it is no larger than the query, and a real
resolver asks again over TCP. The memory is fixed, and a query costs one hash and one slot, a
64-bit number, whoever asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from mmap import mmap
from typing import Final

from siphashc import siphash

from secondary.dns.codes import Rcode

# NSD's rrl-ratelimit.
POSITIVE_LIMIT: Final = 200
# Of what a busy mail server asks, most is absent.
NEGATIVE_LIMIT: Final = 10 * POSITIVE_LIMIT
ERROR_LIMIT: Final = 200
MAX_LIMIT: Final = 1_000_000

# A power of two; 2 MiB. Knot's table-size is 393,241.
SLOTS: Final = 1 << 18
_SLOT_BYTES: Final = 8
KEY_BYTES: Final = 16
# Knot, NSD and BIND count a client's networks of these lengths as one client.
_IPV4_PREFIX_BYTES: Final = 3
_IPV6_PREFIX_BYTES: Final = 7
_IPV4_BYTES: Final = 4
# What was not asked for in the last second may be asked for at once.
_BURST_US: Final = 1_000_000
_ANSWER_COUNT: Final = slice(6, 8)


class AnswerKind(IntEnum):
    """What is counted apart."""

    POSITIVE = 0
    # NXDOMAIN and NODATA.
    NEGATIVE = 1
    ERROR = 2


_KEY_OF_KIND: Final = tuple(bytes([kind]) for kind in AnswerKind)


def kind_of(answer: bytes) -> AnswerKind:
    """The kind of an answer, as its header tells it."""
    rcode = answer[3] & 0xF
    if rcode == Rcode.NXDOMAIN:
        return AnswerKind.NEGATIVE
    if rcode != Rcode.NOERROR:
        return AnswerKind.ERROR
    return AnswerKind.POSITIVE if any(answer[_ANSWER_COUNT]) else AnswerKind.NEGATIVE


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Answers a second to one network, an IPv4 /24 or an IPv6 /56; 0 is no limit."""

    positive: int = POSITIVE_LIMIT
    negative: int = NEGATIVE_LIMIT
    error: int = ERROR_LIMIT

    def __post_init__(self) -> None:
        if not all(0 <= limit <= MAX_LIMIT for limit in self.by_kind):
            raise ValueError(f"a rate limit is between 0 and {MAX_LIMIT}")

    @property
    def by_kind(self) -> tuple[int, int, int]:
        """The limits in the order of `AnswerKind`."""
        return self.positive, self.negative, self.error


class RateLimiter:
    """Counts answers by network and kind.

    A slot says when, in microseconds, what its network was sent would be used up at the pace of
    the limit (the generic cell rate algorithm). Networks that fall into one slot share a limit,
    which may cost each a TC and never an answer; with a key that nobody knows, nobody can choose
    with whom. Two threads that meet in a slot lose at most a count.
    """

    def __init__(self, limits: RateLimits, key: bytes, slots: int = SLOTS) -> None:
        """`key`: 16 random bytes; `slots`: a power of two."""
        if len(key) != KEY_BYTES or slots <= 0 or slots & (slots - 1):
            raise ValueError("a limiter has a key of 16 bytes, and a power of two of slots")
        # Microseconds of the pace that an answer uses up; 0 where there is no limit.
        self.costs_us = [1_000_000 // limit if limit else 0 for limit in limits.by_kind]
        self.key = key
        # Zeros of the kernel's, which take memory only as networks ask.
        self.slots = memoryview(mmap(-1, _SLOT_BYTES * slots)).cast("Q")
        self._mask = slots - 1
        # Answers not admitted, by kind.
        self.limited = [0 for _ in AnswerKind]

    def admits(self, client: bytes, kind: AnswerKind, now_us: int) -> bool:
        """Whether one more answer goes to `client`, a packed address, and counts it if so.

        `now_us`: microseconds of a clock that does not go back.
        """
        cost_us = self.costs_us[kind]
        if not cost_us:
            return True
        length = _IPV4_PREFIX_BYTES if len(client) == _IPV4_BYTES else _IPV6_PREFIX_BYTES
        slot = siphash(self.key, _KEY_OF_KIND[kind] + client[:length]) & self._mask
        used_until_us = max(self.slots[slot], now_us)
        if used_until_us + cost_us - now_us > _BURST_US:
            self.limited[kind] += 1
            return False
        self.slots[slot] = used_until_us + cost_us
        return True
