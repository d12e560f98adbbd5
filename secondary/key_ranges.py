"""Walking a large range of keys in pieces that a store can answer without counting the rest.

etcd 3.4 visits every key of the range asked for, however small the limit, so paging with
a limit alone takes time that grows with the square of the number of keys.
"""

from __future__ import annotations

from dataclasses import dataclass

# Bytes after the common prefix that are looked at: enough for 32 hex digits.
FRACTION_BYTES = 32
WHOLE = 1 << (8 * FRACTION_BYTES)
# How much the next piece grows after one that held (next to) nothing.
GROWTH = 16
# The share of a page that the next piece is meant to fill: some room for uneven keys.
FILL = 0.75


@dataclass(frozen=True, slots=True)
class Piece:
    """The keys in [start, end)."""

    start: bytes
    end: bytes


class RangeWalk:
    """The next piece to ask for, learnt from how many keys the last one held.

    `page` is the limit that every piece is asked with.
    """

    def __init__(self, start: bytes, end: bytes, page: int) -> None:
        """Walk [start, end); ValueError unless start < end and page is positive."""
        if not start < end or page < 1:
            raise ValueError("a walk needs start < end and a positive page")
        self._end = end
        self._page = page
        self._common = _common_length(start, end)
        self._prefix = start[: self._common]
        self._width = WHOLE
        self._piece: Piece | None = Piece(start, end)

    @property
    def piece(self) -> Piece | None:
        """What to ask for now; None at the end."""
        return self._piece

    def saw(self, last_key: bytes, count: int, more: bool) -> None:
        """Go on after `count` keys, the last of them `last_key`; `more` were cut off."""
        assert self._piece is not None
        piece = self._piece
        if more:
            self._width = max(1, self._position(last_key) - self._position(piece.start))
            start = last_key + b"\0"
        else:
            start = piece.end
        self._width = max(1, int(self._width * self._scale(count)))
        self._piece = Piece(start, self._bound(start)) if start < self._end else None

    def _scale(self, count: int) -> float:
        """How much wider the next piece should be than the one that held `count` keys."""
        return min(GROWTH, FILL * self._page / count) if count else GROWTH

    def _bound(self, start: bytes) -> bytes:
        """The end of a piece of the present width."""
        position = self._position(start) + self._width
        if position >= WHOLE:
            return self._end
        bound = self._prefix + position.to_bytes(FRACTION_BYTES, "big").rstrip(b"\0")
        return min(max(bound, start + b"\0"), self._end)

    def _position(self, key: bytes) -> int:
        """Where `key` stands among all keys with the common prefix, in [0, WHOLE)."""
        tail = key[self._common : self._common + FRACTION_BYTES]
        return int.from_bytes(tail.ljust(FRACTION_BYTES, b"\0"), "big")


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all those that begin with `prefix`; ValueError if there is none."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        raise ValueError("no key comes after every key with this prefix")
    return stripped[:-1] + bytes([stripped[-1] + 1])


def _common_length(first: bytes, second: bytes) -> int:
    """How many leading bytes the two have in common."""
    pairs = zip(first, second, strict=False)
    shortest = min(len(first), len(second))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), shortest)
