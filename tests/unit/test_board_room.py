"""Who may leave texts with the board."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from primary.board_room import BoardRoom
from primary.proposals import Proposals
from registry.board import Board
from registry.errors import Problem
from tests.support.boards import ALICE, BOB, DAVE, a_chain, first_root, next_root, sign_root
from tests.support.log_builder import START_MS

NEW = next_root(first_root(), board=(ALICE.member, BOB.member, DAVE.member))


def room_in(directory: Path) -> BoardRoom:
    nothing = cast("Any", None)
    signer = cast("Any", SimpleNamespace(board=Board.begin(a_chain())))
    return BoardRoom(signer, Proposals(directory), nothing, reader=nothing, pool=nothing)


def test_strangers_propose_no_root(tmp_path: Path) -> None:
    """Anyone can write a root that names them; kept, such would soon take every place."""
    room = room_in(tmp_path)
    with pytest.raises(Problem, match="nobody of the board"):
        asyncio.run(room.submit(sign_root(NEW, DAVE), START_MS / 1000))
    assert [] == room.open_proposals(START_MS / 1000)


def test_a_member_to_be_signs_beside_a_member(tmp_path: Path) -> None:
    """In one file, or after the member."""
    room = room_in(tmp_path)
    first = asyncio.run(room.submit(sign_root(NEW, ALICE), START_MS / 1000))
    second = asyncio.run(room.submit(sign_root(NEW, DAVE), START_MS / 1000))
    assert (("alice",), ("alice", "dave")) == (first.signed, second.signed)
