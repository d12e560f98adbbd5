"""Our DNS server in a process of its own, its table filled from a file of names.

    python -m bench.dns_serving --names FILE --implementation pure --listen 127.0.0.1:5300

There is no cluster behind it: nothing is signed, and the names are made up. SIGUSR1 begins and
ends a stream of changes to other names, in batches as they would come from the log.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import threading
import time
from itertools import cycle
from pathlib import Path
from typing import Final

from bench.dns_names import CHANGING, ORIGIN, host, packed, read_names
from node.endpoint import Endpoint
from registry.checkpoint import Checkpoint
from registry.kinds import Kind, Status
from registry.merkle import CompactRange
from registry.registration import Registration
from registry.staleness import Staleness
from registry.state import State
from secondary.cursor import Position
from secondary.dns.cookies import ServerCookies
from secondary.dns.dashed_zone import DashedNames
from secondary.dns.identity import Identity
from secondary.dns.implementation import Implementation, choose
from secondary.dns.list_zone import ListedNames
from secondary.dns.pure.answering import FastPath
from secondary.dns.pure.udp import pure_listeners
from secondary.dns.rate_limit import KEY_BYTES, RateLimiter, RateLimits
from secondary.dns.responder import Responder
from secondary.dns.server import DnsServer, LimitedAnswers
from secondary.dns.table import DictTable, NameTable
from secondary.dns.unlisted_zone import UnlistedNames
from secondary.dns.zone import Contents, Zone, ZoneNames
from secondary.dns.zones import Zones
from secondary.view import Standing, View

# 1,000 changes a second. Each batch raises the serial by one, which tells how many there were.
BATCHES_A_SECOND: Final = 100
CHANGES_A_BATCH: Final = 10
_NAME_SERVERS: Final = ("a.ns.smtpnic.net",)
_HOSTMASTER: Final = "hostmaster.smtpnic.net"
# 2026-11-23T17:46:40Z
_REGISTERED_MS: Final = 1_795_456_000_000
_KEY_PREFIX: Final = bytes((Kind.REGISTRATION,))


class Payloads:
    """Payloads of registrations that differ in the host alone; encoding each costs seconds."""

    def __init__(self, *, long_hosts: bool) -> None:
        model = host(0, long=long_hosts)
        registration = Registration(
            bytes(16), model, "mail.example.org", Status.ACTIVE, _REGISTERED_MS
        )
        # host() writes the address in as many digits for each.
        self._before, digits, self._after = registration.encode().partition(b"00000000")
        if not digits:
            raise ValueError(f"{model} does not hold its address")

    def of(self, address: bytes) -> bytes:
        """The payload of a packed address."""
        return self._before + address.hex().encode() + self._after


def standing(serial: int) -> Standing:
    """A standing that nobody signed."""
    checkpoint = Checkpoint(ORIGIN, serial, bytes(32))
    state = State(0, bytes(32), serial)
    return Standing(Position(checkpoint, state, 0, CompactRange.empty()), 0.0, Staleness(0.0))


def fill(table: View, names: Path, payloads: Payloads) -> None:
    """Takes every name of a file, as a load does, without the records' signatures."""
    for address in read_names(names):
        table.put(_KEY_PREFIX + address, payloads.of(address), b"")
    table.advance(standing(1))


class Changes:
    """A thread that registers and withdraws names nobody asks for, at a steady rate."""

    def __init__(self, table: View, payloads: Payloads) -> None:
        self._table, self._payloads = table, payloads
        self._keys = cycle([_KEY_PREFIX + packed(number) for number in CHANGING])
        self._registered: set[bytes] = set()
        self._serial = 1
        self._flowing = threading.Event()
        threading.Thread(target=self._flow, name="changes", daemon=True).start()

    def switch(self) -> None:
        """Begins, or ends."""
        if self._flowing.is_set():
            self._flowing.clear()
        else:
            self._flowing.set()

    def _flow(self) -> None:
        while self._flowing.wait():
            due = time.monotonic()
            while self._flowing.is_set():
                self._batch()
                due += 1 / BATCHES_A_SECOND
                time.sleep(max(due - time.monotonic(), 0))

    def _batch(self) -> None:
        for _ in range(CHANGES_A_BATCH):
            key = next(self._keys)
            if key in self._registered:
                self._registered.discard(key)
                self._table.remove(key)
            else:
                self._registered.add(key)
                self._table.put(key, self._payloads.of(key[1:]), b"")
        self._serial += 1
        self._table.advance(standing(self._serial))


