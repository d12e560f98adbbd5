"""A filter for OpenSMTPD (smtpd-filters(7), protocol 0.6): refuses at RCPT, on standard input."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from node.logging import get_logger
from policyd.decision import Client, Outcome
from policyd.judge import ACCEPTED, Decision, Judge

REGISTRATION: Final = (
    "register|report|smtp-in|link-connect",
    "register|report|smtp-in|link-disconnect",
    "register|report|smtp-in|link-auth",
    "register|filter|smtp-in|rcpt-to",
    "register|ready",
)
# Fields of an event before its own: kind, version, time, subsystem, event, session.
EVENT_FIELDS: Final = 6
CONNECT_FIELDS: Final = 4
RESULT_FIRST: Final = [0, 7]
# smtpd's own limit of sessions is in the thousands; a crashed count must not grow for ever.
MAX_SESSIONS: Final = 100_000

_log = get_logger("opensmtpd")


@dataclass(slots=True)
class _Session:
    address: str
    is_authenticated: bool = False


def host_of(source: str) -> str:
    """The address of `192.0.2.1:25` or `[2001:db8::1]:25`; empty for a UNIX socket."""
    if source.startswith("["):
        return source[1:].partition("]")[0].removeprefix("IPv6:")
    host, colon, _ = source.rpartition(":")
    return host if colon and not source.startswith("unix:") else ""


def source_in(fields: Sequence[str]) -> str:
    """The source of a link-connect: rdns, fcrdns, source, destination.

    The rdns is a stranger's and may hold bars, so it is counted from the end.
    """
    return fields[-2] if len(fields) >= CONNECT_FIELDS else ""


def is_success(fields: Sequence[str], version: str) -> bool:
    """Whether a link-auth says that the user is one.

    The user, whom a stranger names as he likes and with bars, stands first before version 0.7 of
    the protocol, and last since then.
    """
    numbers = version.split(".")
    is_result_first = all(map(str.isdecimal, numbers)) and [*map(int, numbers)] >= RESULT_FIRST
    return fields[:1] == ["pass"] if is_result_first else fields[-1:] == ["pass"]


class OpenSmtpdFilter:
    """Answers events, each given as one line, through `write`."""

    def __init__(self, judge: Judge, write: Callable[[str], None]) -> None:
        self._judge = judge
        self._write = write
        self._sessions: dict[str, _Session] = {}
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self, lines: AsyncIterator[str]) -> None:
        """Answers until smtpd goes away."""
        async for line in lines:
            self.take(line)

    def take(self, line: str) -> None:
        """One line of smtpd."""
        if line == "config|ready":
            for registration in REGISTRATION:
                self._write(registration)
            return
        fields = line.split("|")
        if len(fields) <= EVENT_FIELDS - 1:
            return
        version, session, rest = fields[1], fields[5], fields[EVENT_FIELDS:]
        match fields[0], fields[4]:
            case "report", "link-connect" if len(self._sessions) < MAX_SESSIONS:
                self._sessions[session] = _Session(host_of(source_in(rest)))
            case "report", "link-auth" if session in self._sessions:
                self._sessions[session].is_authenticated |= is_success(rest, version)
            case "report", "link-disconnect":
                self._sessions.pop(session, None)
            case "filter", "rcpt-to" if rest:
                self._answer(session, rest[0], "|".join(rest[1:]))

    def _answer(self, session: str, token: str, recipient: str) -> None:
        known = self._sessions.get(session, _Session(""))
        client = Client(known.address, recipient.strip("<>"), known.is_authenticated)
        decision = self._judge.at_once(client)
        if decision is not None:
            self._say(session, token, decision)
            return
        task = asyncio.get_running_loop().create_task(self._ask(session, token, client))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, session: str, token: str, client: Client) -> None:
        try:
            decision = await self._judge.decide(client)
        except Exception:  # noqa: BLE001 - mail is not lost by a fault of ours
            _log.exception("decision.failed", client=client.address)
            decision = ACCEPTED
        self._say(session, token, decision)

    def _say(self, session: str, token: str, decision: Decision) -> None:
        address, policy = decision.address, self._judge.policy
        answer = "proceed"
        if address is not None and decision.outcome is Outcome.REFUSE:
            answer = f"reject|550 5.7.1 {policy.refusal(address)}"
        elif address is not None and decision.outcome is Outcome.TEMPFAIL:
            answer = f"reject|451 4.4.3 {policy.delay(address)}"
        elif decision.outcome is Outcome.ADVISE:
            _log.info("client.unregistered", address=str(address))
        self._write(f"filter-result|{session}|{token}|{answer}")
