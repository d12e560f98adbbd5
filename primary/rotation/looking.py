"""Asks mirrors' DNS servers, from where nobody expects the registry, and draws what is asked."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from primary.rotation.questions import MAX_ANSWER_BYTES, Question
from primary.store.reader import Reader
from registry.address import IPV4_BYTES, Address
from registry.entry import Entry
from registry.kinds import Kind, Status
from registry.registration import Registration

# A packet may be lost.
ATTEMPTS: Final = 2
ATTEMPT_SECONDS: Final = 1.5
# Each question has a socket.
MAX_SOCKETS: Final = 128
# How many registrations are read behind a random place, and addresses drawn for one that is free.
_DRAWS: Final = 16

# Before each message over TCP (RFC 1035, 4.2.2).
LENGTH_BYTES: Final = 2

_RANDOM: Final = random.SystemRandom()

# Asks an address, and gives what came back; TimeoutError, OSError.
_Exchange = Callable[[bytes, Address], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is asked of a mirror that holds the log up to some size."""

    questions: tuple[Question, ...]


def draw(reader: Reader, zone: str, size: int) -> Drawn:
    """A registered name whose entry stands before `size`, if there is one, and one that is not."""
    start = _RANDOM.randbytes(IPV4_BYTES)
    records = reader.list_registrations(start, _DRAWS) or reader.list_registrations(None, _DRAWS)
    questions = []
    listed = [
        Address(entry.key)
        for record in records
        if record.index < size
        for entry in (Entry.decode(record.entry),)
        if Registration.decode(entry.payload).status in (Status.NEW, Status.ACTIVE)
    ]
    if listed:
        questions.append(Question(_RANDOM.choice(listed), True, zone))
    for _ in range(_DRAWS):
        address = Address(_RANDOM.randbytes(IPV4_BYTES))
        if reader.get(Kind.REGISTRATION, address.packed) is None:
            questions.append(Question(address, False, zone))
            break
    return Drawn(tuple(questions))


def reason(error: OSError) -> str:
    """Why nothing was heard, in the system's words: asyncio's own do not say."""
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__


class Prober:
    """Asks from this machine."""

    def __init__(self, port: int, sources: Sequence[Address]) -> None:
        """Every mirror at `port`; from one of `sources`, if there are any of its family."""
        self.port = port
        self._sources = sources
        self._sockets = asyncio.Semaphore(MAX_SOCKETS)

    async def look(self, addresses: Sequence[Address], questions: Sequence[Question]) -> str:
        """The first thing wrong with the answers at any of the addresses; empty if nothing is."""
        return await self._look(addresses, questions, self._exchange)

    async def look_over_tcp(
        self, addresses: Sequence[Address], questions: Sequence[Question]
    ) -> str:
        """The same over TCP (RFC 7766), where `look` asks over UDP."""
        return await self._look(addresses, questions, self._exchange_tcp)

    async def _look(
        self, addresses: Sequence[Address], questions: Sequence[Question], exchange: _Exchange
    ) -> str:
        asked = [self._ask(address, each, exchange) for address in addresses for each in questions]
        faults = [fault for fault in await asyncio.gather(*asked) if fault]
        return faults[0] if faults else ""

    async def _ask(self, address: Address, question: Question, exchange: _Exchange) -> str:
        fault = "no answer"
        for _ in range(ATTEMPTS):
            try:
                async with self._sockets:
                    answer = await exchange(question.query, address)
            except TimeoutError:
                fault = "no answer in time"
            except OSError as error:
                fault = reason(error)
            else:
                fault = question.fault(answer)
                break
        return f"{address}: {fault}" if fault else ""

    async def _exchange(self, query: bytes, address: Address) -> bytes:
        """The first answer with the query's identifier, as it came; TimeoutError, OSError.

        What a mirror sends is read no further than an honest answer can be long.
        """
        loop, source = asyncio.get_running_loop(), self._source(address)
        family = socket.AF_INET if address.family == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)
            if source is not None:
                asking.bind((source, 0))
            asking.connect((str(address), self.port))
            async with asyncio.timeout(ATTEMPT_SECONDS):
                await loop.sock_sendall(asking, query)
                while True:
                    answer = await loop.sock_recv(asking, MAX_ANSWER_BYTES)
                    if answer[:2] == query[:2]:
                        return answer

    async def _exchange_tcp(self, query: bytes, address: Address) -> bytes:
        source = self._source(address)
        async with asyncio.timeout(ATTEMPT_SECONDS):
            reader, writer = await asyncio.open_connection(
                str(address), self.port, local_addr=(source, 0) if source else None
            )
            try:
                writer.write(len(query).to_bytes(LENGTH_BYTES) + query)
                size = int.from_bytes(await reader.readexactly(LENGTH_BYTES))
                return await reader.readexactly(min(size, MAX_ANSWER_BYTES))
            except asyncio.IncompleteReadError:
                raise ConnectionError("closed without an answer") from None
            finally:
                writer.close()

    def _source(self, address: Address) -> str | None:
        fitting = [str(each) for each in self._sources if each.family == address.family]
        return _RANDOM.choice(fitting) if fitting else None
