"""The running service: sockets, guard, metrics, an orderly end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

import dns.exception
import dns.resolver
import uvloop

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.http import MonitoringServer
from node.logging import get_logger
from policyd.cache import Cache
from policyd.decision import Policy
from policyd.guard import Guard
from policyd.judge import Judge
from policyd.lookups import Lookups
from policyd.metrics import PolicydMetrics
from policyd.opensmtpd import OpenSmtpdFilter
from policyd.places import Places
from policyd.postfix import Actions, PolicyConnection
from policyd.settings import DNS_PORT, PolicydSettings
from policyd.smtp_filter import SmtpFilter
from policyd.sockets import FILTER_NAME, POLICY_NAME, inherited_sockets, open_sockets

# An event of smtpd has some hundred bytes.
MAX_LINE_BYTES: Final = 65536

_log = get_logger("policyd")


class Service:
    """Everything that decides, made from the settings."""

    def __init__(self, settings: PolicydSettings) -> None:
        self.metrics = PolicydMetrics()
        lookups = Lookups(
            settings.resolvers or system_resolvers(),
            settings.zone,
            settings.timeout_seconds,
            Cache(settings.cache_size),
            self.metrics,
        )
        self.guard = Guard(lookups, settings.list_name, settings.guard_seconds, self.metrics)
        policy = Policy(
            settings.mode, settings.on_failure, settings.registration, settings.networks
        )
        self.judge = Judge(policy, lookups, self.guard, self.metrics)
        self.places = Places(self.metrics)


def system_resolvers() -> tuple[Endpoint, ...]:
    """The resolvers of this machine; ConfigurationError when there are none."""
    try:
        found = dns.resolver.get_default_resolver().nameservers
    except dns.exception.DNSException as error:
        raise ConfigurationError(
            f"this machine has no resolver configured ({error}): set resolvers"
        ) from error
    return tuple(Endpoint(str(server), DNS_PORT) for server in found)


def run(settings: PolicydSettings) -> None:
    """Serves until SIGTERM or SIGINT."""
    uvloop.run(_run(settings))


async def _run(settings: PolicydSettings) -> None:
    service = Service(settings)
    inherited = inherited_sockets(os.environ)
    policy_sockets = inherited.get(POLICY_NAME) or (
        [] if inherited else open_sockets(settings.listen)
    )
    filter_sockets = inherited.get(FILTER_NAME) or open_sockets(settings.filter_listen)
    monitoring = None
    if settings.http is not None:
        monitoring = MonitoringServer(
            settings.http, service.metrics.registry, lambda: service.guard.reason
        )
        monitoring.start()
    ended = _signals()
    watching = asyncio.create_task(service.guard.run())
    servers = [
        *[await _serve_policy(service, listening) for listening in policy_sockets],
        *[await _serve_filter(service, settings, listening) for listening in filter_sockets],
    ]
    _log.info("policyd.ready", mode=settings.mode.value, on_failure=settings.on_failure.value)
    await ended.wait()
    for server in servers:
        server.close()
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    if monitoring is not None:
        monitoring.close()


def _signals() -> asyncio.Event:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    return ended


async def _serve_policy(service: Service, listening: socket.socket) -> asyncio.Server:
    actions = Actions(service.judge.policy)

    def connection() -> PolicyConnection:
        return PolicyConnection(service.judge, actions, service.places)

    loop = asyncio.get_running_loop()
    if listening.family == socket.AF_UNIX:
        return await loop.create_unix_server(connection, sock=listening)
    return await loop.create_server(connection, sock=listening)


async def _serve_filter(
    service: Service, settings: PolicydSettings, listening: socket.socket
) -> asyncio.Server:
    serve = SmtpFilter(
        service.judge, settings.filter_next, service.places, settings.filter_silence_seconds
    ).serve
    if listening.family == socket.AF_UNIX:
        return await asyncio.start_unix_server(serve, sock=listening)
    return await asyncio.start_server(serve, sock=listening)


def run_opensmtpd(settings: PolicydSettings) -> None:
    """Serves the smtpd that started this process, until it goes away."""
    uvloop.run(_run_opensmtpd(settings))


async def _run_opensmtpd(settings: PolicydSettings) -> None:
    service = Service(settings)
    watching = asyncio.create_task(service.guard.run())
    await OpenSmtpdFilter(service.judge, _say).run(_standard_input())
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _standard_input() -> AsyncIterator[str]:
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    make: Callable[[], asyncio.StreamReaderProtocol] = lambda: asyncio.StreamReaderProtocol(reader)  # noqa: E731
    await asyncio.get_running_loop().connect_read_pipe(make, sys.stdin)
    while line := await reader.readline():
        yield line.decode("utf-8", "replace").rstrip("\n")
