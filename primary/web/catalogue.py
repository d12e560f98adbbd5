"""What the pages read of the register."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from node.resolving import Resolvers
from node.workers import Workers
from primary.desk.book import Book
from primary.store.reader import Reader
from primary.store.values import Statistics
from primary.web.spelling import Spelled, spelled
from registry.address import Address
from registry.batch import Record
from registry.board_text import SignedText
from registry.contact import Opening
from registry.decision import Decision
from registry.entry import Entry
from registry.errors import MalformedError, Problem, RegistryError
from registry.kinds import Kind, Status
from registry.names import parse_domain
from registry.registration import Registration
from registry.statistics import DayChange

# Mail servers that one name leads to; big providers have dozens, and a person wants a few.
MAX_FOUND: Final = 12
MAX_EXCHANGERS: Final = 4
ROWS_A_PAGE: Final = 100
# Names that are looked up at once, each by two queries of every resolver: most of the sockets are
# left to who registers (node.resolving.MAX_SOCKETS).
MAX_SEEKS: Final = 16
# So that it takes more than three clients to keep all others from looking.
MAX_SEEKS_A_CLIENT: Final = 4
# A name whose servers do not answer keeps nobody else from looking for longer.
SEEK_SECONDS: Final = 10.0


class SearchBusyError(RegistryError):
    """As many names are looked up as may be; try again a little later."""


class SearchShareError(RegistryError):
    """As many names are looked up for this client as may be; try again a little later."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A registration for people. Times are milliseconds since 1970."""

    address: Address
    registration: Registration
    version: int
    updated_ms: int
    entry: bytes

    @property
    def host(self) -> Spelled:
        """Its host name."""
        return spelled(self.registration.host)

    @property
    def domain(self) -> Spelled:
        """Its domain."""
        return spelled(self.registration.domain)

    @property
    def status(self) -> str:
        """Its status, in one word."""
        return self.registration.status.name.lower()

    @property
    def is_found(self) -> bool:
        """Whether receivers find it in DNS."""
        return self.registration.status in (Status.NEW, Status.ACTIVE)


@dataclass(frozen=True, slots=True)
class Sought:
    """One address that a name led to, and the registration there."""

    address: Address
    why: str
    listed: Listed | None


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision of the board."""

    index: int
    time_ms: int
    act: str
    reason: str
    signers: tuple[str, ...]


class Catalogue:
    """Reads for pages; StoreUnavailableError when the database refuses."""

    def __init__(
        self, reader: Reader, pool: Workers, book: Book, clerk: Workers, resolvers: Resolvers
    ) -> None:
        """`clerk` is the one thread that may use the book."""
        self._reader = reader
        self._pool = pool
        self._book = book
        self._clerk = clerk
        self._resolvers = resolvers
        self._seeks_of: Counter[str] = Counter()

    async def registration(self, address: Address) -> Listed | None:
        """The registration of an address."""
        record = await self._pool.run(self._reader.get, Kind.REGISTRATION, address.packed)
        return _listed(record) if record else None

    async def verified_ms(self, listed: Listed) -> int:
        """When its proofs were last seen to hold; 0: not known."""
        logged = listed.registration
        looked_ms = await self._pool.run(self._reader.verified_ms, listed.address, logged.holder_id)
        return max(logged.verified_ms, looked_ms)

    async def contact(self, holder_id: bytes) -> tuple[Opening, ...]:
        """What a holder shows of its contact."""
        record = await self._pool.run(self._reader.get, Kind.HOLDER, holder_id)
        return record.openings if record else ()

    async def of_holder(self, holder_id: bytes, after: bytes | None) -> list[Listed]:
        """A page of a holder's registrations."""
        records = await self._pool.run(
            self._reader.list_registrations, after, ROWS_A_PAGE, holder_id
        )
        return [_listed(record) for record in records]

    async def statistics(self) -> Statistics:
        """What is counted of the register."""
        return await self._pool.run(self._reader.statistics)

    async def days(self) -> list[DayChange]:
        """What each day changed of the registrations."""
        return await self._pool.run(self._reader.days)

    async def decisions(self) -> list[Decided]:
        """What the board decided, the newest first."""
        records = await self._pool.run(self._reader.all_records, Kind.DECISION)
        decided = [_decided(record) for record in records]
        return sorted(decided, key=lambda one: one.index, reverse=True)

    async def seek(self, domain: str, client: str) -> list[Sought]:
        """The mail servers of a domain, or of a host: registered ones, and where its mail goes.

        As far as names are known in time. `client` is who asks, as of `client_network`. Problem
        "domain": no such name can be. SearchShareError, SearchBusyError: the client, or others
        with it, look already, and their number is limited.
        """
        name = parse_domain(domain, "q")
        found: dict[Address, str] = {}
        for address in await self._clerk.run(self._book.standings.addresses_of, name, MAX_FOUND):
            found[address] = f"registered for {name}"
        with self._place_of(client), suppress(TimeoutError):
            async with asyncio.timeout(SEEK_SECONDS):
                await self._follow(name, found)
        return [
            Sought(address, why, await self.registration(address))
            for address, why in list(found.items())[:MAX_FOUND]
        ]

    @contextmanager
    def _place_of(self, client: str) -> Iterator[None]:
        if self._seeks_of[client] >= MAX_SEEKS_A_CLIENT:
            raise SearchShareError(f"{MAX_SEEKS_A_CLIENT} names are looked up for this client")
        if self._seeks_of.total() >= MAX_SEEKS:
            raise SearchBusyError("as many names are looked up as may be")
        self._seeks_of[client] += 1
        try:
            yield
        finally:
            self._seeks_of[client] -= 1
            if not self._seeks_of[client]:
                del self._seeks_of[client]

    async def _follow(self, name: str, found: dict[Address, str]) -> None:
        """Adds where the name leads to, and where its mail goes."""
        answer = await self._resolvers.ask(name, "MX")
        exchangers = sorted(answer.values, key=_preference)[:MAX_EXCHANGERS]
        for host in [*(_exchanger(text) for text in exchangers), name]:
            why = f"takes mail for {name}" if host != name else name
            for address in await self._addresses(host):
                found.setdefault(address, why if host == name else f"{host} {why}")

    async def _addresses(self, host: str) -> Sequence[Address]:
        answers = await asyncio.gather(
            *(self._resolvers.ask(host, type_) for type_ in ("A", "AAAA"))
        )
        texts = [text for answer in answers for text in sorted(answer.values)]
        return [address for text in texts if (address := _address(text)) is not None]


def _address(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except Problem:
        return None


def _preference(text: str) -> tuple[int, str]:
    number, _, host = text.partition(" ")
    return (int(number) if number.isdigit() else 0, host)


def _exchanger(text: str) -> str:
    return text.partition(" ")[2].rstrip(".").lower()


def _listed(record: Record) -> Listed:
    entry = Entry.decode(record.entry)
    return Listed(
        Address(entry.key),
        Registration.decode(entry.payload),
        record.index,
        entry.time_ms,
        record.entry,
    )


def _decided(record: Record) -> Decided:
    entry = Entry.decode(record.entry)
    text = SignedText.parse(entry.payload)
    try:
        decision = Decision.parse(text.text)
        act, reason = decision.act.line(), decision.reason
    except MalformedError:
        act, reason = "a decision of a form that this program does not know", ""
    names = tuple(signature.name for signature in text.signatures)
    return Decided(record.index, entry.time_ms, act, reason, names)
