"""The one writer: reads what a batch needs to know, and appends the batch, in one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Dialect, bindparam, text, update

from primary.store import schema
from primary.store.database import LOCK_SECONDS, SQLITE, Database, refusal
from primary.store.errors import FencedError
from primary.store.statements import (
    Cursor,
    Delete,
    Lookup,
    Put,
    compile_positional,
)
from primary.store.values import (
    AccountRow,
    CommitRows,
    ContactRow,
    Current,
    ReceiptRow,
    StoredHead,
    Wanted,
)

# Each attempt copies what it can of the WAL: not at every commit while a snapshot is read.
SCRUB_PAUSE_SECONDS: Final = 1.0

_HEAD_VALUES: Final = tuple(column.name for column in schema.head.columns if column.name != "id")


class Writer:
    """Writes to the database; for one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements = _Statements(database.dialect)
        self._connection: Any = None
        self._scrub_due = False
        self._scrub_after_seconds = 0.0

    @contextmanager
    def transaction(self) -> Iterator[WriteTransaction]:
        """A transaction: on disk at the end, or rolled back by any exception.

        StoreUnavailableError when the database refuses; it may then have happened, if the
        refusal came at the end. FencedError when another primary wrote since.
        """
        try:
            cursor = self._begin()
            transaction = WriteTransaction(cursor, self._statements)
            yield transaction
            self._connection.commit()
        except self._database.driver_error as error:
            self._give_up()
            raise refusal(error) from error
        except BaseException:
            self._give_up()
            raise
        self._scrub_due |= transaction.erased and self._database.kind == SQLITE
        if self._scrub_due and time.monotonic() >= self._scrub_after_seconds:
            self._scrub(cursor)

    def close(self) -> None:
        """Gives the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _begin(self) -> Any:
        if self._connection is None:
            self._connection = self._database.connect_writer()
        cursor = self._connection.cursor()
        if self._database.explicit_begin:
            cursor.execute(self._database.explicit_begin)
        return cursor

    def _scrub(self, cursor: Any) -> None:
        """Takes what was erased out of the WAL too, which would keep it until it is overwritten.

        While a reader holds the WAL it has to wait, for the commits after this one.
        """
        self._scrub_after_seconds = time.monotonic() + SCRUB_PAUSE_SECONDS
        try:
            cursor.execute("PRAGMA busy_timeout = 0")
            busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            cursor.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000}")
        except self._database.driver_error:
            # The transaction itself is on disk; a fresh connection will try this again.
            self._give_up()
        else:
            self._scrub_due = bool(busy)

    def _give_up(self) -> None:
        """Rolls back by dropping the connection: whatever state it is in, that ends it."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None


class WriteTransaction:
    """What can be done within a writer's transaction; `erased`: whether it erases contact."""

    def __init__(self, cursor: Cursor, statements: _Statements) -> None:
        self._cursor = cursor
        self._statements = statements
        self.erased = False

    def current(self, wanted: Wanted) -> Current:
        """What the database holds of what is wanted."""
        look, cursor = self._statements, self._cursor
        contacts: dict[bytes, list[ContactRow]] = {}
        for row in look.contacts.rows(cursor, wanted.contacts):
            contacts.setdefault(row[0], []).append(ContactRow(*row))
        return Current(
            {
                key: (index, entry)
                for key, index, entry in look.records.rows(cursor, wanted.state_keys)
            },
            {row[0]: AccountRow(*row) for row in look.accounts.rows(cursor, wanted.accounts)},
            contacts,
            {row[0]: ReceiptRow(*row) for row in look.receipts.rows(cursor, wanted.receipts)},
        )

    def append(self, before: StoredHead, after: StoredHead, rows: CommitRows) -> None:
        """Moves the head from `before` to `after` and writes the rows.

        FencedError, and nothing is written, when the log no longer stands at `before`. The two
        are equal when only receipts are kept.
        """
        self._move_head(before, after)
        self.erased |= bool(rows.erased_contacts)
        self.load(rows)

    def load(self, rows: CommitRows) -> None:
        """Writes the rows alone; the head has to be moved with the last of them."""
        write, cursor = self._statements, self._cursor
        write.batches.run(cursor, rows.boundaries)
        write.entries.run(cursor, rows.entries)
        write.ended_records.run(cursor, rows.ended_records)
        write.new_records.run(cursor, rows.records)
        write.erased_contacts.run(cursor, rows.erased_contacts)
        write.ended_accounts.run(cursor, rows.ended_accounts)
        write.new_accounts.run(cursor, rows.accounts)
        write.new_contacts.run(cursor, rows.contacts)
        write.new_receipts.run(cursor, rows.receipts)
        self._add_up(rows)

    def prune_receipts(self, before_ms: int, limit: int) -> int:
        """Forgets the oldest receipts from before that time, `limit` at most; how many."""
        self._cursor.execute(self._statements.prune, (before_ms, limit))
        return self._cursor.rowcount

    def _add_up(self, rows: CommitRows) -> None:
        """Adds to the statistics; the sums of the domains tell how many there are more."""
        write, cursor, tally = self._statements, self._cursor, rows.tally
        more = tally.domains
        sums = write.more_domains.run(cursor, list(more.items()))
        ended = [domain for domain, registrations in sums if not registrations]
        begun = sum(registrations == more[domain] for domain, registrations in sums)
        write.ended_domains.run(cursor, ended)
        tally.count_domains(begun - len(ended), rows.tally_ms)
        write.more_days.run(cursor, tally.changes)

    def _move_head(self, before: StoredHead, after: StoredHead) -> None:
        self._cursor.execute(
            self._statements.move_head,
            (*_head_values(after), before.size, before.root),
        )
        if self._cursor.rowcount != 1:
            raise FencedError(
                f"the database no longer stands at size {before.size}: another primary writes it; "
                "this one stops"
            )


