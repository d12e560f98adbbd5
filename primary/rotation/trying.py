"""Tries a mirror's ports from here when the mirror asks: what others will see of it.

Only at addresses that its certificate names, or where the rotation asks it anyway, and seldom: the
primary is nobody's way to scan or to flood others, and none to what this machine keeps for itself.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from node.endpoint import Endpoint
from node.printable import printable
from node.resolving import Resolvers
from node.sockets import is_local
from node.workers import Workers
from primary.cosignatures import Vouched
from primary.rotation.looking import Prober, draw, reason
from primary.rotation.questions import Question
from primary.store.reader import Reader
from registry.address import Address
from registry.errors import Problem
from registry.member import Announced

# Between two tries of one mirror, and tries of all mirrors at once.
PAUSE_SECONDS: Final = 10.0
MAX_TRIES: Final = 4
# Of the names and addresses of a certificate; a mirror has one or two.
MAX_HOSTS: Final = 4
CONNECT_SECONDS: Final = 3.0
# The head of an answer and a checkpoint with its cosignatures.
MAX_LOG_BYTES: Final = 64 * 1024


class Service(StrEnum):
    """What of a mirror is tried."""

    DNS_UDP = "DNS over UDP"
    DNS_TCP = "DNS over TCP"
    LOG = "the log over HTTP"
    MIRROR = "proofs over TLS"


_DNS: Final = (Service.DNS_UDP, Service.DNS_TCP)


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it; `problem` empty: it answered. `untried`: why it was not tried at all."""

    service: Service
    at: str
    problem: str = ""
    untried: str = ""


class TooSoonError(Exception):
    """This mirror, or all of them, had this done too lately: again in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"ports are tried once in {PAUSE_SECONDS:.0f} s: again in {seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a mirror says that it listens, besides DNS; 0: that is not tried."""

    log: int
    mirror: int


@dataclass(frozen=True, slots=True)
class Sources:
    """What is known of mirrors here.

    `announced` gives what a mirror said of itself, `certified` what its certificate names,
    `mirrors` those admitted; `authority` the PEM of who issued the certificates.
    """

    reader: Reader
    pool: Workers
    resolvers: Resolvers
    announced: Callable[[str], Announced]
    certified: Callable[[str], Sequence[str]]
    mirrors: Callable[[], frozenset[str]]
    vouched: Callable[[], Mapping[str, Vouched]]
    authority: Callable[[], bytes]
    origin: str
    zone: str
    lab: bool
    # Whether this machine itself has an address: what strangers do not reach there may answer us.
    is_here: Callable[[Address], bool] = is_local


