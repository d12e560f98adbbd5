"""The log as everyone may see it: what is committed, signed, on disk, and announced."""

from __future__ import annotations

from node.feed import Event, Feed
from primary.cosignatures import Cosignatures
from primary.head import Head
from registry.checkpoint import Checkpoint
from registry.note import UnverifiedNote


class PublicLog:
    """Head, newest freshness note, who cosigned, and the feed; for the event loop's thread only."""

    def __init__(self, head: Head, feed: Feed) -> None:
        self.head = head
        self.feed = feed
        # The newest checkpoint with a freshness cosignature; empty before the first.
        self.freshness = b""
        self.cosignatures = Cosignatures()

    @property
    def size(self) -> int:
        """How many entries there are."""
        return self.head.size

    @property
    def checkpoint(self) -> bytes:
        """The signed checkpoint of all of them."""
        return self.head.checkpoint

    @property
    def cosigned(self) -> bytes:
        """A recent checkpoint with the mirrors' cosignatures; empty before the first."""
        return self.cosignatures.published

    @property
    def path(self) -> tuple[str, ...]:
        """The log begins here."""
        return ()

    def grow(self, head: Head, event: Event) -> None:
        """Announces the batch that led to `head`."""
        self.head = head
        self.feed.publish(event)

    def freshen(self, note: bytes, event: Event) -> None:
        """Announces that the checkpoint of `head` is still the newest."""
        self.freshness = note
        self.cosignatures.begin(note, Checkpoint.parse(UnverifiedNote.parse(note).text))
        self.feed.publish(event)
