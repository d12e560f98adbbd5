"""What the board decided is done in the end, on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from node.workers import Workers
from primary.aligner import ALIGNED_AT_ONCE, Aligner
from primary.board_changes import Enact, PublishRoot
from primary.board_room import BoardRoom
from primary.intake import Intake
from primary.proposals import Proposals
from registry.address import Address
from registry.decision import (
    Act,
    Admit,
    OfHolder,
    OfRegistration,
    Remove,
    Suspend,
    parse_act,
)
from registry.kinds import Status
from tests.support.boards import ALICE, a_decision, sign_decision
from tests.support.sequencing import ORIGIN, START_MS, Log, Person, addresses, new_log

ME, OTHER = Person("me"), Person("other")
NOW_S = START_MS / 1000
SECONDS = 30.0
# Into the third look.
MANY = addresses(2 * ALIGNED_AT_ONCE + 3)
NETWORK = "198.18.0.0/24"
ELSEWHERE = "203.0.113.1"
OF_NETWORK = {
    "suspend": parse_act(f"suspend prefix {NETWORK}"),
    "restore": parse_act(f"restore prefix {NETWORK}"),
}


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[Log]:
    """A log with a board and registrations of two holders; one of each is IPv6."""
    log = new_log(tmp_path, database_url)
    log.versions(PublishRoot(log.trust.chain.notes[0]), ME.create(), OTHER.create())
    log.versions(*(ME.register(address) for address in (*MANY, "2001:db8::1")))
    log.versions(OTHER.register(ELSEWHERE), OTHER.register("2001:db8::2"))
    yield log
    log.close()


def note(act: Act, proposed_s: int = START_MS // 1000) -> bytes:
    """A decision, signed."""
    return sign_decision(a_decision(act, origin=ORIGIN, proposed_s=proposed_s), ALICE)


def suspended(log: Log, *among: str) -> list[str]:
    """Which of these addresses are suspended."""
    found = [(address, log.registered(address)) for address in among]
    return [address for address, one in found if one and one.status is Status.SUSPENDED]


@asynccontextmanager
async def running(log: Log, max_waiting: int = 8000) -> AsyncIterator[tuple[Intake, Aligner]]:
    """What a start of the primary sets to work over the log."""
    intake = Intake(log.sequencer, max_waiting, lambda _: None)
    pool = Workers("read")
    yield intake, Aligner(log.trust, intake, reader=log.store.reader, pool=pool)
    await intake.close()
    pool.close()


def start(log: Log) -> int:
    """Starts as after a crash, does what was left undone; by how much the log grew."""
    log.reopen()
    size = log.sequencer.head.size

    async def run() -> None:
        async with running(log) as (_, aligner):
            await aligner.align_all()

    asyncio.run(run())
    log.catch_up()
    return log.sequencer.head.size - size


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        (f"prefix {NETWORK}", MANY),
        (f"holder {ME.holder_id.hex()}", [*MANY, "2001:db8::1"]),
        (f"registration {ELSEWHERE}", [ELSEWHERE]),
        ("prefix 2001:db8::/32", ["2001:db8::1", "2001:db8::2"]),
        ("registration 192.0.2.99", []),
    ],
)
def test_a_start_does_what_a_crash_left_undone(log: Log, target: str, meant: list[str]) -> None:
    """The decision is in the log and no registration was touched: the next start suspends them,
    and restores them after the next; one more start commits nothing."""
    everything = (*MANY, "2001:db8::1", "2001:db8::2", ELSEWHERE)
    log.versions(Enact(note(parse_act(f"suspend {target}"))))
    assert [] == suspended(log, *everything)
    assert start(log) >= len(meant)
    assert sorted(meant) == sorted(suspended(log, *everything))
    assert 0 == start(log)

    log.versions(Enact(note(parse_act(f"restore {target}"))))
    assert sorted(meant) == sorted(suspended(log, *everything))
    start(log)
    assert [] == suspended(log, *everything)
    assert 0 == start(log)


def test_half_a_decision_is_finished(log: Log) -> None:
    """Some were suspended before the crash, and are not put again."""
    log.versions(Enact(note(OF_NETWORK["suspend"])))
    start(log)
    versions = {address: log.registered(address) for address in MANY}
    log.versions(ME.register("198.18.9.9"), Enact(note(Suspend(OfHolder(ME.holder_id)))))
    start(log)
    assert ["198.18.9.9", "2001:db8::1"] == suspended(log, "198.18.9.9", "2001:db8::1")
    assert versions == {address: log.registered(address) for address in MANY}


def test_another_suspension_still_holds(log: Log) -> None:
    """Of two that cover an address one is lifted: it stays suspended."""
    log.versions(Enact(note(Suspend(OfRegistration(Address.parse(MANY[0]))))))
    log.versions(Enact(note(OF_NETWORK["suspend"])))
    log.versions(Enact(note(OF_NETWORK["restore"])))
    start(log)
    assert [MANY[0]] == suspended(log, *MANY)


def room_of(
    log: Log, intake: Intake, aligner: Aligner, removed: list[tuple[str, int]]
) -> BoardRoom:
    """Where signatures come together."""

    async def on_removed(name: str, decided_ms: int) -> None:
        removed.append((name, decided_ms))

    return BoardRoom(
        log.trust,
        Proposals(log.directory / "proposals"),
        intake,
        aligner,
        reader=log.store.reader,
        pool=cast("Any", None),
        on_removed=on_removed,
    )


def test_who_stops_waiting_stops_nothing(log: Log) -> None:
    """The call that handed in the last signature is cancelled at once: all is done as decided."""

    async def run() -> None:
        async with running(log) as (intake, aligner):
            room = room_of(log, intake, aligner, [])
            call = asyncio.create_task(room.submit(note(OF_NETWORK["suspend"]), NOW_S))
            while not intake.waiting:
                await asyncio.sleep(0)
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call
            # The next text waits until it is done.
            await room.submit(note(Admit("mirror-1")), NOW_S)
            assert MANY == suspended(log, *MANY)

    asyncio.run(asyncio.wait_for(run(), SECONDS))
    log.catch_up()


def test_what_found_no_room_is_done_later(log: Log) -> None:
    """The decision is taken though registrations fill the queue; they are aligned when it is
    empty, without a start."""

    async def run() -> None:
        # Room for a decision, and not for a batch of registrations.
        async with running(log, max_waiting=ALIGNED_AT_ONCE - 1) as (intake, aligner):
            part = asyncio.create_task(aligner.run())
            room = room_of(log, intake, aligner, [])
            standing = await room.submit(note(OF_NETWORK["suspend"]), NOW_S)
            assert standing.index
            assert [] == suspended(log, *MANY)
            assert not part.done()
            intake._max_waiting = 8000
            while suspended(log, *MANY) != MANY:
                await asyncio.sleep(0.01)
            part.cancel()

    asyncio.run(asyncio.wait_for(run(), SECONDS))
    log.catch_up()


def test_an_old_removal_removes_nobody_again(log: Log) -> None:
    """Decisions are public. Handed in again by anyone, after the board admitted the mirror anew,
    it says when the mirror was removed, and not now."""
    removed: list[tuple[str, int]] = []
    decided_ms = log.now_ms

    async def run() -> None:
        async with running(log) as (intake, aligner):
            room = room_of(log, intake, aligner, removed)
            await room.submit(note(Admit("mirror-1")), NOW_S)
            await room.submit(note(Remove("mirror-1")), NOW_S)
            log.now_ms += 60_000
            await room.submit(note(Admit("mirror-1"), START_MS // 1000 + 1), NOW_S + 60)
            await room.submit(note(Remove("mirror-1")), NOW_S + 61)
            assert {"mirror-1"} == room.board.mirrors

    asyncio.run(asyncio.wait_for(run(), SECONDS))
    assert {("mirror-1", decided_ms)} == set(removed)
