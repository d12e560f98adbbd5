"""Reads of the database, for any number of threads: each sees one state of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, func, select

from primary.store.database import Database
from primary.store.schema import (
    accounts,
    batches,
    contacts,
    days,
    domains,
    entries,
    head,
    records,
    standings,
)
from primary.store.statements import compile_positional
from primary.store.values import ContactRow, Statistics, StoredBatch, StoredHead, opening_of
from registry.address import Address
from registry.batch import LoggedEntry, Record
from registry.contact import Opening
from registry.entry import MAX_KIND, state_key
from registry.kinds import ContactField, Kind
from registry.limits import HASH_BYTES
from registry.merkle import CompactRange, leaf_hash
from registry.state import State
from registry.state_tree import slot
from registry.statistics import DayChange

# Rows fetched at a time where all are read.
_FETCH_ROWS: Final = 1000

_RECORDS: Final[Select[Any]] = (
    select(records.c.state_key, records.c.log_index, entries.c.entry)
    .join(entries, entries.c.log_index == records.c.log_index)
    .order_by(records.c.state_key)
)
_LAST_LOOK: Final[Select[Any]] = select(standings.c.verified_ms).where(
    standings.c.address == bindparam("of_address"), standings.c.holder_id == bindparam("of_holder")
)
_PUBLIC: Final[Select[Any]] = select(contacts).where(contacts.c.public)


class Reader:
    """Answers from the database. Every method raises StoreUnavailableError when it refuses."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Asked at every question of WHOIS and RDAP.
        self._last_look = compile_positional(
            _LAST_LOOK, database.dialect, ("of_address", "of_holder")
        )

    def head(self) -> StoredHead:
        """Where the log stands."""
        with self._database.reading() as connection:
            return _head(connection)

    def statistics(self) -> Statistics:
        """What is counted of the registry."""
        now = self.head()
        serial = now.state.zone_serial if now.state else 0
        return Statistics(now.size, now.registrations, now.holders, serial, now.committed_ms)

    def days(self) -> list[DayChange]:
        """What each day changed, the oldest first: at most two rows a day."""
        with self._database.reading() as connection:
            query = select(days).order_by(days.c.day, days.c.version)
            return [DayChange(*row) for row in connection.execute(query)]

    def verified_ms(self, address: Address, holder_id: bytes) -> int:
        """When a look last found that all holds of a holder's mail server; 0: not known.

        Milliseconds since 1970. The log tells of few of the looks.
        """
        found = self._database.rows(self._last_look, (address.packed, holder_id))
        return int(found[0][0]) if found else 0

    def domain_registrations(self, domain: str) -> int:
        """How many registrations are of exactly this domain."""
        with self._database.reading() as connection:
            query = select(domains.c.registrations).where(domains.c.domain == domain)
            return connection.scalar(query) or 0

    def get(self, kind: Kind, key: bytes) -> Record | None:
        """The record of a key, with the public openings; None if the key is not live."""
        with self._database.reading() as connection:
            query = _RECORDS.where(records.c.state_key == state_key(kind, key))
            found = _read_records(connection, query)
        return found[0] if found else None

    def get_many(self, kind: Kind, keys: Sequence[bytes]) -> list[Record]:
        """The records of those keys that are live; as many as one statement takes."""
        wanted = [state_key(kind, key) for key in keys]
        with self._database.reading() as connection:
            return _read_records(connection, _RECORDS.where(records.c.state_key.in_(wanted)))

    def all_records(self, kind: Kind) -> list[Record]:
        """Every record of a kind that has few."""
        with self._database.reading() as connection:
            return _read_records(connection, _after(kind, None))

    def records_after(self, kind: Kind, index: int, most: int) -> list[Record]:
        """The oldest records of a kind that has few, of those that the log has after an index."""
        query = _after(kind, None).order_by(None).order_by(records.c.log_index)
        with self._database.reading() as connection:
            return _read_records(connection, query.where(records.c.log_index > index).limit(most))

    def management_keys(self) -> list[tuple[bytes, bytes]]:
        """Every live holder and the hash of its management key; for a recovery."""
        with self._database.reading() as connection:
            query = select(accounts.c.holder_id, accounts.c.management_key_hash)
            return [(row[0], row[1]) for row in connection.execute(query)]

    def all_contacts(self) -> list[tuple[bytes, Opening]]:
        """Every contact field by its holder, what is private included; for a recovery.

        It reads the columns that every schema has: a backup is as old as it is.
        """
        c = contacts.c
        query = select(c.holder_id, c.field, c.salt, c.value)
        with self._database.reading() as connection:
            return [
                (holder_id, Opening(ContactField(field), salt, value))
                for holder_id, field, salt, value in connection.execute(query)
            ]

    def first_size(self) -> int:
        """Where the entries in the database begin: 0, or where a recovered log goes on."""
        with self._database.reading() as connection:
            first: int | None = connection.scalar(select(func.min(batches.c.start)))
        return first or 0

    def list_registrations(
        self, after: bytes | None, limit: int, holder_id: bytes | None = None
    ) -> list[Record]:
        """Registrations behind the address `after`, in the order of their packed addresses."""
        query = _after(Kind.REGISTRATION, after).limit(limit)
        if holder_id is not None:
            query = query.where(records.c.holder_id == holder_id)
        with self._database.reading() as connection:
            return _read_records(connection, query)

    def list_holders(self, after: bytes | None, limit: int) -> list[Record]:
        """Holders behind the identifier `after`, in the order of their identifiers."""
        with self._database.reading() as connection:
            return _read_records(connection, _after(Kind.HOLDER, after).limit(limit))

    def root_at(self, size: int) -> bytes | None:
        """The root hash of the log at that size; None where no batch ends."""
        with self._database.reading() as connection:
            root: bytes | None = connection.scalar(
                select(batches.c.root).where(batches.c.size == size)
            )
        return root

    def entries(self, start: int, count: int) -> list[bytes]:
        """Up to `count` entries from the index `start` on."""
        with self._database.reading() as connection:
            return _entries(connection, start, start + count)

    def leaf_hashes(self, start: int, count: int) -> list[bytes]:
        """The leaf hashes of up to `count` entries from the index `start` on."""
        return [leaf_hash(entry) for entry in self.entries(start, count)]

    def batches_from(self, size: int, limit: int) -> list[StoredBatch]:
        """Up to `limit` batches from the boundary `size` on, the oldest first."""
        with self._database.reading() as connection:
            boundaries = connection.execute(
                select(batches).where(batches.c.size > size).order_by(batches.c.size).limit(limit)
            ).all()
            if not boundaries:
                return []
            start, end = boundaries[0].start, boundaries[-1].size
            logged = _entries(connection, start, end)
            openings = _openings_between(connection, start, end)
        return [
            StoredBatch(
                row.start,
                row.root,
                row.time_ms,
                tuple(
                    LoggedEntry(logged[index - start], openings.get(index, ()))
                    for index in range(row.start, row.size)
                ),
            )
            for row in boundaries
        ]

    def kinds(self) -> list[int]:
        """The kinds of the live keys, in order."""
        found: list[int] = []
        with self._database.reading() as connection:
            while not found or found[-1] < MAX_KIND:
                first = bytes([found[-1] + 1]) if found else b""
                # PostgreSQL has no min of bytes.
                query = select(records.c.state_key).where(records.c.state_key >= first)
                key = connection.scalar(query.order_by(records.c.state_key).limit(1))
                if key is None:
                    break
                found.append(key[0])
        return found

    def records_of(self, kind: int) -> list[tuple[bytes, Record]]:
        """The state keys and records of a kind of which there are few, without openings."""
        query = _RECORDS.where(records.c.state_key >= bytes([kind]))
        if kind < MAX_KIND:
            query = query.where(records.c.state_key < bytes([kind + 1]))
        with self._database.reading() as connection:
            return [(key, Record(index, entry)) for key, index, entry in connection.execute(query)]

    def slots(self) -> Iterator[bytes]:
        """The slots of the state tree, in any order; a long read, for the start only."""
        query = select(records.c.state_key, records.c.log_index, records.c.leaf_hash)
        with self._database.reading() as connection:
            for key, index, leaf in _stream(connection, query):
                yield slot(key, index, leaf)

    @contextmanager
    def snapshot(self) -> Iterator[SnapshotView]:
        """All the records as of one moment. SQLite's WAL grows while it is open."""
        with self._database.reading() as connection:
            now = _head(connection)
            yield SnapshotView(
                now, tuple(_entries(connection, now.previous.size, now.size)), connection
            )


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """The records as of one moment, and the head at that moment; good within its `with` only."""

    head: StoredHead
    # Entries of the last transaction, the state entry last.
    last_entries: tuple[bytes, ...]
    _connection: Connection

    @property
    def state_entry(self) -> bytes:
        """The state entry, the last leaf of the log."""
        return self.last_entries[-1]

    @property
    def audit_path(self) -> tuple[bytes, ...]:
        """The audit path of the state entry."""
        leaves = [leaf_hash(entry) for entry in self.last_entries[:-1]]
        return self.head.previous.extend(leaves).next_audit_path()

    def records(self) -> Iterator[Record]:
        """Every record, by its state key, with the public openings."""
        openings = _HolderOpenings(_stream(self._connection, _PUBLIC.order_by(*_CONTACT_KEY)))
        for key, index, entry in _stream(self._connection, _RECORDS):
            yield Record(index, entry, openings.take(key))


