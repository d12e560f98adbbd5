"""The log as everyone may see it: what is committed, signed, on disk, and announced."""

from __future__ import annotations

from primary.feed import Event, Feed
from primary.head import Head


class PublicLog:
    """Head, newest freshness note, and the feed of both; for the event loop's thread only."""

    def __init__(self, head: Head, feed: Feed) -> None:
        self.head = head
        self.feed = feed
        # The newest checkpoint with a freshness cosignature; empty before the first.
        self.freshness = b""

    def grow(self, head: Head, event: Event) -> None:
        """Announces the batch that led to `head`."""
        self.head = head
        self.feed.publish(event)

    def freshen(self, note: bytes, event: Event) -> None:
        """Announces that the checkpoint of `head` is still the newest."""
        self.freshness = note
        self.feed.publish(event)
