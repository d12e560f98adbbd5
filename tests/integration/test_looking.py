"""Mirrors look for the primary: over mutual TLS, at real names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from lab.cluster import loopback_network
from node.admission import by_certificate
from node.endpoint import Endpoint
from node.identity_files import IdentityFiles, Paths
from node.listener import Capacity, Listener
from node.resolving import Resolvers
from node.tls import Identity, server_credentials
from primary.desk import vantage
from primary.desk.looking import Looker
from primary.desk.vantage import VantagePoints
from primary.pki import Authority, Names
from primary.registering.judging import Subject
from primary.registering.proof_records import pointer_name
from primary.registering.reviewing import DAYS_TO_LAPSE
from primary.services.looking import LookingService
from registry.address import Address
from registry.kinds import Status
from registry.observations import Agreed, Outcome
from secondary.services.looking import Looking
from tests.integration.test_registering_reviews import STEP_MS, activate, status
from tests.support.bureau import open_bureau
from tests.support.internet import Internet, internet

SECONDS = 30
CAPACITY = Capacity(connections=10, calls=10)


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    with internet() as net:
        yield net


def files_of(directory: Path, authority: Authority, identity: Identity) -> IdentityFiles:
    """A node's files."""
    paths = Paths(directory / "ca.pem", directory / "node.pem", directory / "node.key")
    directory.mkdir(exist_ok=True)
    paths.authority.write_bytes(authority.identity.certificate)
    paths.certificate.write_bytes(identity.certificate)
    paths.key.write_bytes(identity.key)
    paths.key.chmod(0o600)
    return IdentityFiles(paths)


@asynccontextmanager
async def mirrors(
    directory: Path, points: VantagePoints, *looking: tuple[str, list[Endpoint]]
) -> AsyncIterator[None]:
    """Mirrors of these names that look by these resolvers, once all have come."""
    now, address = datetime.now(UTC), f"{loopback_network()}.1"
    authority, names = Authority.create("test", now), Names.parse([], [address])
    server = authority.issue_server(names, now)
    listener = Listener([LookingService(points).service()], CAPACITY, by_certificate)
    at = listener.bind(
        Endpoint(address, 0), server_credentials(server, authority.identity.certificate)
    )
    await listener.start()
    clients = [
        Looking(
            at,
            files_of(directory / name, authority, authority.issue_node(name, names, now)),
            resolvers,
            per_second=1000,
        )
        for name, resolvers in looking
    ]
    for client in clients:
        client.start()
    try:
        async with asyncio.timeout(SECONDS):
            while len(points.names) < len(looking):
                await asyncio.sleep(0.01)
        yield
    finally:
        for client in clients:
            await asyncio.to_thread(client.stop)
        await listener.stop(0)


def points_of(net: Internet) -> VantagePoints:
    """Nobody looks yet."""
    return VantagePoints(Looker(Resolvers(net.resolvers), ()), Random(1))


def test_a_mirror_sees_what_is_there(tmp_path: Path, net: Internet) -> None:
    """Names that hold, that do not, and where nobody answers; it leaves, and nobody can tell."""
    address = net.new_address()
    net.name(address, "mail.look.example.org")
    good = Subject(bytes(16), Address.parse(address), "mail.look.example.org", "example.org")
    other = replace(good, host="www.look.example.org")
    points = points_of(net)

    async def look() -> list[bool | None]:
        seen = []
        async with mirrors(tmp_path, points, ("mirror-1", [net.resolvers[0]])):
            assert points.names == ["mirror-1"]
            seen += [await points.see_broken(good), await points.see_broken(other)]
        async with asyncio.timeout(SECONDS):
            while points.names:
                await asyncio.sleep(0.01)
        return [*seen, await points.see_broken(other)]

    assert asyncio.run(look()) == [False, True, None]


def test_a_mirror_without_an_answer_is_no_witness(tmp_path: Path, net: Internet) -> None:
    """Its resolver is away: it can tell nothing, and one that can is believed."""
    subject = Subject(bytes(16), Address.parse(net.new_address()), "no.example.org", "example.org")
    points, nobody = points_of(net), Endpoint(net.new_address(), 53)

    async def look() -> list[bool | None]:
        async with mirrors(tmp_path, points, ("mirror-1", [nobody])):
            alone = await points.see_broken(subject)
        async with mirrors(
            tmp_path, points, ("mirror-1", [nobody]), ("mirror-2", [net.resolvers[1]])
        ):
            return [alone, await points.see_broken(subject)]

    assert asyncio.run(look()) == [None, True]


def test_a_mirror_that_never_answers_is_not_waited_for(
    net: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one that answers too little; and its queue has an end."""
    monkeypatch.setattr(vantage, "ANSWER_SECONDS", 0.05)
    subject = Subject(bytes(16), Address.parse("192.0.2.1"), "mail.example.org", "example.org")
    points = points_of(net)

    async def look() -> None:
        with points.joined("mirror-1") as lookout:
            asked = [points.see_broken(subject) for _ in range(vantage.MAX_WAITING + 5)]
            assert set(await asyncio.gather(*asked)) == {None}
            assert lookout.questions.qsize() == vantage.MAX_WAITING
            question = lookout.questions.get_nowait()
            lookout.answer(question.number, [])

    asyncio.run(look())


def test_nothing_lapses_that_holds_elsewhere(tmp_path: Path, net: Internet) -> None:
    """A fault near the primary: mirrors see that the names hold; and then that they do not."""
    with open_bureau(tmp_path, net) as bureau:
        ann = bureau.applicant()
        activate(bureau, ann)
        net.put(pointer_name(Address.parse(ann.address)), "PTR")
        holds = [Agreed(Outcome.FOUND, frozenset([name])) for name in (ann.host, ann.address)]
        gone = [Agreed(Outcome.ABSENT), holds[1]]

        async def days(answer: list[Agreed]) -> None:
            async def witness() -> None:
                while True:
                    question = await lookout.questions.get()
                    lookout.answer(question.number, answer)

            with bureau.points.joined("mirror-1") as lookout:
                witnessing = asyncio.create_task(witness())
                for _ in range(DAYS_TO_LAPSE + 1):
                    bureau.log.now_ms += STEP_MS
                    await bureau.rounds.once()
                witnessing.cancel()

        bureau.run(days(holds))
        assert status(bureau, ann) is Status.ACTIVE
        bureau.run(days(gone))
        assert status(bureau, ann) is Status.LAPSED
