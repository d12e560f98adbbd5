"""A connection that stays open, for what is asked so often that a pool would cost the most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from sqlalchemy import PoolProxiedConnection


class KeptReader:
    """Runs single statements that read, each a transaction of its own; for any thread."""

    def __init__(
        self, connect: Callable[[], PoolProxiedConnection], driver_error: type[Exception]
    ) -> None:
        """`connect` gives connections that commit by themselves.

        Whatever it raises, and the driver's errors, come out of `rows`.
        """
        self._connect = connect
        self._driver_error = driver_error
        self._connection: PoolProxiedConnection | None = None
        # One after another: SQLite cannot truncate its WAL while any statement reads.
        self._lock = Lock()

    def rows(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        """All the rows of a statement that is made for the driver."""
        with self._lock:
            if self._connection is not None:
                try:
                    return _rows(self._connection, statement, parameters)
                except self._driver_error:
                    # The server may have closed it since, as when it was started again.
                    self._drop()
            self._connection = self._connect()
            try:
                return _rows(self._connection, statement, parameters)
            except self._driver_error:
                self._drop()
                raise

    def close(self) -> None:
        """Closes the connection; the next statement would make another."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None


def _rows(
    connection: PoolProxiedConnection, statement: str, parameters: Sequence[Any]
) -> list[Any]:
    cursor = connection.cursor()
    cursor.execute(statement, parameters)
    return list(cursor.fetchall())
