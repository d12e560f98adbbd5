"""Keys of nodes that may follow no more: what the roll knows of them, and what the log says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from node.doorkeeper import ADMINISTRATOR, BOARD
from node.workers import Workers
from primary.board_changes import SetRemovedKey
from primary.intake import BusyError, Submitted
from primary.membership.removed_keys import RemovedKeys
from primary.membership.roll import Keys, Roll
from primary.membership.values import Node, Role
from registry.batch import LoggedEntry
from registry.content import read_entry
from registry.entry import Entry
from registry.errors import MalformedError
from registry.kinds import Kind, Operation
from registry.removed_key import RemovedKey
from tests.support.sequencing import Log, new_log

SECONDS = 10.0
FIRST, SECOND = (sha256(each).digest() for each in (b"first", b"second"))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(new_log(tmp_path)) as log:
        yield log


@pytest.fixture
def roll(log: Log) -> Iterator[Roll]:
    with closing(Roll(log.url)) as roll:
        yield roll


def node(name: str, key: bytes, joined_ms: int) -> Node:
    return Node(name, key, Role.MIRROR, "", (), joined_ms)


def align(log: Log, roll: Roll) -> None:
    """Has the log say what the roll knows."""

    async def submit(changes: Sequence[SetRemovedKey]) -> Submitted:
        return Submitted(log.commit(*changes), b"")

    async def run() -> None:
        with closing(Workers("clerk")) as clerk:
            keys = RemovedKeys(roll, clerk, log.store.reader, submit, asyncio.Event())
            await asyncio.wait_for(keys.align(), SECONDS)

    asyncio.run(run())


def logged(log: Log) -> dict[bytes, int]:
    """The removed keys in the log, and when each was removed."""
    entries = [Entry.decode(each.entry) for each in log.store.reader.all_records(Kind.REMOVED_KEY)]
    return {each.key: RemovedKey.decode(each.payload).removed_ms for each in entries}


def test_the_log_has_the_key_of_who_is_removed(log: Log, roll: Roll) -> None:
    """Until it is let in again; nothing is written where nothing changed."""
    roll.put_all([node("alpha", FIRST, 1), node("beta", SECOND, 1)])
    align(log, roll)
    assert {} == logged(log)
    roll.remove("alpha", ADMINISTRATOR, 5)
    align(log, roll)
    assert {FIRST: 5} == logged(log)
    size = log.sequencer.head.size
    align(log, roll)
    assert size == log.sequencer.head.size
    roll.put(node("alpha", FIRST, 6))
    align(log, roll)
    assert {} == logged(log)
    roll.remove("alpha", ADMINISTRATOR, 7)
    align(log, roll)
    assert {FIRST: 7} == logged(log)


def test_the_log_has_a_key_whose_name_has_another_now(log: Log, roll: Roll) -> None:
    """Also if nobody looked between the removal and the name's return: its certificates last."""
    roll.put(node("alpha", FIRST, 1))
    roll.remove("alpha", ADMINISTRATOR, 5)
    roll.put(node("alpha", SECOND, 6))
    align(log, roll)
    assert {FIRST: 5} == logged(log)
    roll.remove("alpha", ADMINISTRATOR, 7)
    align(log, roll)
    assert {FIRST: 5, SECOND: 7} == logged(log)


def test_a_key_that_another_name_has_is_not_removed(log: Log, roll: Roll) -> None:
    """Whoever has it may follow, under whichever name."""
    roll.put_all([node("alpha", FIRST, 1), node("beta", FIRST, 2)])
    roll.remove("alpha", ADMINISTRATOR, 5)
    align(log, roll)
    assert {} == logged(log)


def test_whom_the_board_removed_the_log_has_already(log: Log, roll: Roll) -> None:
    """By name, in its decision; the key comes beside it once the name has another."""
    roll.put(node("alpha", FIRST, 1))
    roll.remove("alpha", BOARD, 5)
    roll.put(replace(node("gone", b"", 5), removed_ms=5, removed_by=BOARD))
    assert Keys({}, {}) == roll.keys()
    roll.put(node("alpha", SECOND, 6))
    align(log, roll)
    assert {FIRST: 5} == logged(log)


def test_the_log_is_believed_before_a_roll_that_is_older(log: Log, roll: Roll) -> None:
    """A copy of the roll from before a removal lets nobody in again; a lost one says nothing."""
    log.versions(SetRemovedKey(FIRST, RemovedKey(5)), SetRemovedKey(SECOND, RemovedKey(5)))
    roll.put(node("alpha", FIRST, 5))
    align(log, roll)
    assert {FIRST: 5, SECOND: 5} == logged(log)
    assert [(5, ADMINISTRATOR)] == [(each.removed_ms, each.removed_by) for each in roll.nodes()]


def test_what_cannot_be_done_now_is_done_later(log: Log, roll: Roll) -> None:
    """A full queue delays it; so does nothing else, and no restart is needed."""
    roll.put(node("alpha", FIRST, 1))
    roll.remove("alpha", ADMINISTRATOR, 5)
    refusals = iter([BusyError("full")])

    async def submit(changes: Sequence[SetRemovedKey]) -> Submitted:
        for refusal in refusals:
            raise refusal
        done = Submitted(log.commit(*changes), b"")
        written.set()
        return done

    async def run() -> None:
        with closing(Workers("clerk")) as clerk:
            keys = RemovedKeys(roll, clerk, log.store.reader, submit, asyncio.Event())
            running = asyncio.create_task(keys.run())
            await asyncio.wait_for(written.wait(), SECONDS)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    written = asyncio.Event()
    asyncio.run(run())
    assert {FIRST: 5} == logged(log)


def test_asked_again_nothing_changes(log: Log) -> None:
    """A removal that the log has, and the return of a key that it does not have."""
    removal = SetRemovedKey(FIRST, RemovedKey(5))
    first, again = log.versions(removal, removal)
    assert first == again
    size = log.sequencer.head.size
    assert [0] == log.versions(SetRemovedKey(SECOND, None))
    assert size == log.sequencer.head.size


def test_an_entry_that_is_no_removal_is_malformed() -> None:
    """As of every kind that is known; a delete says nothing."""
    bad = Entry(Kind.REMOVED_KEY, FIRST, Operation.PUT, critical=False, time_ms=1, payload=b"\xff")
    with pytest.raises(MalformedError, match="RemovedKey"):
        read_entry(LoggedEntry(bad.encode()))
    gone = replace(bad, operation=Operation.DELETE, payload=b"")
    assert gone == read_entry(LoggedEntry(gone.encode()))
