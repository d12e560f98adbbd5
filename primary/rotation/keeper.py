"""Keeps the A record set: looks at every admitted mirror, round by round, and has the log say it.

Nothing moves while the primary is down; what moves is in the log before anybody is sent there.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import SystemRandom
from typing import Final, Protocol

from node.logging import get_logger
from node.workers import Workers
from primary.board_changes import SetMember
from primary.cosignatures import Vouched
from primary.intake import BusyError, IntakeClosedError, Submitted
from primary.rotation.deciding import Candidate, Decider, Pace
from primary.rotation.health import PRIMARY, Health, Hysteresis, Sight, judge
from primary.rotation.looking import Prober, draw
from primary.rotation.placing import Standing, place
from primary.rotation.questions import Question
from primary.settings import SetSettings
from primary.store.errors import StoreUnavailableError
from primary.store.reader import Reader
from registry.address import Address
from registry.entry import Entry
from registry.errors import Problem
from registry.kinds import Kind, MemberStatus
from registry.member import Announced, Member, member_name

# What a vantage point is given to look at in a round.
PROBES_A_MIRROR: Final = 4
MAX_REASON_CHARACTERS: Final = 200

_RANDOM: Final = SystemRandom()
_log = get_logger("set")


@dataclass(frozen=True, slots=True)
class Task:
    """What a mirror is asked to ask another."""

    mirror: str
    address: Address
    question: Question


@dataclass(frozen=True, slots=True)
class Heard:
    """What a mirror announced last, and whether its operator drains it."""

    announced: Announced
    is_draining: bool


@dataclass(slots=True)
class _Tasks:
    """By number, what a vantage point was asked last."""

    given: dict[int, Task] = field(default_factory=dict)


class Submit(Protocol):
    """Has changes committed."""

    def __call__(self, changes: Sequence[SetMember]) -> Awaitable[Submitted]:
        """As of `Intake.submit`."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the keeper asks. `mirrors` gives those admitted, `size` the log's size."""

    reader: Reader
    pool: Workers
    submit: Submit
    mirrors: Callable[[], frozenset[str]]
    vouched: Callable[[], Mapping[str, Vouched]]
    size: Callable[[], int]
    zone: str
    lab: bool


