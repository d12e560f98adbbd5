"""What the board suspends and restores is done, wherever that was interrupted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Final

from node.logging import get_logger
from node.retry import Backoff
from node.workers import Workers
from primary.board_changes import Align, aligned
from primary.intake import BusyError, Intake, IntakeClosedError
from primary.log_signer import LogSigner
from primary.store.errors import StoreUnavailableError
from primary.store.reader import Reader
from registry.address import Address
from registry.board import Board, SignedDecision
from registry.decision import OfHolder, OfPrefix, OfRegistration, Restore, Suspend, Target
from registry.entry import Entry
from registry.kinds import Kind
from registry.limits import MAX_CHANGES_PER_BATCH
from registry.registration import Registration

# One batch after another, so that registrations come in between.
ALIGNED_AT_ONCE: Final = MAX_CHANGES_PER_BATCH
DECISIONS_AT_ONCE: Final = 100

# It passes, and what is left undone is done then.
_PASSING: Final = (StoreUnavailableError, BusyError, IntakeClosedError)

_log = get_logger("board")


class Aligner:
    """Brings registrations in line with what the board decided. For one event loop's thread."""

    def __init__(self, signer: LogSigner, intake: Intake, *, reader: Reader, pool: Workers) -> None:
        """`signer` has the board as the log has it."""
        self._signer = signer
        self._intake = intake
        self._reader = reader
        self._pool = pool
        self._left = asyncio.Event()
        # By the process before this one, perhaps.
        self._left.set()

    async def align(self, target: Target) -> None:
        """Does what was decided about a target; what cannot be done now is left to `run`."""
        try:
            await self._align(target)
        except _PASSING as error:
            _log.warning("board.left_undone", reason=str(error))
            self._left.set()

    async def run(self) -> None:
        """Does what was left undone, at the start and whenever it was; until it is cancelled."""
        backoff = Backoff(Random())  # noqa: S311 - no secret
        while True:
            await self._left.wait()
            self._left.clear()
            try:
                await self.align_all()
                backoff.reset()
            except _PASSING as error:
                _log.warning("board.left_undone", reason=str(error))
                self._left.set()
                await asyncio.sleep(backoff.next_delay())

    async def align_all(self) -> None:
        """Looks at all that any decision in the log suspended or restored.

        Nothing else can be out of line: nobody is suspended without a decision, and only another
        ends it. Nothing is committed where all is as decided. Errors of `Intake.submit`.
        """
        index = -1
        while decided := await self._pool.run(
            self._reader.records_after, Kind.DECISION, index, DECISIONS_AT_ONCE
        ):
            for record in decided:
                payload = Entry.decode(record.entry).payload
                act = SignedDecision.decode(payload).decision.act
                if isinstance(act, Suspend | Restore):
                    await self._align(act.target)
            index = decided[-1].index

    async def _align(self, target: Target) -> None:
        behind = _before(target)
        is_last = False
        while not is_last:
            look = await self._pool.run(_look, self._reader, self._signer.board, target, behind)
            await self._intake.submit([Align(each) for each in look.out_of_line])
            behind, is_last = look.last, look.last is None


@dataclass(frozen=True, slots=True)
class _Look:
    """Some registrations that are meant: who is not as decided, and behind which key to go on.

    `last` is None behind the last of them.
    """

    out_of_line: list[Address]
    last: bytes | None


def _look(reader: Reader, board: Board, target: Target, behind: bytes | None) -> _Look:
    if isinstance(target, OfRegistration):
        record = reader.get(Kind.REGISTRATION, target.address.packed)
        records = [record] if record else []
    else:
        holder = target.holder_id if isinstance(target, OfHolder) else None
        records = reader.list_registrations(behind, ALIGNED_AT_ONCE, holder)
    entries = [Entry.decode(record.entry) for record in records]
    last = entries[-1].key if len(entries) == ALIGNED_AT_ONCE else None
    # Addresses of both families stand among each other, in the order of their bytes.
    if last and isinstance(target, OfPrefix) and last > target.network.broadcast_address.packed:
        last = None
    return _Look([Address(each.key) for each in entries if _is_out(each, board, target)], last)


def _is_out(entry: Entry, board: Board, target: Target) -> bool:
    """Whether a registration is meant, and not as decided."""
    address = Address(entry.key)
    if isinstance(target, OfPrefix) and not target.covers(address, b""):
        return False
    registration = Registration.decode(entry.payload)
    return aligned(address, registration, board) != registration


def _before(target: Target) -> bytes | None:
    """A key behind which every address of a network stands, and little else."""
    if not isinstance(target, OfPrefix):
        return None
    first = target.network.network_address.packed
    number = int.from_bytes(first, "big")
    return (number - 1).to_bytes(len(first), "big") if number else None
