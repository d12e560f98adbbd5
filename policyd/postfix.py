"""Postfix's policy delegation protocol (SMTPD_POLICY_README): attributes in, an action out."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Final, cast

from node.logging import get_logger
from policyd.decision import Client, Outcome, Policy
from policyd.judge import ACCEPTED, Decision, Judge
from policyd.places import Places

# Postfix's own line_length_limit is 2048; a request has some thirty attributes.
MAX_REQUEST_BYTES: Final = 65536
# A smtpd process keeps its connection for its lifetime, idle for 300 s at most by default.
IDLE_SECONDS: Final = 600.0
# Messages whose header is remembered, so that each gets one, however many recipients it has.
MAX_INSTANCES: Final = 10_000
HEADER: Final = "X-SMTP-Registry"

_log = get_logger("policy")


def parse(request: bytes) -> dict[str, str]:
    """The attributes of one request, without its closing empty line; ValueError if malformed."""
    attributes = {}
    for line in request.decode("utf-8", "replace").split("\n"):
        name, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"{line!r}: expected name=value")
        attributes[name] = value
    if attributes.get("request") != "smtpd_access_policy":
        raise ValueError("expected request=smtpd_access_policy")
    return attributes


def client_of(attributes: dict[str, str]) -> Client:
    """Who the request is about."""
    return Client(
        attributes.get("client_address", ""),
        attributes.get("recipient", ""),
        bool(attributes.get("sasl_username")),
    )


class Actions:
    """Says a decision in Postfix's words."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._advised: OrderedDict[str, None] = OrderedDict()

    def of(self, decision: Decision, instance: str) -> str:
        """The action; a message, known by its `instance`, gets the header once."""
        address = decision.address
        if address is None or decision.outcome is Outcome.ACCEPT:
            return "DUNNO"
        if decision.outcome is Outcome.REFUSE:
            return f"550 5.7.1 {self._policy.refusal(address)}"
        if decision.outcome is Outcome.TEMPFAIL:
            return f"451 4.4.3 {self._policy.delay(address)}"
        if not self._is_first(instance):
            return "DUNNO"
        return f"PREPEND {HEADER}: {self._policy.advice(address)}"

    def _is_first(self, instance: str) -> bool:
        if instance in self._advised:
            return False
        if instance:
            self._advised[instance] = None
        if len(self._advised) > MAX_INSTANCES:
            self._advised.popitem(last=False)
        return True


class PolicyConnection(asyncio.Protocol):
    """One connection: requests are answered in their order. `places` counts those that are open.

    Who does not read his answers is not read from either, and after a time is left.
    """

    def __init__(self, judge: Judge, actions: Actions, places: Places) -> None:
        self._places = places
        self._judge = judge
        self._actions = actions
        self._buffer = b""
        self._pending: asyncio.Task[None] | None = None
        self._is_unread = False
        self._active_at = time.monotonic()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins to watch for idleness; where all places are taken, leaves."""
        self._transport = cast("asyncio.Transport", transport)
        if self._places.take():
            self._watch()
        else:
            self._close("too many connections")

    def data_received(self, data: bytes) -> None:
        """Answers what is complete."""
        self._active_at = time.monotonic()
        self._buffer += data
        if len(self._buffer) > MAX_REQUEST_BYTES:
            self._close("too much was asked at once")
        else:
            self._answer_complete()

    def pause_writing(self) -> None:
        """Asks no more of a client that leaves too many answers unread."""
        self._is_unread = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Goes on."""
        self._is_unread = False
        if self._transport is not None:
            self._transport.resume_reading()
            self._answer_complete()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Nobody waits for the answer any more."""
        self._places.leave()
        if self._pending is not None:
            self._pending.cancel()
        self._transport = None

    def _answer_complete(self) -> None:
        while self._pending is None and not self._is_unread:
            request, end, rest = self._buffer.partition(b"\n\n")
            if not end:
                return
            self._buffer = rest
            self._take(request)

    def _take(self, request: bytes) -> None:
        try:
            attributes = parse(request)
        except ValueError as error:
            self._close(str(error))
            self._buffer = b""
            return
        client, instance = client_of(attributes), attributes.get("instance", "")
        decision = self._judge.at_once(client)
        if decision is None:
            self._pending = asyncio.get_running_loop().create_task(self._ask(client, instance))
        else:
            self._write(decision, instance)

    async def _ask(self, client: Client, instance: str) -> None:
        try:
            decision = await self._judge.decide(client)
        except Exception:  # noqa: BLE001 - mail is not lost by a fault of ours
            _log.exception("decision.failed", client=client.address)
            decision = ACCEPTED
        self._write(decision, instance)
        self._pending = None
        self._answer_complete()

    def _write(self, decision: Decision, instance: str) -> None:
        if self._transport is not None:
            self._transport.write(f"action={self._actions.of(decision, instance)}\n\n".encode())

    def _watch(self) -> None:
        if self._transport is None:
            return
        if time.monotonic() - self._active_at > IDLE_SECONDS:
            # What is unread would keep it open.
            _log.debug("connection.closed", reason="idle")
            self._transport.abort()
            return
        asyncio.get_running_loop().call_later(IDLE_SECONDS / 2, self._watch)

    def _close(self, reason: str) -> None:
        _log.debug("connection.closed", reason=reason)
        if self._transport is not None:
            self._transport.close()
