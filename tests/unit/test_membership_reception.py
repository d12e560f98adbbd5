"""Who comes with a token is taken in; who comes too often without one has to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from node.certificates import make_key, make_request, show
from node.endpoint import Endpoint
from node.workers import Workers
from primary.clock import clock_ms
from primary.cosigner_keys import CosignerKeys
from primary.founding import Plan, found
from primary.membership.commands import create_token
from primary.membership.members import Members
from primary.membership.reception import (
    REFUSALS,
    REFUSALS_MS,
    CannotIssueError,
    Reception,
    Sources,
    TooManyRefusalsError,
)
from primary.membership.roll import Roll
from primary.membership.values import Asked, Role
from primary.pki import Names
from primary.settings import PrimarySettings
from registry.errors import Problem
from registry.join_token import JoinToken

SECONDS = 20.0
PEER = "198.51.100.7"
ASKED = Asked("", (), b"", PEER)


@dataclass
class Desk:
    """A reception of a real primary's directory, and what is counted there."""

    settings: PrimarySettings
    reception: Reception
    refusals: list[str]
    removals: dict[str, int] = field(default_factory=dict)
    now_ms: int = field(default_factory=clock_ms)


@pytest.fixture
def settings(tmp_path: Path) -> PrimarySettings:
    here = Endpoint("127.0.0.1", 1)
    names = Names.parse([], ["192.0.2.1"])
    plan = Plan("example.org", names, here, here, here, here, "", lab=False)
    return found(tmp_path / "primary", plan)


def token_of(settings: PrimarySettings, name: str = "alpha") -> bytes:
    """The secret of a new token."""
    text, _ = create_token(
        settings,
        name=name,
        role=Role.MIRROR,
        operator="",
        names=None,
        life_ms=60 * REFUSALS_MS,
        at=None,
        upstream=None,
    )
    return JoinToken.parse(text).secret


def with_desk(settings: PrimarySettings, scenario: Callable[[Desk], Awaitable[None]]) -> None:
    """Runs a scenario at a reception; its clock stands until it is moved."""

    async def run() -> None:
        clerk, refusals = Workers("clerk"), list[str]()
        with closing(Roll(settings.store_url)) as roll, closing(clerk):
            members = Members(
                roll, clerk, lambda: desk.now_ms, lambda: desk.removals, lambda _: False
            )
            sources = Sources(
                settings,
                roll,
                clerk,
                members,
                CosignerKeys(settings.cosigners_dir, settings.origin),
                settings.root_file.read_bytes,
                lambda: desk.removals,
                lambda: desk.now_ms,
                refusals.append,
            )
            desk = Desk(settings, Reception(sources), refusals)
            await asyncio.wait_for(scenario(desk), SECONDS)

    asyncio.run(run())


def test_who_comes_with_a_token_is_certified_for_where_it_comes_from(
    settings: PrimarySettings,
) -> None:
    """With the board's root, and where to follow; its name is then taken."""
    secret, request = token_of(settings), make_request(make_key(), "")

    async def scenario(desk: Desk) -> None:
        welcome = await desk.reception.join("client", secret, ASKED, request, "")
        assert ("alpha", (PEER,)) == (welcome.node.name, welcome.node.names)
        assert ("alpha", welcome.node.key) == (
            show(welcome.certificate).name,
            show(welcome.certificate).key,
        )
        assert (settings.root_file.read_bytes(), "127.0.0.1:1") == (welcome.root, welcome.upstream)
        other = make_request(make_key(), "")
        with pytest.raises(Problem, match="with another key"):
            await desk.reception.join("client", secret, ASKED, other, "")
        assert ["used_twice"] == desk.refusals

    with_desk(settings, scenario)


def test_who_joins_after_a_removal_is_told_apart_by_the_certificate(
    settings: PrimarySettings,
) -> None:
    """It begins behind the removal, so that a mirror which has no roll knows who came later."""
    secret, request = token_of(settings), make_request(make_key(), "")

    async def scenario(desk: Desk) -> None:
        desk.removals["alpha"] = removed_ms = desk.now_ms - 1
        welcome = await desk.reception.join("client", secret, ASKED, request, "")
        begins_ms = show(welcome.certificate).begins_ms
        assert 0 < begins_ms - removed_ms <= 1000

    with_desk(settings, scenario)


def test_who_is_removed_gets_no_certificate_that_begins_behind_that(
    settings: PrimarySettings,
) -> None:
    """Not either while the roll does not say so yet: mirrors that others follow would let it in."""
    key = make_key()
    secret, request = token_of(settings), make_request(key, "")

    async def scenario(desk: Desk) -> None:
        await desk.reception.join("client", secret, ASKED, request, "")
        desk.removals["alpha"] = desk.now_ms
        for attempt in (
            desk.reception.renew("alpha", request),
            desk.reception.renew_ended("client", "alpha", request),
            desk.reception.join("client", secret, ASKED, request, ""),
        ):
            with pytest.raises(Problem, match="was removed"):
                await attempt

    with_desk(settings, scenario)


def test_guesses_are_counted_by_client_and_wait(settings: PrimarySettings) -> None:
    """So many a minute of one client, its good token too then; others come in meanwhile."""
    secret, request = token_of(settings), make_request(make_key(), "")

    async def scenario(desk: Desk) -> None:
        for _ in range(REFUSALS):
            with pytest.raises(Problem, match="is not known here"):
                await desk.reception.join("guesser", bytes(16), ASKED, request, "")
        for attempt in (
            desk.reception.join("guesser", secret, ASKED, request, ""),
            desk.reception.renew_ended("guesser", "alpha", request),
        ):
            with pytest.raises(TooManyRefusalsError):
                await attempt
        await desk.reception.join("other", secret, ASKED, request, "")
        desk.now_ms += REFUSALS_MS
        await desk.reception.join("guesser", secret, ASKED, request, "")

    with_desk(settings, scenario)


def test_without_the_authoritys_key_no_token_is_spent(settings: PrimarySettings) -> None:
    """The operator is told; once it is back the token is as good as before."""
    secret, request = token_of(settings), make_request(make_key(), "")
    away = settings.authority.key.rename(settings.authority.key.with_suffix(".away"))

    async def scenario(desk: Desk) -> None:
        with pytest.raises(CannotIssueError, match="tell its operator"):
            await desk.reception.join("client", secret, ASKED, request, "")
        assert [] == desk.refusals
        away.rename(settings.authority.key)
        await desk.reception.join("client", secret, ASKED, make_request(make_key(), ""), "")

    with_desk(settings, scenario)
