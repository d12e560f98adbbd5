"""Who may follow a mirror, by the log that it holds: the board's decisions, and removed keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from node.certificates import make_request, read_request, show
from node.gate import GateClosedError, NotAdmittedError
from primary.pki import Authority, Life, Names
from secondary.relay_gate import RelayGate, Removals

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


def by_board(**names: int) -> Removals:
    """The board has removed these, and the administrator nobody."""
    return Removals(names, lambda _: False)


def by_key(certificate: bytes) -> Removals:
    """The administrator has removed this certificate's key."""
    return Removals({}, lambda key: key == show(certificate).key)


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


def test_who_is_removed_is_cut_off_and_others_are_not() -> None:
    """Its calls end with the reason, and no other begins; what is known already cuts nobody."""

    async def scenario(gate: RelayGate) -> None:
        gate.know(by_board())
        calls = [
            asyncio.create_task((await gate.enter(each, FOLLOW)).during(_forever()))
            for each in (ALPHA, BETA)
        ]
        await asyncio.sleep(0)
        gate.know(by_board(alpha=NOW_MS))
        with pytest.raises(NotAdmittedError, match="alpha was removed by the board") as error:
            await calls[0]
        assert error.value.is_known
        with pytest.raises(NotAdmittedError, match="alpha was removed by the board"):
            await gate.enter(ALPHA, FOLLOW)
        gate.know(by_board(alpha=NOW_MS))
        await asyncio.sleep(0)
        assert not calls[1].done()
        calls[1].cancel()

    at_the_gate(scenario)


def test_who_joined_anew_is_another() -> None:
    """A certificate that begins after the removal is let in; one that began with it is not."""
    begins_ms = show(ALPHA).begins_ms

    async def scenario(gate: RelayGate) -> None:
        gate.know(by_board(alpha=begins_ms))
        with pytest.raises(NotAdmittedError):
            await gate.enter(ALPHA, FOLLOW)
        gate.know(by_board(alpha=begins_ms - 1))
        await gate.enter(ALPHA, FOLLOW)

    at_the_gate(scenario)


def test_a_certificate_is_shown_and_has_not_ended() -> None:
    """As at the primary."""
    ended = AUTHORITY.issue_node("alpha", NAMES, NOW - timedelta(days=99)).certificate

    async def scenario(gate: RelayGate) -> None:
        gate.know(by_board())
        with pytest.raises(NotAdmittedError, match="no certificate was shown"):
            await gate.enter(b"", FOLLOW)
        with pytest.raises(NotAdmittedError, match="ended at"):
            await gate.enter(ended, FOLLOW)

    at_the_gate(scenario)


def test_a_removed_key_is_out_and_another_of_its_name_is_not() -> None:
    """Whoever shows a certificate of a removed key is cut off and refused, whenever it begins;
    the name with another key goes on; a key that may follow again is let in again."""
    later = NOW + timedelta(days=1)
    key, rejoined = (AUTHORITY.issue_node("alpha", NAMES, each) for each in (NOW, NOW))
    same = read_request(make_request(key.key, "alpha"))
    renewed = AUTHORITY.certify_node("alpha", NAMES, same, Life(later))

    async def scenario(gate: RelayGate) -> None:
        gate.know(by_board())
        old, new = [
            asyncio.create_task((await gate.enter(each, FOLLOW)).during(_forever()))
            for each in (key.certificate, rejoined.certificate)
        ]
        await asyncio.sleep(0)
        gate.know(by_key(key.certificate))
        with pytest.raises(NotAdmittedError, match="alpha was removed by the primary's operator"):
            await old
        for each in (key.certificate, renewed):
            with pytest.raises(NotAdmittedError, match="primary's operator") as error:
                await gate.enter(each, FOLLOW)
            assert error.value.is_known
        await asyncio.sleep(0)
        assert not new.done()
        new.cancel()
        gate.know(by_board())
        await gate.enter(key.certificate, FOLLOW)

    at_the_gate(scenario)


def test_nobody_comes_in_before_the_log_is_known() -> None:
    """After a start, and while the replica is made anew: who was removed cannot be told."""

    async def scenario(gate: RelayGate) -> None:
        for removals in (by_board(), None):
            with pytest.raises(GateClosedError, match="not loaded here yet"):
                await gate.enter(ALPHA, FOLLOW)
            gate.know(removals)
            if removals is not None:
                await gate.enter(ALPHA, FOLLOW)
                gate.know(None)

    at_the_gate(scenario)
