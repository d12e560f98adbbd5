"""Who stands at a listener's gate: which certificates may call what, and for how long."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from node.certificates import Shown
from registry.errors import RegistryError

T = TypeVar("T")


class NotAdmittedError(RegistryError):
    """The text says to a person why; `is_known`: the node is known, and may not do this."""

    def __init__(self, text: str, *, is_known: bool) -> None:
        super().__init__(text)
        self.is_known = is_known


class GateClosedError(RegistryError):
    """It is not known yet who may call; try again a little later. The text says why."""


class Gate(Protocol):
    """Asked at every call; for the event loop's thread only."""

    async def enter(self, certificate: bytes, method: str) -> Visit:
        """A call of this method with this certificate (PEM). NotAdmittedError, GateClosedError."""


class Visit:
    """One call that was let in."""

    def __init__(self, visits: Visits, visitor: Shown) -> None:
        self._visits = visits
        self._visitor = visitor
        self._reason: NotAdmittedError | None = None
        self._task: asyncio.Task[Any] | None = None

    async def during(self, call: Coroutine[Any, Any, T]) -> T:
        """What the call returns or raises; NotAdmittedError once the visit was ended."""
        task: asyncio.Task[T] = asyncio.create_task(call)
        self._task = task
        self._visits.add(self._visitor, self)
        try:
            return await task
        except asyncio.CancelledError:
            if self._reason is not None:
                raise self._reason from None
            raise
        finally:
            self._visits.remove(self._visitor, self)

    def end(self, reason: NotAdmittedError) -> None:
        """Stops the call where it is."""
        self._reason = reason
        if self._task is not None:
            self._task.cancel()


class Visits:
    """The calls in progress, by the certificates that were shown."""

    def __init__(self) -> None:
        self._visits: defaultdict[Shown, set[Visit]] = defaultdict(set)

    @property
    def visitors(self) -> list[Shown]:
        """Who has a call in progress."""
        return list(self._visits)

    def add(self, visitor: Shown, visit: Visit) -> None:
        """One more."""
        self._visits[visitor].add(visit)

    def remove(self, visitor: Shown, visit: Visit) -> None:
        """It has ended."""
        self._visits[visitor].discard(visit)
        if not self._visits[visitor]:
            del self._visits[visitor]

    def end(self, visitor: Shown, reason: NotAdmittedError) -> int:
        """Stops every call of this certificate; how many there were."""
        ended = list(self._visits.get(visitor, ()))
        for visit in ended:
            visit.end(reason)
        return len(ended)