_CONTACT_KEY: Final = (contacts.c.holder_id, contacts.c.field)


class _HolderOpenings:
    """Openings in the order of holders, handed out beside records in the order of state keys."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._groups = groupby(rows, key=itemgetter(0))
        self._next = next(self._groups, None)

    def take(self, record_key: bytes) -> tuple[Opening, ...]:
        """The openings of that record, if they are the next."""
        if self._next is None or record_key != state_key(Kind.HOLDER, self._next[0]):
            return ()
        openings = tuple(opening_of(ContactRow(*row)) for row in self._next[1])
        self._next = next(self._groups, None)
        return openings


def _head(connection: Connection) -> StoredHead:
    row = connection.execute(select(head)).one()
    return StoredHead(
        CompactRange(row.size, _hashes(row.compact_range)),
        CompactRange(row.previous_size, _hashes(row.previous_range)),
        State(row.live_keys, row.state_root, row.zone_serial) if row.size else None,
        row.holders,
        row.registrations,
        row.committed_ms,
    )


def _hashes(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def _after(kind: Kind, key: bytes | None) -> Select[Any]:
    first, end = bytes([kind]), bytes([kind + 1])
    query = _RECORDS.where(records.c.state_key < end)
    return query.where(records.c.state_key > (first if key is None else first + key))


def _read_records(connection: Connection, query: Select[Any]) -> list[Record]:
    rows = connection.execute(query).all()
    holders = [key[1:] for key, _, _ in rows if key[0] == Kind.HOLDER]
    openings = _openings_of(connection, holders) if holders else {}
    return [Record(index, entry, openings.get(index, ())) for _, index, entry in rows]


def _openings_of(
    connection: Connection, holders: Sequence[bytes]
) -> dict[int, tuple[Opening, ...]]:
    return _by_index(connection, _PUBLIC.where(contacts.c.holder_id.in_(holders)))


def _openings_between(
    connection: Connection, start: int, end: int
) -> dict[int, tuple[Opening, ...]]:
    within = (contacts.c.log_index >= start, contacts.c.log_index < end)
    return _by_index(connection, _PUBLIC.where(*within))


def _by_index(connection: Connection, query: Select[Any]) -> dict[int, tuple[Opening, ...]]:
    """Openings by the index of the entry they stand beside."""
    found: dict[int, tuple[Opening, ...]] = {}
    for row in connection.execute(query.order_by(*_CONTACT_KEY)):
        contact = ContactRow(*row)
        found[contact.log_index] = (*found.get(contact.log_index, ()), opening_of(contact))
    return found


def _entries(connection: Connection, start: int, end: int) -> list[bytes]:
    query = (
        select(entries.c.entry)
        .where(entries.c.log_index >= start, entries.c.log_index < end)
        .order_by(entries.c.log_index)
    )
    return list(connection.scalars(query))


def _stream(connection: Connection, query: Select[Any]) -> Iterator[Any]:
    return iter(connection.execute(query, execution_options={"yield_per": _FETCH_ROWS}))
