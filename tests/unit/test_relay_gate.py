"""Who may follow a mirror, by what the board has decided in the log that it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from node.certificates import show
from node.gate import NotAdmittedError
from primary.pki import Authority, Names
from secondary.relay_gate import RelayGate

NOW = datetime.now(UTC)
NOW_MS = round(NOW.timestamp() * 1000)
FOLLOW = "/smtpnic.v1.Replication/Subscribe"
AUTHORITY = Authority.create("example.org", NOW)
NAMES = Names.parse([], ["192.0.2.7"])
ALPHA, BETA = (AUTHORITY.issue_node(name, NAMES, NOW).certificate for name in ("alpha", "beta"))
SECONDS = 10.0


def at_the_gate(scenario: Callable[[RelayGate], Awaitable[None]]) -> None:
    async def run() -> None:
        await asyncio.wait_for(scenario(RelayGate(lambda: NOW_MS)), SECONDS)

    asyncio.run(run())


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


def test_who_is_removed_is_cut_off_and_others_are_not() -> None:
    """Its calls end with the reason, and no other begins; what is known already cuts nobody."""

    async def scenario(gate: RelayGate) -> None:
        calls = [
            asyncio.create_task((await gate.enter(each, FOLLOW)).during(_forever()))
            for each in (ALPHA, BETA)
        ]
        await asyncio.sleep(0)
        gate.know({"alpha": NOW_MS})
        with pytest.raises(NotAdmittedError, match="alpha was removed by the board") as error:
            await calls[0]
        assert error.value.is_known
        with pytest.raises(NotAdmittedError, match="alpha was removed by the board"):
            await gate.enter(ALPHA, FOLLOW)
        gate.know({"alpha": NOW_MS})
        await asyncio.sleep(0)
        assert not calls[1].done()
        calls[1].cancel()

    at_the_gate(scenario)


def test_who_joined_anew_is_another() -> None:
    """A certificate that begins after the removal is let in; one that began with it is not."""
    begins_ms = show(ALPHA).begins_ms

    async def scenario(gate: RelayGate) -> None:
        gate.know({"alpha": begins_ms})
        with pytest.raises(NotAdmittedError):
            await gate.enter(ALPHA, FOLLOW)
        gate.know({"alpha": begins_ms - 1})
        await gate.enter(ALPHA, FOLLOW)

    at_the_gate(scenario)


def test_a_certificate_is_shown_and_has_not_ended() -> None:
    """As at the primary."""
    ended = AUTHORITY.issue_node("alpha", NAMES, NOW - timedelta(days=99)).certificate

    async def scenario(gate: RelayGate) -> None:
        with pytest.raises(NotAdmittedError, match="no certificate was shown"):
            await gate.enter(b"", FOLLOW)
        with pytest.raises(NotAdmittedError, match="ended at"):
            await gate.enter(ended, FOLLOW)

    at_the_gate(scenario)
