"""Cosignatures of the newest checkpoint."""

from __future__ import annotations

import asyncio

import pytest

from node.feed import Feed, FeedLimits
from primary.freshness import Freshness
from primary.head import Head
from primary.public_log import PublicLog
from registry.checkpoint import Checkpoint, freshness_time, open_checkpoint, sign_checkpoint
from registry.merkle import CompactRange, leaf_hash
from registry.note import Cosigner, Signer
from registry.state import State
from registry.wire.v1.replication_pb2 import SubscribeResponse

NOW = 1_800_000_000
SIGNER = Signer.generate("example.org")
COSIGNER = Cosigner.generate("example.org/freshness")


def _log() -> PublicLog:
    compact_range = CompactRange.empty().extend([leaf_hash(b"only")])
    root = compact_range.root()
    note = sign_checkpoint(Checkpoint("example.org", 1, root), SIGNER)
    head = Head(1, root, note, State(0, bytes(32), 1), compact_range, 0)
    return PublicLog(head, Feed(1, FeedLimits(1, 1, 10, 10_000)))


async def _yes() -> bool:
    return True


async def _no() -> bool:
    return False


def test_subscribers_are_sent_the_cosigned_checkpoint() -> None:
    """The note carries the log's signature and the time; late subscribers find it too."""

    async def scenario() -> None:
        log = _log()
        subscription = log.feed.subscribe("node", "peer", 1, 0)
        assert subscription.attach()
        await Freshness(log, COSIGNER, _yes, lambda: NOW + 0.7).renew()
        (data,) = await subscription.take()
        note = SubscribeResponse.FromString(data).freshness.checkpoint
        assert log.freshness == note
        assert 1 == open_checkpoint(note, SIGNER.verifier()).size
        assert freshness_time(note, COSIGNER.verifier()) == NOW

    asyncio.run(scenario())


def test_what_may_not_be_the_newest_is_not_cosigned() -> None:
    """No word is better than a false one: mirrors judge lag by it (P7)."""

    async def scenario() -> None:
        log = _log()
        await Freshness(log, COSIGNER, _no).renew()
        assert b"" == log.freshness

    asyncio.run(scenario())


def test_it_goes_on_until_something_is_fatal() -> None:
    """Every interval again; an error of the check ends it."""

    async def scenario() -> None:
        seen: list[bytes] = []

        async def third_time_fatal() -> bool:
            seen.append(log.freshness)
            if len(seen) == 3:
                raise ValueError("fenced")
            return True

        log = _log()
        times = iter(range(NOW, NOW + 10))
        with pytest.raises(ValueError, match="fenced"):
            await Freshness(log, COSIGNER, third_time_fatal, lambda: next(times)).run(0.001)
        first, second, third = seen
        assert b"" == first
        assert [NOW, NOW + 1] == [
            freshness_time(note, COSIGNER.verifier()) for note in (second, third)
        ]

    asyncio.run(scenario())