class Keeper:
    """For the event loop's thread only."""

    def __init__(self, settings: SetSettings, sources: Sources) -> None:
        self._settings = settings
        self._from = sources
        self._health = Health(
            Hysteresis(settings.window, settings.bad_rounds, settings.good_rounds)
        )
        self._decider = Decider(Pace(settings.changes, settings.seconds_per_change, settings.floor))
        self._prober = Prober(settings.dns_port, settings.probe_from)
        self._heard: dict[str, Heard] = {}
        self._seen: dict[str, list[Sight]] = {}
        self._tasks: dict[str, _Tasks] = {}
        self._questions: dict[str, tuple[Question, ...]] = {}
        # Where each was last looked at.
        self._looked: dict[str, tuple[Address, ...]] = {}
        # How large the log was, and when.
        self._sizes: deque[tuple[float, int]] = deque()
        self.members: dict[str, Member] = {}
        self.reasons: dict[str, str] = {}

    def draining(self, name: str) -> bool:
        """Whether a mirror's operator wants nobody sent there."""
        heard = self._heard.get(name)
        if heard is not None:
            return heard.is_draining
        member = self.members.get(name)
        return member is not None and member.status is MemberStatus.DRAINED

    def announced(self, name: str) -> Announced:
        """What a mirror said of itself last, or else what the log says."""
        heard = self._heard.get(name)
        return self._member(name).announced if heard is None else heard.announced

    def hear(self, name: str, heard: Heard) -> None:
        """What a mirror, by its certificate's name, says of itself.

        Problem "addresses": nobody can be sent there.
        """
        for address in heard.announced.addresses:
            special = None if self._from.lab else address.special_purpose()
            if special is not None:
                raise Problem("addresses", f"{address} is {special}: nobody reaches it there")
        is_elsewhere = heard.announced.addresses != self.announced(name).addresses
        if is_elsewhere and not self._member(name).is_in_set:
            self._health.begin_again(name)
        self._heard[name] = heard

    def report(self, name: str, number: int, answer: bytes, problem: str) -> None:
        """What came of a task that an admitted mirror was given; anything else is left."""
        task = self._tasks.get(name, _Tasks()).given.pop(number, None)
        if task is not None and name in self._from.mirrors():
            fault = problem or task.question.fault(answer)
            said = f"{task.address}: {fault}" if fault else ""
            self._seen.setdefault(task.mirror, []).append(Sight(name, said))

    def tasks(self, name: str) -> dict[int, Task]:
        """What this mirror shall look at next, among the others."""
        if name not in self._from.mirrors():
            return {}
        others = [
            each for each in self._questions if each != name and self.announced(each).addresses
        ]
        drawn = [
            Task(each, _RANDOM.choice(self.announced(each).addresses), question)
            for each in _RANDOM.sample(others, min(len(others), PROBES_A_MIRROR))
            for question in self._questions[each]
        ]
        given = {_RANDOM.getrandbits(63): each for each in drawn}
        self._tasks[name] = _Tasks(dict(given))
        return given

    async def run(self) -> None:
        """Round by round, until it is cancelled."""
        records = await self._from.pool.run(self._from.reader.all_records, Kind.MEMBER)
        for entry in (Entry.decode(record.entry) for record in records):
            self.members[member_name(entry.key)] = Member.decode(entry.payload)
        while True:
            try:
                await self.round(time.monotonic())
            except (StoreUnavailableError, BusyError) as error:
                _log.warning("set.unchanged", reason=str(error))
            except IntakeClosedError:
                return
            except Exception as error:  # noqa: BLE001 - what a mirror sends stops no primary
                _log.error("set.failed", fault=type(error).__name__)
            await asyncio.sleep(self._settings.round_seconds)

    async def round(self, now: float) -> None:
        """Look, decide, and have the log say what changed; `now` of a monotonic clock."""
        admitted = self._from.mirrors()
        self._forget(admitted)
        seen, self._seen = self._seen, {}
        await asyncio.gather(*(self._look(name, seen) for name in sorted(admitted)))
        if _is_own_fault(seen):
            _log.warning(
                "set.doubtful",
                mirrors=len(seen),
                advice="from here no mirror seems to answer: look at this machine's own line",
            )
            return
        lags = self._lags(admitted, now)
        candidates = {}
        for name in sorted(admitted):
            is_in = self._member(name).is_in_set
            self._health.observe(name, judge(seen.get(name, []), lags[name]), is_in_set=is_in)
            candidates[name] = Candidate(is_in, self._problem(name))
        outcomes = self._decider.decide(candidates, now)
        self.reasons = {name: one.reason for name, one in outcomes.items()}
        await self._enter(admitted, {name for name, one in outcomes.items() if one.is_in_set})

    def _forget(self, admitted: frozenset[str]) -> None:
        # What was announced before the admission counts after it.
        self._health.forget(admitted)
        self._tasks = {name: each for name, each in self._tasks.items() if name in admitted}
        self._questions = {name: each for name, each in self._questions.items() if name in admitted}

    async def _look(self, name: str, seen: dict[str, list[Sight]]) -> None:
        addresses = self.announced(name).addresses
        if not addresses:
            self._questions.pop(name, None)
            return
        vouched = self._from.vouched().get(name)
        drawn = await self._from.pool.run(
            draw, self._from.reader, self._from.zone, vouched.size if vouched else 0
        )
        self._questions[name] = drawn.questions
        fault = await self._prober.look(addresses, drawn.questions)
        self._looked[name] = addresses
        seen.setdefault(name, []).append(Sight(PRIMARY, fault))

    def _lags(self, admitted: frozenset[str], now: float) -> dict[str, str]:
        """Why the cosignatures of each will not do; empty where they do."""
        limit = self._settings.lag_seconds
        self._sizes.append((now, self._from.size()))
        while len(self._sizes) > 1 and now - self._sizes[1][0] >= limit:
            self._sizes.popleft()
        at, expected = self._sizes[0]
        expected = expected if now - at >= limit else 0
        lags = {}
        for name in admitted:
            vouched = self._from.vouched().get(name)
            if vouched is None:
                # After a start of the primary they come within seconds.
                lags[name] = "has cosigned nothing yet" if now - self._began(now) >= limit else ""
            elif time.time() - vouched.reported_s > limit:
                lags[name] = f"has cosigned nothing for {limit:.0f} s"
            elif vouched.size < expected:
                lags[name] = f"is more than {limit:.0f} s behind the log"
            else:
                lags[name] = ""
        return lags

    _begun: float | None = None

    def _began(self, now: float) -> float:
        if self._begun is None:
            self._begun = now
        return self._begun

    def _problem(self, name: str) -> str:
        """Why a mirror should not be in the set; empty if it should."""
        announced, member = self.announced(name), self._member(name)
        if self.draining(name):
            return "drained by its operator"
        if not announced.addresses:
            return "has announced no address"
        if member.is_in_set and announced.addresses != member.announced.addresses:
            return "has announced other addresses"
        if announced.addresses != self._looked.get(name):
            return "has announced other addresses"
        for other, theirs in self.members.items():
            # Where the log says that it stands, whatever it says of itself by now.
            both = set(announced.addresses) & set(theirs.announced.addresses)
            if other != name and both and theirs.is_in_set:
                return f"has announced {min(map(str, both))}, which is {other}'s"
        return "" if self._health.is_well(name) else self._health.problem(name)

    def _member(self, name: str) -> Member:
        return self.members.get(name, Member(reason="not seen yet"))

    async def _enter(self, admitted: frozenset[str], in_set: set[str]) -> None:
        """Commits what is different from what the log says."""
        standings = {}
        for name in in_set:
            member = self._member(name)
            # Where it is known to answer: others are looked at first.
            announced = member.announced if member.is_in_set else self.announced(name)
            standings[name] = Standing(announced, member.places)
        places = place(standings, self._settings.places)
        after = {name: self._after(name, standings, places) for name in admitted}
        changes = [
            SetMember(name, after.get(name))
            for name in sorted({*after, *self.members})
            if after.get(name) != self.members.get(name)
        ]
        if not changes:
            return
        submitted = await self._from.submit(changes)
        for change, outcome in zip(changes, submitted.outcomes, strict=True):
            if isinstance(outcome, Problem):
                # The board has removed it meanwhile: the next round knows.
                _log.warning("set.refused", mirror=change.name, reason=str(outcome))
                continue
            if change.member is None:
                del self.members[change.name]
            else:
                self.members[change.name] = change.member
            _log.info(
                "set.changed",
                mirror=change.name,
                places=change.member.places if change.member else None,
                reason=change.member.reason if change.member else "removed by the board",
            )

    def _after(
        self,
        name: str,
        standings: Mapping[str, Standing],
        places: Mapping[str, tuple[str, ...]],
    ) -> Member:
        before, standing = self._member(name), standings.get(name)
        at = places.get(name, ())
        status = MemberStatus.DRAINED if self.draining(name) else MemberStatus.ADMITTED
        if name in self.members and not before.places and not at:
            # Whoever stands nowhere could have an entry written in every round by what it says.
            return before
        announced = standing.announced if standing else self.announced(name)
        after = Member(announced, status, at, before.reason)
        if before.places == at and before.status is status and name in self.members:
            # A reason alone is no news for the whole world; whoever asks here hears it.
            return after
        reason = self.reasons.get(name, "")
        if standing is not None and not at:
            reason = "every name of the set is full"
        return replace(after, reason=_plain(reason))


def _is_own_fault(seen: Mapping[str, Sequence[Sight]]) -> bool:
    """Whether the primary sees nobody well, and no mirror contradicts it."""
    sights = [sight for some in seen.values() for sight in some]
    return len(seen) > 1 and all(sight.vantage == PRIMARY and sight.problem for sight in sights)


def _plain(reason: str) -> str:
    """What may stand in the log: a mirror's words may hold anything."""
    printable = (each if each.isascii() and each.isprintable() else "?" for each in reason)
    return "".join(printable)[:MAX_REASON_CHARACTERS]
