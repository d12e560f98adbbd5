"""Replay of a log with a board: roots before checkpoints, and nothing without its consent."""

from __future__ import annotations

from typing import Any

import pytest

from registry.address import Address
from registry.batch import Batch
from registry.board import Board, root_key
from registry.decision import Admit, Decision, OfRegistration, Remove, Restore, Suspend
from registry.errors import (
    BoardError,
    RetiredKeyError,
    SignatureError,
    ThresholdError,
    VerificationError,
)
from registry.kinds import Kind, Status
from registry.member import Member
from registry.merkle import CompactRange
from registry.replay import Replay
from registry.root import LogKey, Root
from registry.state_tree import StateTree
from tests.support.boards import (
    ALICE,
    LOG_SIGNER,
    NEXT_SIGNER,
    a_chain,
    a_decision,
    first_root,
    next_root,
    sign_decision,
    sign_root,
)
from tests.support.log_builder import LogBuilder

ADDRESS = "198.51.100.7"
TARGET = OfRegistration(Address.parse(ADDRESS))


class BoardLog:
    """A log with a board, and a replay behind it."""

    def __init__(self) -> None:
        self.builder = LogBuilder(signer=LOG_SIGNER)
        self.replay = Replay(Board.begin(a_chain()), CompactRange.empty(), StateTree(), 0)
        self.put_root(first_root(), sign_root(first_root()))
        self.follow()

    def put(self, kind: Kind, key: bytes, payload: bytes) -> None:
        """Anything, into the batch that is being made."""
        self.builder.put(kind, key, payload, critical=True)

    def put_root(self, root: Root, note: bytes) -> None:
        """A root."""
        self.put(Kind.ROOT, root_key(root.version), note)

    def put_decision(self, decision: Decision, note: bytes = b"") -> None:
        """A decision, of alice and bob."""
        self.put(Kind.DECISION, decision.identifier, note or sign_decision(decision))

    def put_registration(self, status: Status) -> None:
        """A registration with this status."""
        self.builder.put_registration(ADDRESS, status=status)

    def follow(self) -> Batch:
        """Commits, and replays the batch."""
        batch = self.builder.commit()
        self.replay.advance(self.replay.verify(batch))
        return batch

    def refused(self, error: type[VerificationError], **match: Any) -> None:
        """Commits what the replay refuses, and stays where it stood."""
        size = self.replay.size
        batch = self.builder.batch()
        with pytest.raises(error, **match) as caught:
            self.replay.verify(batch)
        assert caught.type is error
        assert self.replay.size == size


def rotated() -> Root:
    """The log key is retired at size 4; the next one is good for all sizes."""
    keys = (LogKey(LOG_SIGNER.verifier(), 0, 4), LogKey(NEXT_SIGNER.verifier()))
    return next_root(first_root(), log_keys=keys)


def test_a_batch_brings_the_root_that_its_checkpoint_needs() -> None:
    """The log goes on under the new key; what the retired one signs from then on is refused."""
    log = BoardLog()
    log.put_root(rotated(), sign_root(rotated()))
    log.builder.signer = NEXT_SIGNER
    log.follow()
    log.put_registration(Status.ACTIVE)
    log.builder.signer = LOG_SIGNER
    log.refused(RetiredKeyError)
    log.builder.signer = NEXT_SIGNER
    log.follow()


def test_a_thief_cannot_bring_a_key_of_his_own() -> None:
    """A root that too few signed makes no checkpoint good."""
    log = BoardLog()
    log.put_root(rotated(), sign_root(rotated(), ALICE))
    log.builder.signer = NEXT_SIGNER
    log.refused(ThresholdError)
    log.builder.signer = LOG_SIGNER
    log.refused(ThresholdError)


def test_without_a_root_a_new_key_is_a_stranger() -> None:
    """Nobody but the board makes a log key good."""
    log = BoardLog()
    log.put_registration(Status.ACTIVE)
    log.builder.signer = NEXT_SIGNER
    log.refused(SignatureError)


def test_roots_that_came_first_hold_at_once() -> None:
    """The retired key's batch is refused before the log has the root, when the root is known."""
    log = BoardLog()
    log.replay.know(a_chain(sign_root(rotated())))
    for _ in range(2):
        log.put_registration(Status.ACTIVE)
        log.put_registration(Status.NEW)
    log.refused(RetiredKeyError)


def test_nobody_suspends_alone() -> None:
    """Suspended without a decision is refused, and with one that too few signed."""
    log = BoardLog()
    log.put_registration(Status.SUSPENDED)
    log.refused(BoardError, match="without a decision")
    log = BoardLog()
    decision = a_decision(Suspend(TARGET))
    log.put_decision(decision, sign_decision(decision, ALICE))
    log.put_registration(Status.SUSPENDED)
    log.refused(ThresholdError)
    log = BoardLog()
    log.put_decision(decision)
    log.put_registration(Status.SUSPENDED)
    log.follow()
    assert log.replay.board is not None
    assert log.replay.board.suspension(TARGET.address, bytes(16)) is not None


def test_a_decision_is_taken_once() -> None:
    """After the restoration the old decision cannot be put again; nor twice in one batch."""
    log = BoardLog()
    suspend, restore = a_decision(Suspend(TARGET)), a_decision(Restore(TARGET))
    log.put_decision(suspend)
    log.follow()
    log.put_decision(restore)
    log.follow()
    log.put_decision(suspend)
    log.refused(BoardError, match="already")
    log = BoardLog()
    for each in (suspend, restore, suspend):
        log.put_decision(each)
    log.refused(BoardError, match="already")


def test_nobody_is_a_member_without_the_board() -> None:
    """A mirror that no decision admitted, or that one has removed, may not be put."""
    log = BoardLog()

    def put() -> None:
        log.builder.put(Kind.MEMBER, b"m1", Member().encode())

    put()
    log.refused(BoardError, match="m1 is a member without")
    log = BoardLog()
    log.put_decision(a_decision(Admit("m1")))
    put()
    log.follow()
    log.put_decision(a_decision(Remove("m1")))
    log.follow()
    put()
    log.refused(BoardError, match="m1 is a member without")
