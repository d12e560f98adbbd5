"""The way from the event loop to the writer thread and back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from primary.changes import Change
from primary.intake import BusyError, Intake, IntakeClosedError, Submitted
from primary.sequencer import MAX_CHANGES_PER_COMMIT, Committed, Sequencer
from primary.store.errors import FencedError, StoreUnavailableError
from registry.checkpoint import open_checkpoint
from registry.errors import Problem
from tests.support.sequencing import Log, Person, addresses

ME = Person("me")
REFUSED = Problem("refused", "because")


@dataclass
class _Head:
    checkpoint: bytes


@dataclass
class FakeSequencer:
    """Commits at the word of the test; outcomes count from 1, a `refused` change gets none."""

    go_on: threading.Event = field(default_factory=threading.Event)
    failures: list[Exception] = field(default_factory=list)
    fatal: bool = False
    stopped_by: Exception | None = None
    commits: list[list[Any]] = field(default_factory=list)
    part: int = MAX_CHANGES_PER_COMMIT
    size: int = 0

    def commit(self, changes: Sequence[Any]) -> list[Committed]:
        assert self.go_on.wait(10)
        self.commits.append(list(changes))
        if self.failures:
            error = self.failures.pop(0)
            self.stopped_by = error if self.fatal else None
            raise error
        parts = [changes[at : at + self.part] for at in range(0, len(changes), self.part)]
        return [self._part(part) for part in parts]

    def _part(self, changes: Sequence[Any]) -> Committed:
        outcomes: list[int | Problem] = []
        for change in changes:
            self.size += change != "refused"
            outcomes.append(REFUSED if change == "refused" else self.size)
        head = cast("Any", _Head(f"checkpoint {self.size}".encode()))
        return Committed(tuple(outcomes), None, (), head, 0.0)


def _run(
    sequencer: FakeSequencer,
    scenario: Callable[[Intake], Coroutine[Any, Any, None]],
    *,
    max_waiting: int = 1000,
    on_commit: Callable[[Committed], None] = lambda _: None,
) -> None:
    async def run() -> None:
        intake = Intake(cast("Sequencer", sequencer), max_waiting, on_commit)
        try:
            await scenario(intake)
        finally:
            sequencer.go_on.set()
            await intake.close()

    asyncio.run(run())


def _changes(*names: str) -> Sequence[Change]:
    return cast("Sequence[Change]", names)


def _submit(intake: Intake, *names: str) -> asyncio.Task[Submitted]:
    return asyncio.create_task(intake.submit(_changes(*names)))


async def _until_taken(sequencer: FakeSequencer, intake: Intake) -> None:
    """Until the writer thread holds the first commit."""
    async with asyncio.timeout(10):
        while intake._queue:
            await asyncio.sleep(0)


def test_what_gathers_during_a_commit_is_committed_together() -> None:
    """The first goes alone and at once; the others wait for it, and then go in their order."""
    sequencer = FakeSequencer()

    async def scenario(intake: Intake) -> None:
        first = _submit(intake, "a")
        await asyncio.sleep(0)
        await _until_taken(sequencer, intake)
        others = [_submit(intake, "b", "c"), _submit(intake, "d")]
        await asyncio.sleep(0)
        sequencer.go_on.set()
        assert [[1], [2, 3], [4]] == [(await task).outcomes for task in (first, *others)]
        assert [["a"], ["b", "c", "d"]] == sequencer.commits
        assert 0 == intake.waiting

    _run(sequencer, scenario)


def test_the_checkpoint_covers_every_outcome() -> None:
    """Of a submission that took several commits, the last one's; none if all were refused."""
    sequencer = FakeSequencer(part=2)
    sequencer.go_on.set()

    async def scenario(intake: Intake) -> None:
        many = ["x"] * (MAX_CHANGES_PER_COMMIT + 3)
        submitted = await intake.submit(_changes(*many, "refused"))
        assert [*range(1, len(many) + 1), REFUSED] == submitted.outcomes
        assert f"checkpoint {len(many)}".encode() == submitted.checkpoint
        refused = await intake.submit(_changes("refused", "refused"))
        assert ([REFUSED, REFUSED], b"") == (refused.outcomes, refused.checkpoint)
        assert Submitted([], b"") == await intake.submit(())

    _run(sequencer, scenario)


def test_every_commit_is_announced_in_order_before_it_is_answered() -> None:
    """So that whoever has a receipt can expect the mirrors to hear of it."""
    sequencer = FakeSequencer(part=1)
    sequencer.go_on.set()
    seen: list[int] = []

    def announce(committed: Committed) -> None:
        seen.extend(outcome for outcome in committed.outcomes if isinstance(outcome, int))

    async def scenario(intake: Intake) -> None:
        for _ in range(3):
            submitted = await intake.submit(_changes("a", "b"))
            assert submitted.outcomes == seen[-2:]

    _run(sequencer, scenario, on_commit=announce)
    assert [1, 2, 3, 4, 5, 6] == seen


