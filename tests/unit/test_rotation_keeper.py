"""The keeper of the A record set over what mirrors answer, with nothing but loopback between."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from node.workers import Workers
from primary.board_changes import SetMember
from primary.intake import Submitted
from primary.rotation.keeper import Heard, Keeper, Sources
from primary.rotation.questions import Question
from primary.settings import SetSettings
from registry.address import Address
from registry.errors import Problem
from registry.member import Announced, Member

ZONE = "smtpnic.example"
REGISTERED = Address.parse("198.51.100.7")
QUESTION = Question(REGISTERED, True, ZONE)
ABSENT = Question(Address.parse("198.51.100.8"), False, ZONE)


def answer(wire: bytes, *, listed: bool, rcode: str = "NOERROR") -> bytes:
    """An authoritative answer about the registered address, and about any other."""
    reply = dns.message.make_response(dns.message.from_wire(wire))
    reply.flags |= dns.flags.AA
    reply.set_rcode(dns.rcode.from_text(rcode if listed else "NXDOMAIN"))
    if listed and rcode == "NOERROR":
        name = reply.question[0].name
        reply.answer.append(dns.rrset.from_text(name, 300, "IN", "A", str(REGISTERED)))
    return reply.to_wire()


@pytest.mark.parametrize(
    ("question", "made", "fault"),
    [
        (QUESTION, {"listed": True}, ""),
        (QUESTION, {"listed": False}, "NXDOMAIN, and the register says"),
        (QUESTION, {"listed": True, "rcode": "SERVFAIL"}, "SERVFAIL"),
        (ABSENT, {"listed": False}, ""),
        (ABSENT, {"listed": True}, "198.51.100.7, and the register says"),
    ],
)
def test_lies_are_seen(question: Question, made: dict[str, bool], fault: str) -> None:
    """A name that is missing, one that is made up, and what is no answer."""
    found = question.fault(answer(question.query, **made))  # type: ignore[arg-type]
    assert (bool(fault), True) == (bool(found), fault in found)


def test_answers_to_something_else_do_not_count() -> None:
    """Nor what is no message, or not authoritative."""
    assert "something else" in QUESTION.fault(answer(ABSENT.query, listed=True))
    assert "no DNS message" in QUESTION.fault(b"rubbish")
    plain = dns.message.make_response(dns.message.from_wire(ABSENT.query))
    plain.set_rcode(dns.rcode.NXDOMAIN)
    assert "not authoritative" in ABSENT.fault(plain.to_wire())


@contextmanager
def mirror(address: str, port: int, reply: Callable[[bytes], bytes]) -> Iterator[None]:
    """Answers at a loopback address."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))

    def run() -> None:
        while True:
            wire, client = sock.recvfrom(4096)
            if not wire:
                return
            sock.sendto(reply(wire), client)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        sock.sendto(b"", (address, port))
        thread.join()
        sock.close()


class NoRegistrations:
    """A register that is empty: every address is free."""

    def list_registrations(self, *_: object) -> list[object]:
        return []

    def get(self, *_: object) -> None:
        return None

    def all_records(self, *_: object) -> list[object]:
        return []


@dataclass
class World:
    """Three mirrors on loopback, m3 of which answers as it is told."""

    port: int
    log: list[SetMember] = field(default_factory=list)
    admitted: frozenset[str] = frozenset({"m1", "m2", "m3"})

    def keeper(self, pool: Workers) -> Keeper:
        """One that moves fast."""
        settings = SetSettings(
            dns_port=self.port, seconds_per_change=0.001, floor=1, bad_rounds=1, good_rounds=1
        )
        sources = Sources(
            NoRegistrations(),  # type: ignore[arg-type]
            pool,
            self._submit,
            lambda: self.admitted,
            dict,
            lambda: 1,
            ZONE,
            lab=True,
        )
        keeper = Keeper(settings, sources)
        for number in (1, 2, 3):
            address = Address.parse(f"127.53.0.{number}")
            keeper.hear(f"m{number}", Heard(Announced(addresses=(address,)), False))
        return keeper

    async def _submit(self, changes: Sequence[SetMember]) -> Submitted:
        self.log += changes
        return Submitted([1] * len(changes), b"")


def free_port() -> int:
    """One that no mirror has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.53.0.1", 0))
        return int(sock.getsockname()[1])


def in_set(keeper: Keeper) -> set[str]:
    """Who resolvers are sent to."""
    return {name for name, member in keeper.members.items() if member.is_in_set}


@pytest.fixture
def world() -> Iterator[World]:
    world = World(free_port())
    with ExitStack() as stack:
        for number in (1, 2):
            reply = lambda wire: answer(wire, listed=False)  # noqa: E731
            stack.enter_context(mirror(f"127.53.0.{number}", world.port, reply))
        yield world


def rounds(world: World, count: int, between: Callable[[Keeper], None] = lambda _: None) -> Keeper:
    """A keeper after so many rounds, a second apart."""
    pool = Workers("test")

    async def run() -> Keeper:
        keeper = world.keeper(pool)
        for number in range(count):
            await keeper.round(float(number))
            between(keeper)
        return keeper

    try:
        return asyncio.run(run())
    finally:
        pool.close()


def test_a_mirror_that_lies_is_kept_out(world: World) -> None:
    """It says that everything is registered; the others come in."""
    with mirror("127.53.0.3", world.port, lambda wire: answer(wire, listed=True)):
        keeper = rounds(world, 3)
    assert {"m1", "m2"} == in_set(keeper)
    assert "the register says" in keeper.reasons["m3"]


def test_one_mirror_slanders_in_vain(world: World) -> None:
    """What it says of others is one word against the primary's; unprintable words do no harm."""

    def slander(keeper: Keeper) -> None:
        for number in keeper.tasks("m3"):
            keeper.report("m3", number, b"", "\n\0 dead " + "x" * 300)

    with mirror("127.53.0.3", world.port, lambda wire: answer(wire, listed=False)):
        keeper = rounds(world, 4, slander)
    assert {"m1", "m2", "m3"} == in_set(keeper)