class PortTrier:
    """For the event loop's thread only."""

    def __init__(self, sources: Sources, prober: Prober, clock: Callable[[], float]) -> None:
        """`clock` in seconds, of any beginning, and never back."""
        self._from = sources
        self._prober = prober
        self._clock = clock
        self._last: dict[str, float] = {}
        self._under_way = 0

    async def tried(self, name: str, ports: Ports) -> list[Tried]:
        """What can be reached of a mirror, named as its certificate is; TooSoonError."""
        self._take_turn(name)
        self._under_way += 1
        try:
            hosts = list(self._from.certified(name))[:MAX_HOSTS]
            addresses = await self._addresses(hosts)
            found = await asyncio.gather(
                self._dns(name, {each for some in addresses.values() for each in some}),
                self._each(Service.LOG, ports.log, addresses, self._ask_log),
                self._each(Service.MIRROR, ports.mirror, addresses, self._ask_mirror),
            )
        finally:
            self._under_way -= 1
        return [one for some in found for one in some]

    def _take_turn(self, name: str) -> None:
        now = self._clock()
        left = self._last.get(name, now - PAUSE_SECONDS) + PAUSE_SECONDS - now
        if left > 0:
            raise TooSoonError(left)
        if self._under_way >= MAX_TRIES:
            raise TooSoonError(PAUSE_SECONDS)
        self._last = {each: at for each, at in self._last.items() if now - at < PAUSE_SECONDS}
        self._last[name] = now

    async def _addresses(self, hosts: Sequence[str]) -> dict[str, list[Address]]:
        """Where each host is; here, or in a network of somebody's own, it is not looked for."""
        found = await asyncio.gather(*map(self._look_up, hosts))
        return {
            host: [one for one in some if self._from.lab or self._is_elsewhere(one)]
            for host, some in zip(hosts, found, strict=True)
        }

    async def _look_up(self, host: str) -> list[Address]:
        """Where a host is; empty if nobody tells in time, which keeps nobody else waiting.

        The system's own look-up would: it takes a thread until it has given up, and there are few.
        """
        with suppress(Problem):
            return [Address.parse(host)]
        found = await asyncio.gather(self._records(host, "A"), self._records(host, "AAAA"))
        return [Address.parse(text) for some in found for text in some][:MAX_HOSTS]

    async def _records(self, host: str, type_: str) -> list[str]:
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                return sorted((await self._from.resolvers.ask(host, type_)).values)
        return []

    def _is_elsewhere(self, address: Address) -> bool:
        return address.special_purpose() is None and not self._from.is_here(address)

    async def _dns(self, name: str, certified: set[Address]) -> list[Tried]:
        announced, sources = self._from.announced(name).addresses, self._from
        if not announced:
            why = "it has announced no address: set.addresses, while the follower runs"
            return [Tried(service, "", untried=why) for service in _DNS]
        vouched = sources.vouched().get(name)
        size = vouched.size if vouched else 0
        drawn = await sources.pool.run(draw, sources.reader, sources.zone, size)
        is_admitted = name in sources.mirrors()
        found = await asyncio.gather(
            *(
                self._dns_at(address, drawn.questions, is_admitted or address in certified)
                for address in announced
            )
        )
        return [one for some in found for one in some]

    async def _dns_at(
        self, address: Address, questions: Sequence[Question], is_its_own: bool
    ) -> list[Tried]:
        at = str(Endpoint(str(address), self._prober.port))
        if not is_its_own:
            why = "its certificate does not name it, and the board has not admitted it"
            return [Tried(service, at, untried=why) for service in _DNS]
        faults = await asyncio.gather(
            self._prober.look([address], questions),
            self._prober.look_over_tcp([address], questions),
        )
        return [
            Tried(service, at, fault.removeprefix(f"{address}: "))
            for service, fault in zip(_DNS, faults, strict=True)
        ]

    async def _each(
        self,
        service: Service,
        port: int,
        addresses: Mapping[str, Sequence[Address]],
        ask: Callable[[str, Address, int], Awaitable[str]],
    ) -> list[Tried]:
        """What the service says at every host of the certificate."""
        if not port:
            return []
        places = [(host, address) for host, some in addresses.items() for address in some]
        faults = await asyncio.gather(
            *(_in_time(ask(host, address, port)) for host, address in places)
        )
        why = "it has no address that everybody reaches"
        nowhere = [
            Tried(service, str(Endpoint(host, port)), untried=why)
            for host, some in addresses.items()
            if not some
        ]
        return nowhere + [
            Tried(service, _at(host, address, port), fault)
            for (host, address), fault in zip(places, faults, strict=True)
        ]

    async def _ask_log(self, host: str, address: Address, port: int) -> str:
        reader, writer = await asyncio.open_connection(str(address), port)
        try:
            at = Endpoint(host, port)
            writer.write(
                f"GET /checkpoint HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n".encode()
            )
            answer = await _read_all(reader, MAX_LOG_BYTES)
        finally:
            writer.close()
        head, _, note = answer.partition(b"\r\n\r\n")
        status = head.partition(b"\r\n")[0]
        if status.split(b" ")[1:2] != [b"200"]:
            said = printable(status[:60].decode(errors="replace"))
            return f"GET /checkpoint: {said or 'no answer'}"
        if not note.startswith(f"{self._from.origin}\n".encode()):
            return f"GET /checkpoint: no checkpoint of {self._from.origin}"
        return ""

    async def _ask_mirror(self, host: str, address: Address, port: int) -> str:
        context = ssl.create_default_context(cadata=self._from.authority().decode())
        context.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection(
            str(address), port, ssl=context, server_hostname=host
        )
        writer.close()
        return ""


def _at(host: str, address: Address, port: int) -> str:
    at = Endpoint(host, port)
    return str(at) if host == str(address) else f"{at} ({address})"


async def _in_time(asking: Awaitable[str]) -> str:
    """What it says is wrong; or that it did not say anything, and why."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await asking
    except TimeoutError:
        return "no answer in time"
    except ssl.SSLCertVerificationError as error:
        return f"another certificate than this registry's: {error.verify_message}"
    except ssl.SSLError as error:
        # Its number is none of the system's.
        return f"no TLS: {error.reason or type(error).__name__}"
    except OSError as error:
        return reason(error)


async def _read_all(reader: asyncio.StreamReader, most: int) -> bytes:
    data = b""
    while len(data) < most:
        some = await reader.read(most - len(data))
        if not some:
            break
        data += some
    return data
