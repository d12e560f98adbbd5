"""The newest events of the log, fanned out to the subscribers that keep up.

An event is encoded once and its bytes shared by all. A subscriber has a bounded buffer: one
that falls behind loses it and reads the log again until it has caught up, so it slows nobody.
Everything here runs on one event loop's thread; nothing awaits but `Subscription.take`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from registry.errors import RegistryError


class FeedClosedError(RegistryError):
    """This node stops; subscribe again, a little later."""


class TooManySubscribersError(RegistryError):
    """The feed, or one name in it, has as many subscribers as it may; try again later."""


@dataclass(frozen=True, slots=True)
class Event:
    """Bytes for every subscriber that holds the log up to `start`; then it holds `end`.

    `start == end` for what does not change the log.
    """

    start: int
    end: int
    data: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"an event from {self.start} to {self.end}")


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """What one feed may hold: subscribers, and events and bytes waiting for each of them.

    `per_name` subscribers may have the same name.
    """

    subscribers: int
    per_name: int
    events: int
    bytes: int

    def __post_init__(self) -> None:
        if min(self.subscribers, self.per_name, self.events, self.bytes) < 1:
            raise ValueError("a feed's limits start at 1")


class Subscription:
    """One subscriber's place in the feed. Close it when the subscriber is gone."""

    def __init__(self, feed: Feed, name: str, peer: str, size: int, since_ms: int) -> None:
        self.name = name
        self.peer = peer
        self.since_ms = since_ms
        # Up to where the log was handed over for sending.
        self.size = size
        self._feed = feed
        self._waiting: deque[Event] = deque()
        self._waiting_bytes = 0
        self._attached = False
        self._wake: asyncio.Future[None] | None = None

    @property
    def attached(self) -> bool:
        """True while the buffer fills; False while the subscriber reads the log."""
        return self._attached

    def attach(self) -> bool:
        """Starts the buffer if the subscriber holds all of the log; False if it has to read on."""
        if not self._attached and self.size == self._feed.size:
            self._attached = True
        return self._attached

    async def take(self) -> list[bytes]:
        """What waits, at least one event; empty when the buffer ran over and was dropped.

        FeedClosedError when the feed was closed and nothing waits any more.
        """
        while self._attached and not self._waiting:
            if self._feed.closed:
                raise FeedClosedError("this node is stopping")
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        taken = [event.data for event in self._waiting]
        if self._waiting:
            self.size = self._waiting[-1].end
        self._clear()
        return taken

    def close(self) -> None:
        """Gives the place up; safe to call again."""
        self._clear()
        self._feed.remove(self)

    def offer(self, event: Event, limits: FeedLimits) -> None:
        """Called by the feed: keeps the event, or drops all when that passes a limit."""
        if not self._attached:
            return
        self._waiting.append(event)
        self._waiting_bytes += len(event.data)
        if len(self._waiting) > limits.events or self._waiting_bytes > limits.bytes:
            self._clear()
            self._attached = False
        self.wake()

    def wake(self) -> None:
        """Called by the feed: lets `take` look again."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _clear(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0


class Feed:
    """Where events are published and subscriptions are made."""

    def __init__(self, size: int, limits: FeedLimits) -> None:
        self._limits = limits
        self._subscriptions: dict[Subscription, None] = {}
        self.size = size
        self.closed = False
        # How often a subscriber's buffer ran over.
        self.overflows = 0

    @property
    def subscriptions(self) -> list[Subscription]:
        """Those that are open, the oldest first."""
        return list(self._subscriptions)

    def subscribe(self, name: str, peer: str, size: int, since_ms: int) -> Subscription:
        """A place for a subscriber that holds the log up to `size`."""
        if self.closed:
            raise FeedClosedError("this node is stopping")
        if len(self._subscriptions) >= self._limits.subscribers:
            raise TooManySubscribersError(
                f"all {self._limits.subscribers} places are taken: try again later"
            )
        if sum(one.name == name for one in self._subscriptions) >= self._limits.per_name:
            raise TooManySubscribersError(
                f"{name} holds {self._limits.per_name} places, as many as a node may: end one"
            )
        subscription = Subscription(self, name, peer, size, since_ms)
        self._subscriptions[subscription] = None
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Forgets a subscription; none of it is an error."""
        self._subscriptions.pop(subscription, None)

    def publish(self, event: Event) -> None:
        """Hands an event to all who keep up. Events come in the order of the log, none left out."""
        if event.start != self.size:
            raise ValueError(f"an event at {event.start} after the log's {self.size}")
        self.size = event.end
        for subscription in self._subscriptions:
            attached = subscription.attached
            subscription.offer(event, self._limits)
            self.overflows += attached and not subscription.attached

    def close(self) -> None:
        """Ends every subscription after what waits for it."""
        self.closed = True
        for subscription in self._subscriptions:
            subscription.wake()