def test_where_nobody_answers_nothing_moves(world: World) -> None:
    """The primary's own line is what it doubts then."""
    with mirror("127.53.0.3", world.port, lambda wire: answer(wire, listed=False)):
        before = rounds(world, 3)
    assert 3 == len(in_set(before))
    world.port, entries = free_port(), len(world.log)

    def remember(keeper: Keeper) -> None:
        keeper.members.update(before.members)

    after = rounds(world, 3, remember)
    assert (entries, 3) == (len(world.log), len(in_set(after)))


def test_the_boards_removal_waits_for_nothing(world: World) -> None:
    """Nor for the floor: the entry ends in the next round."""

    def remove(keeper: Keeper) -> None:
        world.admitted = frozenset({"m2"})

    keeper = rounds(world, 3, remove)
    assert {"m2"} == set(keeper.members)
    assert {"m1": None, "m2": True} == {
        each.name: each.member and isinstance(each.member, Member)
        for each in world.log
        if each.name != "m3"
    }


def test_two_mirrors_of_one_address(world: World) -> None:
    """The one that has it in the set keeps it."""

    def claim(keeper: Keeper) -> None:
        address = Address.parse("127.53.0.1")
        keeper.hear("m3", Heard(Announced(addresses=(address,)), False))

    keeper = rounds(world, 4, claim)
    assert {"m1", "m2"} == in_set(keeper)
    assert "which is m1's" in keeper.reasons["m3"]


def test_who_is_in_the_set_cannot_claim_the_place_of_another(world: World) -> None:
    """The log says where each stands, whatever one of them announces afterwards."""

    def claim(keeper: Keeper) -> None:
        if "m3" in in_set(keeper):
            addresses = tuple(map(Address.parse, ("127.53.0.3", "127.53.0.1", "127.53.0.2")))
            keeper.hear("m3", Heard(Announced(addresses=addresses), False))

    with mirror("127.53.0.3", world.port, lambda wire: answer(wire, listed=False)):
        keeper = rounds(world, 8, claim)
    assert {"m1", "m2"} == in_set(keeper)


def expanding(wire: bytes) -> bytes:
    """Some kilobytes of compressed names, which are ten times as long when they are written out."""
    record = b"\xc0\x0c" + struct.pack("!HHIHH", 18, 1, 300, 4, 1) + b"\xc0\x0c"
    header = wire[:2] + b"\x84\x00" + struct.pack("!HHHH", 1, 245, 0, 0)
    question = wire[12 : wire.index(b"\0", 12) + 5]
    return header + question + record * 245


def test_no_answer_stops_the_keeper(world: World) -> None:
    """One that is larger when it is read counts as no answer."""
    with mirror("127.53.0.3", world.port, expanding):
        keeper = rounds(world, 2)
    assert {"m1", "m2"} == in_set(keeper)
    assert "no DNS message" in keeper.reasons["m3"]


def test_who_is_nowhere_is_not_looked_at(world: World) -> None:
    """A mirror that takes its addresses back between two rounds spoils nobody's tasks."""

    def vanish(keeper: Keeper) -> None:
        keeper.hear("m2", Heard(Announced(), False))
        assert {"m1"} == {task.mirror for task in keeper.tasks("m3").values()}

    rounds(world, 1, vanish)


def test_who_stands_nowhere_writes_nothing(world: World) -> None:
    """Whatever it says of itself, round after round: another region, drained or not."""
    with mirror("127.53.0.3", world.port, lambda wire: answer(wire, listed=True)):
        before = list[int]()

        def tell(keeper: Keeper) -> None:
            before.append(len(world.log))
            address = Address.parse("127.53.0.3")
            announced = Announced(region=f"r{len(before)}", addresses=(address,))
            keeper.hear("m3", Heard(announced, len(before) % 2 == 0))

        keeper = rounds(world, 8, tell)
    assert {"m1", "m2"} == in_set(keeper)
    written = [change for change in world.log if change.name == "m3"]
    assert 1 == len(written)
    assert before[3] == before[-1]


def test_an_address_that_nobody_reaches_is_refused() -> None:
    """Outside a laboratory."""
    keeper = World(53).keeper(Workers("test"))
    keeper._from = Sources(**{**_fields(keeper._from), "lab": False})  # type: ignore[arg-type]
    with pytest.raises(Problem, match="private"):
        keeper.hear("m1", Heard(Announced(addresses=(Address.parse("10.0.0.1"),)), False))


def _fields(sources: Sources) -> dict[str, object]:
    return {name: getattr(sources, name) for name in Sources.__dataclass_fields__}
