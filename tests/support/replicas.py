"""A builder's log as a replica: put into a view, or into etcd as a follower puts it."""

from __future__ import annotations

from registry.batch import Batch, Record
from registry.entry import Entry
from registry.kinds import Operation
from secondary.cursor import Cursor
from secondary.etcd import EtcdStore
from secondary.etcd_values import Put
from secondary.layout import Generation, Layout
from secondary.trust import Trust
from secondary.view import View
from tests.support.boards import roots_of
from tests.support.log_builder import LogBuilder

LAYOUT = Layout("/smtpnic")


def cursor_of(log: LogBuilder, fresh_s: int | None = None) -> bytes:
    """The cursor at the end of the log; with a freshness cosignature of that time, if given."""
    freshness = b"" if fresh_s is None else log.freshness(fresh_s)
    return Cursor(log.signed_state(), log.compact_range.nodes, freshness).encode()


def trust_in(log: LogBuilder) -> Trust:
    """Trust in the builder's keys."""
    return Trust(roots_of(log))


def fill_view(view: View, log: LogBuilder, fresh_s: int | None = None) -> None:
    """Puts all that the log adds up to into a view, as a reader would."""
    for state_key, record in log.records.items():
        entry = Entry.decode(record.entry)
        view.put(state_key, entry.payload, Record(record.index, record.entry).encode())
        if record.openings:
            view.put_openings(state_key, Record(0, b"", record.openings).encode())
    view.advance(trust_in(log).open(cursor_of(log, fresh_s)))


class StoredLog:
    """The builder's log in etcd, with no fence and no doubt.

    Its cursors carry a freshness cosignature of `fresh_s`, if that is given.
    """

    def __init__(
        self, store: EtcdStore, log: LogBuilder, generation: int = 1, fresh_s: int | None = None
    ) -> None:
        self.store = store
        self.log = log
        self.fresh_s = fresh_s
        self.generation: Generation = LAYOUT.generation(generation)

    def put_all(self) -> None:
        """Writes every record, the cursor, and that the generation is the current one."""
        puts: list[Put] = []
        for state_key, record in self.log.records.items():
            puts += self._puts(state_key, record)
        self.store.put_all(puts)
        number = b"%d" % self.generation.number
        self.store.txn([], [(self.generation.cursor, self._cursor()), (LAYOUT.current, number)])

    def apply(self, batch: Batch) -> int:
        """Writes the batch that the log committed last, in one transaction; its revision."""
        puts: dict[bytes, bytes] = {self.generation.cursor: self._cursor()}
        deletes: set[bytes] = set()
        for index, logged in enumerate(batch.entries[:-1], batch.start):
            entry = Entry.decode(logged.entry)
            key = entry.state_key
            if entry.operation is Operation.DELETE:
                deletes |= {self.generation.record(key), self.generation.openings(key)}
            else:
                puts |= self._puts(key, Record(index, logged.entry, logged.openings))
        return self.store.txn([], puts.items(), deletes - puts.keys())

    def put_cursor(self) -> int:
        """Writes the cursor again, at the same size; its revision."""
        return self.store.txn([], [(self.generation.cursor, self._cursor())])

    def _cursor(self) -> bytes:
        return cursor_of(self.log, self.fresh_s)

    def _puts(self, state_key: bytes, record: Record) -> list[Put]:
        puts = [(self.generation.record(state_key), Record(record.index, record.entry).encode())]
        if record.openings:
            openings = Record(0, b"", record.openings).encode()
            puts.append((self.generation.openings(state_key), openings))
        return puts
