"""Who may leave texts with the board."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from primary.board_room import BoardRoom
from primary.proposals import Proposals
from registry.board import Board, root_key
from registry.decision import Admit
from registry.entry import Entry
from registry.errors import Problem
from registry.kinds import Kind, Operation
from tests.support.boards import (
    ALICE,
    BOB,
    DAVE,
    a_chain,
    a_decision,
    first_root,
    next_root,
    sign_decision,
    sign_root,
)
from tests.support.log_builder import START_MS

NEW = next_root(first_root(), board=(ALICE.member, BOB.member, DAVE.member))


def room_in(directory: Path) -> BoardRoom:
    nothing = cast("Any", None)
    first = sign_root(first_root())
    entry = Entry(Kind.ROOT, root_key(1), Operation.PUT, True, START_MS, first)
    signer = cast("Any", SimpleNamespace(board=Board.begin(a_chain()).after(entry)))
    return BoardRoom(
        signer,
        Proposals(directory),
        nothing,
        nothing,
        reader=nothing,
        pool=nothing,
        on_removed=nothing,
    )


def test_strangers_propose_no_root(tmp_path: Path) -> None:
    """Anyone can write a root that names them; kept, such would soon take every place."""
    room = room_in(tmp_path)
    with pytest.raises(Problem, match="nobody of the board"):
        asyncio.run(room.submit(sign_root(NEW, DAVE), START_MS / 1000))
    assert [] == room.open_proposals(START_MS / 1000)


def test_a_proposal_expires(tmp_path: Path) -> None:
    """Until its time it waits for signatures; from then on it is forgotten, and not taken again."""
    room = room_in(tmp_path)
    made = a_decision(Admit("mirror-1"))
    note = sign_decision(made, ALICE)
    asyncio.run(room.submit(note, START_MS / 1000))
    (waiting,) = room.open_proposals(made.expires_s - 1)
    assert made.text() == waiting.text
    assert [] == room.open_proposals(made.expires_s)
    assert [] == Proposals(tmp_path).all()
    with pytest.raises(Problem, match="expired"):
        asyncio.run(room.submit(note, made.expires_s))


def test_a_member_to_be_signs_beside_a_member(tmp_path: Path) -> None:
    """In one file, or after the member."""
    room = room_in(tmp_path)
    first = asyncio.run(room.submit(sign_root(NEW, ALICE), START_MS / 1000))
    second = asyncio.run(room.submit(sign_root(NEW, DAVE), START_MS / 1000))
    assert (("alice",), ("alice", "dave")) == (first.signed, second.signed)
