"""The fan-out of the log's newest events."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.feed import (
    Event,
    Feed,
    FeedClosedError,
    FeedLimits,
    Subscription,
    TooManySubscribersError,
)

LIMITS = FeedLimits(subscribers=3, per_name=2, events=4, bytes=1000)


def _event(start: int, end: int) -> Event:
    return Event(start, end, f"{start}-{end}".encode())


def test_all_who_keep_up_get_the_same_bytes_in_order() -> None:
    """The bytes are shared, not copied, between the subscribers."""

    async def scenario() -> None:
        feed = Feed(10, LIMITS)
        first, second = (feed.subscribe(name, "peer", 10, 0) for name in "ab")
        assert first.attach()
        assert second.attach()
        events = [_event(10, 12), _event(12, 13)]
        for event in events:
            feed.publish(event)
        taken = [await first.take(), await second.take()]
        assert [[event.data for event in events]] * 2 == taken
        assert all(one is two for one, two in zip(*taken, strict=True))
        assert [13, 13] == [first.size, second.size]

    asyncio.run(scenario())


def test_who_lacks_a_part_of_the_log_gets_no_events_until_it_has_read_it() -> None:
    """A buffer starts exactly where reading the log ended: nothing is skipped or doubled."""

    async def scenario() -> None:
        feed = Feed(10, LIMITS)
        late = feed.subscribe("late", "peer", 7, 0)
        assert not late.attach()
        feed.publish(_event(10, 12))
        late.size = 10
        assert not late.attach()
        late.size = 12
        assert late.attach()
        feed.publish(_event(12, 14))
        assert [b"12-14"] == await late.take()

    asyncio.run(scenario())


def test_a_slow_subscriber_loses_its_buffer_and_no_one_else_notices() -> None:
    """A full buffer is dropped whole; the size says where to read the log from."""

    async def scenario() -> None:
        feed = Feed(0, LIMITS)
        slow, quick = (feed.subscribe(name, "peer", 0, 0) for name in ("slow", "quick"))
        assert slow.attach()
        assert quick.attach()
        seen = []
        for start in range(LIMITS.events + 1):
            feed.publish(_event(start, start + 1))
            seen += await quick.take()
        assert LIMITS.events + 1 == len(seen)
        assert [] == await slow.take()
        assert not slow.attached
        assert 0 == slow.size
        assert 1 == feed.overflows

    asyncio.run(scenario())


def test_bytes_are_bounded_too() -> None:
    """A few large events fill a buffer as many small ones do."""

    async def scenario() -> None:
        feed = Feed(0, LIMITS)
        slow = feed.subscribe("slow", "peer", 0, 0)
        assert slow.attach()
        feed.publish(Event(0, 1, bytes(600)))
        feed.publish(Event(1, 2, bytes(600)))
        assert [] == await slow.take()

    asyncio.run(scenario())


def test_take_waits_for_the_next_event() -> None:
    """An attached subscriber sleeps until something is published."""

    async def scenario() -> None:
        feed = Feed(0, LIMITS)
        one = feed.subscribe("one", "peer", 0, 0)
        assert one.attach()
        waiting = asyncio.create_task(one.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        feed.publish(_event(0, 3))
        assert [b"0-3"] == await waiting

    asyncio.run(scenario())


def test_closing_ends_subscriptions_after_what_waits_for_them() -> None:
    """What was committed before the stop still goes out."""

    async def scenario() -> None:
        feed = Feed(0, LIMITS)
        one, idle = (feed.subscribe(name, "peer", 0, 0) for name in ("one", "idle"))
        assert one.attach()
        assert idle.attach()
        idle_take = asyncio.create_task(idle.take())
        await asyncio.sleep(0)
        feed.publish(_event(0, 1))
        feed.close()
        assert [b"0-1"] == await idle_take
        assert [b"0-1"] == await one.take()
        with pytest.raises(FeedClosedError):
            await one.take()
        with pytest.raises(FeedClosedError):
            feed.subscribe("new", "peer", 1, 0)

    asyncio.run(scenario())


def test_places_are_bounded_and_given_back() -> None:
    """One subscriber too many is told so; a closed place is free again."""
    feed = Feed(0, LIMITS)
    taken = [feed.subscribe(str(number), "peer", 0, 0) for number in range(LIMITS.subscribers)]
    with pytest.raises(TooManySubscribersError):
        feed.subscribe("more", "peer", 0, 0)
    taken[1].close()
    taken[1].close()
    feed.subscribe("more", "peer", 0, 0)
    assert ["0", "2", "more"] == [one.name for one in feed.subscriptions]


def test_one_name_does_not_take_all_places() -> None:
    """A node that subscribes again and again leaves room for the others."""
    feed = Feed(0, LIMITS)
    first, _ = (feed.subscribe("greedy", "peer", 0, 0) for _ in range(LIMITS.per_name))
    with pytest.raises(TooManySubscribersError, match="greedy holds 2 places"):
        feed.subscribe("greedy", "peer", 0, 0)
    feed.subscribe("modest", "peer", 0, 0)
    first.close()
    feed.subscribe("greedy", "peer", 0, 0)


def test_a_gap_in_what_is_published_is_a_fault() -> None:
    """The feed never hides that an event was left out."""
    feed = Feed(5, LIMITS)
    with pytest.raises(ValueError, match="after the log's 5"):
        feed.publish(_event(6, 7))


async def _read_log(log: list[Event], subscription: Subscription) -> list[bytes]:
    missing = [event for event in log if event.start >= subscription.size and event.end > 0]
    if missing:
        subscription.size = missing[-1].end
    return [event.data for event in missing]


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=40))
def test_any_pace_sees_the_whole_log_once(steps: list[tuple[int, bool]]) -> None:
    """However publishing and taking interleave, a subscriber gets each batch exactly once."""

    async def scenario() -> None:
        feed = Feed(0, FeedLimits(subscribers=1, per_name=1, events=3, bytes=10_000))
        subscription = feed.subscribe("any", "peer", 0, 0)
        log: list[Event] = []
        seen: list[bytes] = []
        for grown, takes in [*steps, (1, True), (1, True)]:
            event = _event(feed.size, feed.size + grown)
            log.append(event)
            feed.publish(event)
            if takes:
                if subscription.attached:
                    seen += await subscription.take()
                while not subscription.attach():
                    seen += await _read_log(log, subscription)
        assert [event.data for event in log] == seen

    asyncio.run(scenario())
