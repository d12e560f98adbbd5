"""The roll, and who is let in by it, with a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.certificates import show
from node.doorkeeper import BOARD
from node.gate import NotAdmittedError
from node.workers import Workers
from primary.membership.judging import UsedTwiceError
from primary.membership.members import Members
from primary.membership.roll import Roll
from primary.membership.values import Node, Role, Ticket
from primary.pki import Authority, Names
from primary.store.store import Store
from registry.errors import Problem

NOW = datetime.now(UTC)
NOW_MS = round(NOW.timestamp() * 1000)
FOLLOW = "/smtpnic.v1.Replication/Subscribe"
AUTHORITY = Authority.create("example.org", NOW)
NAMES = Names.parse([], ["192.0.2.7"])
ALPHA = AUTHORITY.issue_node("alpha", NAMES, NOW).certificate
COPY = AUTHORITY.issue_node("alpha", NAMES, NOW).certificate
TICKET = Ticket(
    bytes([7]) * 32, "alpha", Role.MIRROR, "Ann", ("192.0.2.7",), "x:1", NOW_MS, NOW_MS + 1000
)
SECONDS = 10.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'registry.sqlite3'}"
    with closing(Store(url)) as store:
        store.migrate()
    return url


def node_of(certificate: bytes) -> Node:
    shown = show(certificate)
    return Node(shown.name, shown.key, Role.MIRROR, "", NAMES.texts, NOW_MS - 1000)


def with_members(
    url: str,
    scenario: Callable[[Members, Roll], Awaitable[None]],
    removals: Mapping[str, int] | None = None,
    removed_keys: Container[bytes] = (),
) -> None:
    """Runs a scenario with the members of a roll, and what the log says was removed."""

    async def run() -> None:
        clerk = Workers("clerk")
        with closing(Roll(url)) as roll, closing(clerk):
            members = Members(
                roll,
                clerk,
                lambda: NOW_MS,
                lambda: removals or {},
                lambda key: key in removed_keys,
            )
            await asyncio.wait_for(scenario(members, roll), SECONDS)

    asyncio.run(run())


async def refused(members: Members, certificate: bytes, method: str = FOLLOW) -> str:
    """Why somebody is not let in; who is known has another status than who is not."""
    with pytest.raises(NotAdmittedError) as error:
        await members.enter(certificate, method)
    return f"{'known' if error.value.is_known else 'unknown'}: {error.value}"


def test_name_and_key_have_to_be_on_the_roll(url: str) -> None:
    """A stranger, another key under a known name, an ended certificate, and none at all."""

    async def scenario(members: Members, roll: Roll) -> None:
        assert "unknown: no certificate" in await refused(members, b"")
        assert "unknown: no node alpha is known" in await refused(members, ALPHA)
        # What another process writes is seen when it would be refused.
        roll.put(node_of(ALPHA))
        await members.enter(ALPHA, FOLLOW)
        assert "unknown: alpha has another key" in await refused(members, COPY)
        assert "known: alpha is a mirror" in await refused(members, ALPHA, "/x/y")
        ended = AUTHORITY.issue_node("alpha", NAMES, NOW - timedelta(days=99)).certificate
        assert "unknown: the certificate of alpha ended" in await refused(members, ended)

    with_members(url, scenario)


def test_who_is_removed_is_cut_off(url: str) -> None:
    """Its calls end with the reason; others' go on; a decision of the board before a node joined
    is not about that node."""

    async def scenario(members: Members, roll: Roll) -> None:
        beta = AUTHORITY.issue_node("beta", NAMES, NOW).certificate
        roll.put_all([node_of(ALPHA), node_of(beta)])
        calls = [
            asyncio.create_task((await members.enter(each, FOLLOW)).during(_forever()))
            for each in (ALPHA, beta)
        ]
        await members.remove("alpha", NOW_MS - 2000)
        await asyncio.sleep(0)
        assert [False, False] == [call.done() for call in calls]
        await members.remove("alpha", NOW_MS)
        with pytest.raises(NotAdmittedError, match="alpha was removed by the board"):
            await calls[0]
        assert not calls[1].done()
        assert "known: alpha was removed" in await refused(members, ALPHA)
        roll.remove("beta", "administrator", NOW_MS)
        await members.refresh()
        with pytest.raises(NotAdmittedError, match="beta was removed by the primary's operator"):
            await calls[1]

    with_members(url, scenario)


def test_whom_the_board_removed_is_out_though_the_roll_does_not_say_so(url: str) -> None:
    """The process may have ended between the log and the roll: calls are refused at once, those in
    progress end, and the roll is written; who joined later is another node."""
    removals: dict[str, int] = {}

    async def scenario(members: Members, roll: Roll) -> None:
        roll.put(node_of(ALPHA))
        call = asyncio.create_task((await members.enter(ALPHA, FOLLOW)).during(_forever()))
        await asyncio.sleep(0)
        removals["alpha"] = NOW_MS
        assert "known: alpha was removed by the board" in await refused(members, ALPHA)
        running = asyncio.create_task(members.run())
        try:
            with pytest.raises(NotAdmittedError, match="alpha was removed by the board"):
                await call
        finally:
            running.cancel()
        assert [("alpha", BOARD)] == [
            (node.name, node.removed_by) for node in roll.nodes() if node.name == "alpha"
        ]
        roll.put(replace(node_of(COPY), joined_ms=NOW_MS + 1))
        await members.enter(COPY, FOLLOW)

    with_members(url, scenario, removals)


def test_a_node_that_joined_anew_ends_its_older_self(url: str) -> None:
    """Whoever has the old key is out when the new one is in."""

    async def scenario(members: Members, roll: Roll) -> None:
        roll.put(node_of(ALPHA))
        call = asyncio.create_task((await members.enter(ALPHA, FOLLOW)).during(_forever()))
        await asyncio.sleep(0)
        roll.put(node_of(COPY))
        await members.refresh()
        with pytest.raises(NotAdmittedError, match="joined anew"):
            await call
        await members.enter(COPY, FOLLOW)

    with_members(url, scenario)


def test_a_call_that_its_maker_ends_is_no_refusal(url: str) -> None:
    """A client that leaves is cancelled as ever."""

    async def scenario(members: Members, roll: Roll) -> None:
        roll.put(node_of(ALPHA))
        call = asyncio.create_task((await members.enter(ALPHA, FOLLOW)).during(_forever()))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    with_members(url, scenario)


def test_a_lost_roll_fills_itself_for_a_while(url: str) -> None:
    """With whoever has a good certificate: the first key of a name counts, and who was removed
    by the board stays out."""

    async def scenario(members: Members, roll: Roll) -> None:
        gone = AUTHORITY.issue_node("gone", NAMES, NOW).certificate
        await members.remove("gone", NOW_MS)
        roll.adopt_until(NOW_MS + 1)
        await members.enter(ALPHA, FOLLOW)
        assert "unknown: alpha has another key" in await refused(members, COPY)
        assert "known: gone was removed by the board" in await refused(members, gone)
        roll.adopt_until(NOW_MS)
        late = AUTHORITY.issue_node("late", NAMES, NOW).certificate
        assert "unknown: no node late" in await refused(members, late)
        assert {"alpha": "", "gone": BOARD} == {n.name: n.removed_by for n in roll.nodes()}

    with_members(url, scenario)


def test_whom_the_board_removed_is_not_taken_in_where_the_roll_was_lost(url: str) -> None:
    """A registry that was rebuilt from its log knows by the certificate who joined later."""
    later = AUTHORITY.issue_node("alpha", NAMES, NOW + timedelta(days=1)).certificate

    async def scenario(members: Members, roll: Roll) -> None:
        roll.adopt_until(NOW_MS + 1)
        assert "known: alpha was removed by the board" in await refused(members, ALPHA)
        await members.enter(later, FOLLOW)

    with_members(url, scenario, {"alpha": NOW_MS - 1})


def test_a_removed_key_is_not_taken_in_where_the_roll_was_lost(url: str) -> None:
    """The log knows what the administrator did; another key of the name is let in."""

    async def scenario(members: Members, roll: Roll) -> None:
        roll.adopt_until(NOW_MS + 1)
        assert "known: alpha was removed by the primary's" in await refused(members, ALPHA)
        await members.enter(COPY, FOLLOW)

    with_members(url, scenario, removed_keys={show(ALPHA).key})


def test_a_token_is_used_up_with_the_node_that_it_let_in(url: str) -> None:
    """At once or not at all; asked again, the node is as it was; a second key is remembered."""
    node = node_of(ALPHA)
    used = replace(TICKET, used_ms=NOW_MS, used_key=node.key, used_name="alpha")

    def twice(*_: object) -> tuple[Ticket, Node]:
        raise UsedTwiceError("token", "again")

    def no(*_: object) -> tuple[Ticket, Node]:
        raise Problem("name", "no")

    with closing(Roll(url)) as roll:
        roll.add_ticket(TICKET, 0)
        with pytest.raises(Problem, match="no"):
            roll.join(TICKET.secret_hash, no, NOW_MS)
        assert ([TICKET], []) == (roll.tickets(), roll.nodes())
        assert node == roll.join(TICKET.secret_hash, lambda *_: (used, node), NOW_MS)
        later = replace(node, joined_ms=NOW_MS + 5)
        assert node == roll.join(TICKET.secret_hash, lambda *_: (used, later), NOW_MS)
        with pytest.raises(UsedTwiceError):
            roll.join(TICKET.secret_hash, twice, NOW_MS + 7)
        assert [replace(used, contested_ms=NOW_MS + 7)] == roll.tickets()
        roll.saw({"alpha": (NOW_MS, NOW_MS + 9)})
        assert replace(node, seen_ms=NOW_MS, certificate_ends_ms=NOW_MS + 9) == roll.node("alpha")


def test_a_token_is_revoked_by_its_label(url: str) -> None:
    """As it is listed; what names none, or could name any, is refused."""
    with closing(Roll(url)) as roll:
        roll.add_ticket(TICKET, 0)
        for label in ("0707070a", "070", ""):
            with pytest.raises(Problem, match="tokens begin with"):
                roll.revoke(label, NOW_MS)
        roll.revoke(TICKET.label, NOW_MS)
        assert ["revoked"] == [each.state(NOW_MS) for each in roll.tickets()]


async def _forever() -> None:
    await asyncio.Event().wait()
