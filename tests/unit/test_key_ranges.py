"""Walking a range in pieces meets every key once, and asks for pieces of a fair size."""

from __future__ import annotations

import bisect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondary.key_ranges import RangeWalk, prefix_end

PREFIX = b"/smtpnic/g1/"


def walk(keys: list[bytes], start: bytes, end: bytes, page: int) -> tuple[list[bytes], int]:
    """The keys in [start, end) as a store with a limit gives them, and how often it was asked."""
    walk, found, asked = RangeWalk(start, end, page), list[bytes](), 0
    while walk.piece is not None:
        piece, asked = walk.piece, asked + 1
        low, high = bisect.bisect_left(keys, piece.start), bisect.bisect_left(keys, piece.end)
        seen = keys[low : min(high, low + page)]
        found += seen
        walk.saw(seen[-1] if seen else b"", len(seen), high - low > page)
    return found, asked


@given(st.sets(st.binary(max_size=6)), st.integers(1, 9))
def test_every_key_once_and_in_order(tails: set[bytes], page: int) -> None:
    """Whatever the keys are."""
    keys = sorted(PREFIX + tail for tail in tails)
    found, _ = walk([b"/a", *keys, b"/z"], PREFIX, prefix_end(PREFIX), page)
    assert keys == found


def test_few_questions_for_many_keys() -> None:
    """Keys that stand close together in two places far apart cost little more than their pages."""
    keys = sorted(
        PREFIX + b"r/4/%08x" % (base + number)
        for base in (0x0A000000, 0xC6120000)
        for number in range(20_000)
    )
    found, asked = walk(keys, PREFIX, prefix_end(PREFIX), 500)
    assert keys == found
    assert asked < 3 * len(keys) / 500


@pytest.mark.parametrize(
    ("prefix", "expected"), [(b"/a/", b"/a0"), (b"a\xff", b"b"), (b"\x00", b"\x01")]
)
def test_prefix_end(prefix: bytes, expected: bytes) -> None:
    """The end of a prefix is the first key that does not have it and comes after it."""
    assert expected == prefix_end(prefix)


def test_no_end() -> None:
    """Nothing comes after every key, and an empty range is a caller's mistake."""
    with pytest.raises(ValueError, match="no key comes after"):
        prefix_end(b"\xff\xff")
    with pytest.raises(ValueError, match="start < end"):
        RangeWalk(b"b", b"b", 1)