NO_LIMITS: Final = RateLimits(0, 0, 0)


def _answers(table: NameTable, limits: RateLimits) -> LimitedAnswers:
    """What the DNS role asks, from one table."""
    contents: tuple[Contents, ...] = (
        DashedNames(),
        ListedNames(),
        UnlistedNames(f"https://{ORIGIN}/"),
    )
    origins = ORIGIN, f"list.{ORIGIN}", f"unlisted.{ORIGIN}"
    zones = Zones(
        Zone(ZoneNames(origin, _NAME_SERVERS, _HOSTMASTER), names)
        for origin, names in zip(origins, contents, strict=True)
    )
    responder = Responder(
        zones,
        lambda: table,
        cookies=ServerCookies.of_one_process(),
        identity=Identity(),
    )
    return LimitedAnswers(responder, RateLimiter(limits, secrets.token_bytes(KEY_BYTES)))


def _pure(listen: Endpoint, limits: RateLimits, _interface: str) -> tuple[View, DnsServer]:
    table = DictTable()
    answers = _answers(table, limits)
    fast = FastPath(answers.responder, answers.limiter)
    return table, DnsServer([listen], answers, pure_listeners(fast, lambda: table))


def _compiled(listen: Endpoint, limits: RateLimits, interface: str) -> tuple[View, DnsServer]:
    # Not there where there was no compiler.
    from secondary.dns.batched_udp import FastAnswers, batched_listeners  # noqa: PLC0415
    from secondary.dns.compiled.table import CompiledTable  # noqa: PLC0415
    from secondary.dns.xdp import XdpFront  # noqa: PLC0415

    front = XdpFront.open(interface, listen) if interface else None
    table = CompiledTable()
    answers = _answers(table, limits)
    threads = len(os.sched_getaffinity(0))
    fast = FastAnswers.before(answers, lambda: table, threads)
    return table, DnsServer([listen], answers, batched_listeners(fast, front))


# An empty table, and the server that answers from it.
_MAKERS: Final = {Implementation.COMPILED: _compiled, Implementation.PURE: _pure}
IMPLEMENTATIONS: Final = tuple(implementation.value for implementation in _MAKERS)


def unavailable(implementation: str) -> str | None:
    """Why an implementation cannot run here; None when it can."""
    wanted = Implementation(implementation)
    if choose(is_compiled_wanted=wanted is Implementation.COMPILED) is wanted:
        return None
    return f"smtpnic-{implementation} is left out: it was not built, there was no compiler"


async def serve(server: DnsServer, changes: Changes) -> None:
    """Answers until SIGTERM."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGUSR1, changes.switch)
    await server.start()
    await ended.wait()
    await server.stop()


def main() -> None:
    """A server that is reached once its table is full."""
    parser = argparse.ArgumentParser(prog="python -m bench.dns_serving", description=__doc__)
    parser.add_argument("--names", type=Path, required=True, help="packed addresses, in order")
    parser.add_argument("--implementation", choices=IMPLEMENTATIONS, required=True)
    parser.add_argument("--listen", type=Endpoint.parse, required=True)
    parser.add_argument("--long-hosts", action="store_true", help="TXT of a signature's size")
    parser.add_argument("--interface", default="", help="what comes in there by AF_XDP")
    parser.add_argument("--limited", action="store_true", help="the rate limits of the DNS role")
    arguments = parser.parse_args()
    reason = unavailable(arguments.implementation)
    if reason is not None:
        raise SystemExit(reason)
    limits = RateLimits() if arguments.limited else NO_LIMITS
    make = _MAKERS[Implementation(arguments.implementation)]
    table, server = make(arguments.listen, limits, arguments.interface)
    payloads = Payloads(long_hosts=arguments.long_hosts)
    fill(table, arguments.names, payloads)
    asyncio.run(serve(server, Changes(table, payloads)))


if __name__ == "__main__":
    main()
