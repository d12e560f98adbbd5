"""Statements made once from the tables, and run on the driver's own cursor.

For a batch, SQLAlchemy's execution would cost as much as SQLite's work. And each takes all its
rows at once: the driver lets go of the interpreter at every step of SQLite, so that a step a
row would have the writer queue behind a busy event loop once for every row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final, Protocol

from sqlalchemy import (
    ARRAY,
    ClauseElement,
    ColumnElement,
    Dialect,
    Table,
    any_,
    bindparam,
    delete,
    func,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.selectable import FromClause

from primary.store.database import POSTGRESQL
from registry.limits import MAX_ENTRIES_PER_BATCH

Row = tuple[Any, ...]

# Of a statement for SQLite: four full batches. A larger one saves little, and the driver keeps
# the text and the program of each number of rows.
MAX_ROWS: Final = 4 * MAX_ENTRIES_PER_BATCH

# Where SQLAlchemy renders the one parameter that stands for any number.
_ONE: Final = " = ?"


class Cursor(Protocol):
    """What the drivers' cursors have in common (PEP 249)."""

    @property
    def rowcount(self) -> int:
        """Rows that the last statement changed."""

    def execute(self, sql: Any, parameters: Any = ..., /) -> Any:
        """Run a statement."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""


class Lookup:
    """Reads the columns of the rows whose key is among those asked for."""

    def __init__(
        self, dialect: Dialect, source: FromClause, columns: Iterable[Any], key: ColumnElement[Any]
    ) -> None:
        query = select(*columns).select_from(source)
        self._statement = _Keyed(dialect, query.where(_is_among(dialect, key)))

    def rows(self, cursor: Cursor, keys: Sequence[bytes]) -> list[Row]:
        """The rows, in any order; nothing is asked for no keys."""
        if not keys:
            return []
        self._statement.run(cursor, keys)
        return cursor.fetchall()


class Delete:
    """Deletes the rows that have one of the given values in a column."""

    def __init__(self, dialect: Dialect, table: Table, column: ColumnElement[Any]) -> None:
        self._statement = _Keyed(dialect, delete(table).where(_is_among(dialect, column)))

    def run(self, cursor: Cursor, keys: Sequence[bytes | str]) -> None:
        """Delete the rows of all the keys."""
        if keys:
            self._statement.run(cursor, keys)


class Put:
    """Inserts rows, each with the table's columns in their order.

    With `replace`, a row takes the place of the one with the same primary key; with `add`, its
    values are added to that one's.
    """

    def __init__(
        self, dialect: Dialect, table: Table, *, replace: bool = False, add: bool = False
    ) -> None:
        self._arrays = dialect.name == POSTGRESQL
        # Both say it alike, each with a construct of its own.
        statement: Any = (postgresql if self._arrays else sqlite).insert(table)
        if self._arrays:
            # A row at a time costs PostgreSQL twice as much as arrays of columns.
            arrays = [bindparam(column.name, type_=ARRAY(column.type)) for column in table.columns]
            rows = select(text("*")).select_from(func.unnest(*arrays))
            statement = statement.from_select(list(table.columns), rows)
        if replace or add:
            excluded = statement.excluded
            statement = statement.on_conflict_do_update(
                index_elements=list(table.primary_key),
                set_={
                    column.name: column + excluded[column.name] if add else excluded[column.name]
                    for column in table.columns
                    if not column.primary_key
                },
            )
        # Who adds wants to know the sums.
        self._returns = add
        if add:
            statement = statement.returning(*table.columns)
        self._sql = _binary(_compile(statement, dialect))
        self._row = f"({', '.join('?' for _ in table.columns)})"

    def run(self, cursor: Cursor, rows: Sequence[Row]) -> list[Row]:
        """Insert all the rows; with `add`, how they stand then, in any order."""
        if not rows:
            return []
        if self._arrays:
            cursor.execute(self._sql, [list(column) for column in zip(*rows, strict=True)])
            return cursor.fetchall() if self._returns else []
        stand: list[Row] = []
        for start in range(0, len(rows), MAX_ROWS):
            some = rows[start : start + MAX_ROWS]
            values = f"VALUES {', '.join([self._row] * len(some))}"
            sql = self._sql.replace(f"VALUES {self._row}", values)
            cursor.execute(sql, list(chain.from_iterable(some)))
            if self._returns:
                stand += cursor.fetchall()
        return stand


class _Keyed:
    """A statement on the rows that have one of any number of keys."""

    def __init__(self, dialect: Dialect, statement: ClauseElement) -> None:
        self._array = dialect.name == POSTGRESQL
        self._sql = _binary(_compile(statement, dialect))

    def run(self, cursor: Cursor, keys: Sequence[bytes | str]) -> None:
        if self._array:
            cursor.execute(self._sql, (list(keys),))
        else:
            among = f" IN ({', '.join('?' * len(keys))})"
            cursor.execute(self._sql.replace(_ONE, among), keys)


def compile_positional(
    statement: ClauseElement, dialect: Dialect, parameters: Sequence[str]
) -> str:
    """The statement's text for the driver, whose parameters come in this order."""
    compiled: Any = statement.compile(dialect=dialect)
    if compiled.positiontup != list(parameters):
        raise AssertionError(f"parameters come as {compiled.positiontup}")
    return str(compiled)


def _is_among(dialect: Dialect, column: ColumnElement[Any]) -> ColumnElement[bool]:
    if dialect.name == POSTGRESQL:
        return column == any_(bindparam("keys", type_=ARRAY(column.type)))
    return column == bindparam("key")


def _compile(statement: ClauseElement, dialect: Dialect) -> str:
    return str(statement.compile(dialect=dialect))


def _binary(sql: str) -> str:
    """With parameters in binary: psycopg writes arrays as text, which costs both sides more."""
    return sql.replace("%s", "%b")