def test_no_more_wait_than_may() -> None:
    """The rest is told to come again; nothing of it is done."""
    sequencer = FakeSequencer()

    async def scenario(intake: Intake) -> None:
        waiting = _submit(intake, "a", "b")
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await intake.submit(_changes("c", "d"))
        last = _submit(intake, "e")
        await asyncio.sleep(0)
        assert 3 == intake.waiting
        sequencer.go_on.set()
        assert ([1, 2], [3]) == ((await waiting).outcomes, (await last).outcomes)

    _run(sequencer, scenario, max_waiting=3)


def test_a_failure_is_told_to_those_it_hit() -> None:
    """Others are served afterwards."""
    sequencer = FakeSequencer(failures=[StoreUnavailableError("full")])
    sequencer.go_on.set()

    async def scenario(intake: Intake) -> None:
        with pytest.raises(StoreUnavailableError):
            await intake.submit(_changes("a"))
        assert [1] == (await intake.submit(_changes("b"))).outcomes

    _run(sequencer, scenario)


def test_a_fatal_failure_is_told_to_all_and_stops_the_intake() -> None:
    """Whoever runs the process hears of it, and nobody is let in any more."""
    sequencer = FakeSequencer(failures=[FencedError("fenced")] * 2, fatal=True)

    async def scenario(intake: Intake) -> None:
        first = _submit(intake, "a")
        await asyncio.sleep(0)
        await _until_taken(sequencer, intake)
        second = _submit(intake, "b")
        await asyncio.sleep(0)
        sequencer.go_on.set()
        with pytest.raises(FencedError):
            await intake.wait_stopped()
        for task in (first, second):
            with pytest.raises(FencedError):
                await task
        with pytest.raises(IntakeClosedError):
            await intake.submit(_changes("c"))

    _run(sequencer, scenario)


def test_an_announcement_that_fails_stops_the_intake() -> None:
    """What is committed is answered; but mirrors that miss a batch must not go unnoticed."""
    sequencer = FakeSequencer()
    sequencer.go_on.set()

    def broken(_: Committed) -> None:
        raise RuntimeError("a mistake")

    async def scenario(intake: Intake) -> None:
        assert [1] == (await intake.submit(_changes("a"))).outcomes
        with pytest.raises(RuntimeError, match="a mistake"):
            await intake.wait_stopped()

    _run(sequencer, scenario, on_commit=broken)


def test_closing_answers_what_waits() -> None:
    """And lets nothing more in."""
    sequencer = FakeSequencer()

    async def scenario(intake: Intake) -> None:
        tasks = [_submit(intake, name) for name in "abc"]
        await asyncio.sleep(0)
        closing = asyncio.create_task(intake.close())
        await asyncio.sleep(0)
        with pytest.raises(IntakeClosedError):
            await intake.submit(_changes("d"))
        sequencer.go_on.set()
        await closing
        assert [[1], [2], [3]] == [(await task).outcomes for task in tasks]
        await intake.wait_stopped()

    _run(sequencer, scenario)


def test_who_stops_waiting_does_not_stop_the_change() -> None:
    """It may be on its way to the disk already."""
    sequencer = FakeSequencer()

    async def scenario(intake: Intake) -> None:
        impatient, patient = _submit(intake, "a"), _submit(intake, "b")
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.sleep(0)
        sequencer.go_on.set()
        assert [2] == (await patient).outcomes
        assert ["a", "b"] == [name for commit in sequencer.commits for name in commit]

    _run(sequencer, scenario)


def test_many_clients_over_a_real_sequencer(tmp_path: Path) -> None:
    """Every receipt has an index of its own, below its checkpoint; the batches replay."""
    log = Log(tmp_path)
    log.store.migrate()
    sequencer = log.open()
    verifier = log.signer.verifier()

    async def client(intake: Intake, number: int) -> list[int]:
        indexes: list[int] = []
        for address in addresses(20, f"198.18.{number}.0"):
            submitted = await intake.submit([ME.register(address)])
            (index,) = submitted.outcomes
            assert isinstance(index, int)
            assert index < open_checkpoint(submitted.checkpoint, verifier).size
            indexes.append(index)
        return indexes

    async def run() -> list[int]:
        intake = Intake(sequencer, 100, lambda _: None)
        await intake.submit([ME.create()])
        found = await asyncio.gather(*(client(intake, number) for number in range(10)))
        await intake.close()
        return [index for indexes in found for index in indexes]

    indexes = asyncio.run(run())
    assert 200 == len(set(indexes))
    log.catch_up()
    log.close()
