"""Has the log say which keys of nodes may follow no more, so that mirrors that relay know it too.

The roll is the primary's alone; of whom the administrator removed, the log has the key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from node.doorkeeper import ADMINISTRATOR, concerns
from node.logging import get_logger
from node.retry import Backoff
from node.workers import Workers
from primary.board_changes import SetRemovedKey
from primary.intake import BusyError, IntakeClosedError, Submitted
from primary.membership.roll import Keys, Roll
from primary.store.errors import StoreUnavailableError
from primary.store.reader import Reader
from registry.entry import Entry
from registry.kinds import Kind
from registry.removed_key import RemovedKey

# It passes, and what is left undone is done then.
_PASSING: Final = (StoreUnavailableError, BusyError, IntakeClosedError)

_log = get_logger("members")


class Submit(Protocol):
    """Has changes committed."""

    def __call__(self, changes: Sequence[SetRemovedKey]) -> Awaitable[Submitted]:
        """As of `Intake.submit`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What the log is to say, and whom the roll has though its key was removed afterwards."""

    changes: list[SetRemovedKey]
    outdated: dict[str, int]


class RemovedKeys:
    """Brings log and roll in line. For the event loop's thread only."""

    def __init__(
        self, roll: Roll, clerk: Workers, reader: Reader, submit: Submit, changed: asyncio.Event
    ) -> None:
        """`clerk` runs what asks the roll or the log; `changed` is set when the roll did."""
        self._roll = roll
        self._clerk = clerk
        self._reader = reader
        self._submit = submit
        self._changed = changed

    async def run(self) -> None:
        """At the start and whenever the roll changes; until it is cancelled."""
        backoff = Backoff(Random())  # noqa: S311 - no secret
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.align()
                backoff.reset()
            except _PASSING as error:
                _log.warning("keys.left_undone", reason=str(error))
                self._changed.set()
                await asyncio.sleep(backoff.next_delay())

    async def align(self) -> None:
        """Has the log say it. Nothing is committed where it does.

        StoreUnavailableError; errors of `Intake.submit`.
        """
        found = await self._clerk.run(self._compare)
        for name, removed_ms in found.outdated.items():
            _log.warning("node.removed_again", node=name, reason="the log is newer than the roll")
            await self._clerk.run(self._roll.remove, name, ADMINISTRATOR, removed_ms)
        await self._submit(found.changes)
        for change in found.changes:
            event = "key.removed" if change.removed else "key.readmitted"
            _log.info(event, key=change.key.hex())

    def _compare(self) -> Difference:
        records = self._reader.all_records(Kind.REMOVED_KEY)
        entries = [Entry.decode(record.entry) for record in records]
        logged = {each.key: RemovedKey.decode(each.payload).removed_ms for each in entries}
        return compare(self._roll.keys(), logged)


def compare(keys: Keys, logged: Mapping[bytes, int]) -> Difference:
    """What is different between the roll's keys and those that the log has as removed.

    A removal in the log is of whoever had the key by then: of a roll that was restored from an
    older copy it is the newer word.
    """
    changes = [
        SetRemovedKey(key, RemovedKey(removed_ms))
        for key, removed_ms in sorted(keys.removed.items())
        if logged.get(key) != removed_ms
    ]
    outdated = {}
    for key, removed_ms in sorted(logged.items()):
        node = keys.admitted.get(key)
        if node is None:
            continue
        if concerns(removed_ms, node.joined_ms):
            outdated[node.name] = removed_ms
        else:
            changes.append(SetRemovedKey(key, None))
    return Difference(changes, outdated)