class _Statements:
    """All the writer's statements, for one kind of database."""

    def __init__(self, dialect: Dialect) -> None:
        records, entries = schema.records, schema.entries
        accounts, contacts, receipts = schema.accounts, schema.contacts, schema.receipts
        self.records = Lookup(
            dialect,
            records.join(entries, records.c.log_index == entries.c.log_index),
            (records.c.state_key, records.c.log_index, entries.c.entry),
            records.c.state_key,
        )
        self.accounts = Lookup(dialect, accounts, accounts.columns, accounts.c.holder_id)
        self.contacts = Lookup(dialect, contacts, contacts.columns, contacts.c.holder_id)
        self.receipts = Lookup(dialect, receipts, receipts.columns, receipts.c.idempotency_key)
        self.batches = Put(dialect, schema.batches)
        self.entries = Put(dialect, entries)
        self.new_records = Put(dialect, records, replace=True)
        self.ended_records = Delete(dialect, records, records.c.state_key)
        self.new_accounts = Put(dialect, accounts, replace=True)
        self.ended_accounts = Delete(dialect, accounts, accounts.c.holder_id)
        self.new_contacts = Put(dialect, contacts)
        self.erased_contacts = Delete(dialect, contacts, contacts.c.holder_id)
        self.new_receipts = Put(dialect, receipts)
        self.more_days = Put(dialect, schema.days, add=True)
        self.more_domains = Put(dialect, schema.domains, add=True)
        self.ended_domains = Delete(dialect, schema.domains, schema.domains.c.domain)
        self.move_head = _move_head(dialect)
        self.prune = _prune(dialect)


def _move_head(dialect: Dialect) -> str:
    head = schema.head
    statement = (
        update(head)
        .where(head.c.size == bindparam("old_size"), head.c.root == bindparam("old_root"))
        .values({name: bindparam(f"new_{name}") for name in _HEAD_VALUES})
    )
    parameters = [f"new_{name}" for name in _HEAD_VALUES] + ["old_size", "old_root"]
    return compile_positional(statement, dialect, parameters)


def _prune(dialect: Dialect) -> str:
    # As text: SQLAlchemy adds an OFFSET to a bound LIMIT, and a parameter with it.
    statement = text(
        "DELETE FROM receipts WHERE idempotency_key IN (SELECT idempotency_key FROM receipts"
        " WHERE time_ms < :before_ms ORDER BY time_ms LIMIT :at_most)"
    )
    return compile_positional(statement, dialect, ["before_ms", "at_most"])


def _head_values(head: StoredHead) -> tuple[object, ...]:
    """In the order of the table's columns."""
    state = head.state
    return (
        head.size,
        head.root,
        b"".join(head.compact_range.nodes),
        head.previous.size,
        b"".join(head.previous.nodes),
        state.live_keys if state else 0,
        state.state_root if state else b"",
        state.zone_serial if state else 0,
        head.holders,
        head.registrations,
        head.committed_ms,
    )
