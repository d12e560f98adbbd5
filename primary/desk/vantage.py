"""Mirrors that look for the primary: what fails has to fail from more than one place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

from node.logging import get_logger
from primary.desk.looking import Looker
from primary.registering.findings import all_hold, is_broken
from primary.registering.judging import Subject, judge_forward, judge_ptr
from primary.registering.proof_records import pointer_name
from registry.observations import Agreed

# So many mirrors are asked about one mail server.
ASKED: Final = 3
# A mirror takes its time (it may be asked much at once), and a name server too.
ANSWER_SECONDS: Final = 30.0
# Questions that wait for one mirror; beyond that it is not asked.
MAX_WAITING: Final = 256

_log = get_logger("vantage")


@dataclass(frozen=True, slots=True)
class Question:
    """What a mirror is asked to look up: names and their types."""

    number: int
    lookups: tuple[tuple[str, str], ...]


@dataclass(eq=False, slots=True)
class Lookout:
    """One mirror that looks: what it is asked, and who waits for its answers."""

    node: str
    questions: asyncio.Queue[Question] = field(
        default_factory=lambda: asyncio.Queue(maxsize=MAX_WAITING)
    )
    _waiting: dict[int, asyncio.Future[Sequence[Agreed]]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    async def ask(self, lookups: tuple[tuple[str, str], ...]) -> Sequence[Agreed]:
        """What it saw of each; nothing if it does not say in time, or not of all."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            with suppress(TimeoutError, asyncio.QueueFull):
                self.questions.put_nowait(Question(number, lookups))
                async with asyncio.timeout(ANSWER_SECONDS):
                    seen = await answer
                    return seen if len(seen) == len(lookups) else ()
        finally:
            del self._waiting[number]
        return ()

    def answer(self, number: int, seen: Sequence[Agreed]) -> None:
        """The mirror has looked; what nobody waits for is nothing."""
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(seen)


class VantagePoints:
    """The mirrors that look now. For one event loop's thread."""

    def __init__(self, looker: Looker, dice: Random) -> None:
        self._looker = looker
        self._dice = dice
        self._lookouts: dict[str, Lookout] = {}

    @property
    def names(self) -> list[str]:
        """Which mirrors look."""
        return sorted(self._lookouts)

    @contextmanager
    def joined(self, node: str) -> Iterator[Lookout]:
        """The mirror looks; in the place of an earlier connection of its own."""
        lookout = self._lookouts[node] = Lookout(node)
        _log.info("lookout.joined", node=node)
        try:
            yield lookout
        finally:
            if self._lookouts.get(node) is lookout:
                del self._lookouts[node]
            _log.info("lookout.left", node=node)

    async def see_broken(self, subject: Subject) -> bool | None:
        """Whether a mirror sees that the names do not lead to each other; None: none can tell.

        One is enough, beside the primary: that another still sees it hold may be its cache.
        """
        lookouts = list(self._lookouts.values())
        asked = self._dice.sample(lookouts, min(ASKED, len(lookouts)))
        type_ = "A" if subject.address.family == 4 else "AAAA"
        lookups = ((pointer_name(subject.address), "PTR"), (subject.host, type_))
        answers = await asyncio.gather(*(lookout.ask(lookups) for lookout in asked))
        judged = [
            (judge_ptr(subject, pointer), judge_forward(subject, forward))
            for pointer, forward in (answer for answer in answers if answer)
        ]
        if any(is_broken(findings) for findings in judged):
            return True
        return False if any(all_hold(findings) for findings in judged) else None
