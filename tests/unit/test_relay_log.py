"""What a mirror passes on: the newest batches, byte for byte, and what was fresh."""

from __future__ import annotations

import asyncio

import pytest

from node.feed import FeedClosedError, FeedLimits
from registry.batch import Batch
from registry.merkle import EMPTY_ROOT, CompactRange, leaf_hash
from registry.wire.v1.replication_pb2 import SubscribeResponse
from secondary.relay_log import RelayLog
from tests.support.log_builder import LogBuilder

LIMITS = FeedLimits(8, 8, 100, 1 << 20)


def built(batches: int) -> LogBuilder:
    log = LogBuilder()
    for number in range(batches):
        log.put_registration(f"192.0.2.{number}")
        log.commit()
    return log


LOG = built(8)
BATCHES = LOG.batches


def position(size: int) -> CompactRange:
    return CompactRange.empty().extend([leaf_hash(one.entry) for one in LOG.logged[:size]])


def relay(kept_bytes: int = 1 << 20) -> RelayLog:
    return RelayLog(LIMITS, kept_bytes, lambda: ("mirror-1",))


def grow(one: RelayLog, batches: list[Batch]) -> None:
    for batch in batches:
        one.grow(batch, position(batch.size).root())


def test_batches_are_read_again() -> None:
    """From any size at which one begins, in the order of the log, as they came."""
    one = relay()
    grow(one, BATCHES)
    events = one.next(BATCHES[3].start)
    assert BATCHES[3:] == [
        Batch.from_message(SubscribeResponse.FromString(event.data).batch) for event in events
    ]
    assert (LOG.size, LOG.checkpoint) == (one.size, one.checkpoint)
    assert [] == one.next(BATCHES[3].start + 1) == one.next(LOG.size)


def test_roots_are_known_where_batches_end() -> None:
    """Elsewhere they have to be computed."""
    one = relay()
    grow(one, BATCHES)
    assert EMPTY_ROOT == one.root(0)
    assert LOG.root == one.root(LOG.size)
    assert one.root(1) is None


def test_the_window_is_bounded() -> None:
    """The oldest go first, their roots with them; the newest stays, however large."""
    one = relay(kept_bytes=1)
    grow(one, BATCHES)
    assert BATCHES[-1].start == one.kept_from
    assert [] == one.next(BATCHES[-2].start)
    assert [BATCHES[-1].size] == [event.end for event in one.next(BATCHES[-1].start)]
    assert one.root(BATCHES[-2].start) is None
    assert position(BATCHES[-1].start).root() == one.root(BATCHES[-1].start)


def test_another_place_ends_every_subscription() -> None:
    """A snapshot that was loaded leaves a gap: who follows subscribes again."""
    one = relay()
    grow(one, BATCHES[:2])
    feed = one.feed
    subscription = feed.subscribe("m", "p", one.size, 0)
    assert subscription.attach()
    one.replace(position(BATCHES[5].size), BATCHES[5].checkpoint)
    with pytest.raises(FeedClosedError):
        asyncio.run(subscription.take())
    assert (BATCHES[5].size, BATCHES[5].checkpoint) == (one.size, one.checkpoint)
    grow(one, BATCHES[6:])
    assert BATCHES[6].start == one.kept_from


def test_the_same_place_ends_none() -> None:
    """A replica that is read again is where it was."""
    one = relay()
    grow(one, BATCHES[:2])
    feed = one.feed
    one.replace(position(BATCHES[1].size), BATCHES[1].checkpoint)
    assert feed is one.feed
    assert 2 == len(one.next(0))


def test_freshness_is_passed_on() -> None:
    """To whoever follows, as it came."""
    one = relay()
    grow(one, BATCHES)
    subscription = one.feed.subscribe("m", "p", one.size, 0)
    subscription.attach()
    note = LOG.freshness(1_700_000_000)
    one.freshen(note)
    (data,) = asyncio.run(subscription.take())
    assert note == SubscribeResponse.FromString(data).freshness.checkpoint
    assert (note, ("mirror-1",)) == (one.freshness, one.path)
