"""One database: how it is opened, so that what is committed is on disk (P1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Dialect, Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from node.files import PRIVATE_MODE
from primary.store.errors import SchemaError, StoreUnavailableError
from primary.store.kept_reader import KeptReader

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"

# How long to wait for another process's lock, or for a connection.
LOCK_SECONDS: Final = 5
CONNECT_SECONDS: Final = 10
# As many as threads of an asyncio executor on a small machine (os.cpu_count() + 4).
MAX_READERS: Final = 8
# Keeps the inner pages of a table of millions in memory.
SQLITE_CACHE_KIB: Final = 64 * 1024
# 32 MiB of WAL before it is copied back: a page that many batches change is copied once.
SQLITE_CHECKPOINT_PAGES: Final = 8192
# A commit's inserts are a statement for each number of rows, to seven tables; and its reads.
SQLITE_STATEMENTS: Final = 1024

# Takes the write lock at once: a transaction never has to be tried again half-way.
_SQLITE_BEGIN: Final = "BEGIN IMMEDIATE"


class Database:
    """The connections to one database: one that writes, and some that read.

    `writing()` is for one thread at a time; `reading()` for any number of threads.
    """

    def __init__(self, url: str) -> None:
        parsed = _parse(url)
        self.kind: Final = parsed.get_backend_name()
        # Of SQLite.
        self.file: Final = Path(parsed.database or "") if self.kind == SQLITE else None
        self._writer = _engine(parsed, connections=1)
        self._readers = _engine(parsed, connections=MAX_READERS)
        self._single = _engine(parsed, connections=1, isolation_level="AUTOCOMMIT")
        self._kept = KeptReader(self._single.raw_connection, self.driver_error)
        if self.kind == SQLITE:
            for engine in (self._writer, self._readers, self._single):
                event.listen(engine, "do_connect", _make_private)
            event.listen(self._writer, "connect", _configure_sqlite_writer)
            event.listen(self._writer, "begin", _begin_sqlite_writer)
            event.listen(self._readers, "begin", _begin_sqlite_reader)
            configure_reader = _configure_sqlite_reader
        else:
            event.listen(self._writer, "connect", _configure_postgresql_writer)
            configure_reader = _configure_postgresql_reader
        for engine in (self._readers, self._single):
            event.listen(engine, "connect", configure_reader)

    @property
    def dialect(self) -> Dialect:
        """What the database speaks, for statements made in advance."""
        return self._writer.dialect

    @property
    def driver_error(self) -> type[Exception]:
        """The base of the driver's errors."""
        error: type[Exception] = self._writer.dialect.loaded_dbapi.Error
        return error

    @property
    def explicit_begin(self) -> str | None:
        """What begins a transaction on the writer's own connection, if the driver does not."""
        return _SQLITE_BEGIN if self.kind == SQLITE else None

    def connect_writer(self) -> PoolProxiedConnection:
        """The driver's connection that writes; `writing` waits for it until it is closed."""
        with translated_errors():
            return self._writer.raw_connection()

    def rows(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        """The rows of one statement that reads and is made for the driver; for any thread.

        On a connection that is kept, for a thirtieth of what `reading` costs.
        StoreUnavailableError when the database refuses.
        """
        try:
            with translated_errors():
                return self._kept.rows(statement, parameters)
        except self.driver_error as error:
            raise refusal(error) from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: committed and on disk at the end, or rolled back.

        StoreUnavailableError when the database refuses; raised by the commit itself, the
        transaction may or may not have happened.
        """
        with translated_errors(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads one state of the database; short, for SQLite cannot
        truncate its WAL under it. StoreUnavailableError when the database refuses.
        """
        with translated_errors(), self._readers.begin() as connection:
            yield connection

    def close(self) -> None:
        """Closes every connection that is not in use."""
        self._kept.close()
        self._single.dispose()
        self._readers.dispose()
        self._writer.dispose()


@contextmanager
def translated_errors() -> Iterator[None]:
    """SQLAlchemy's errors as ours; without values, which may be somebody's contact."""
    try:
        yield
    except SQLAlchemyError as error:
        raise refusal(getattr(error, "orig", None) or error) from error


def refusal(cause: BaseException) -> StoreUnavailableError:
    """The driver's error as ours; its first line only, for PostgreSQL's next ones show values."""
    reason, _, _ = str(cause).partition("\n")
    return StoreUnavailableError(f"the database refused: {reason}")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SchemaError(
            "not a database URL; write sqlite:////path/to/file or postgresql://user@host/name"
        ) from None
    backend = parsed.get_backend_name()
    if backend == SQLITE and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite+pysqlite")
    if backend == POSTGRESQL:
        return parsed.set(drivername="postgresql+psycopg")
    raise SchemaError(f"no database can be kept in {parsed.render_as_string()}")


def _engine(url: URL, connections: int, **options: Any) -> Engine:
    if url.get_backend_name() == SQLITE:
        # A connection serves one thread at a time, but not always the same one.
        options["connect_args"] = {
            "check_same_thread": False,
            "timeout": LOCK_SECONDS,
            "cached_statements": SQLITE_STATEMENTS,
        }
    else:
        options["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
        options["paramstyle"] = "format"
        options["pool_pre_ping"] = True
    return create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=LOCK_SECONDS,
        hide_parameters=True,
        **options,
    )


def _make_private(
    _dialect: Dialect, _record: object, arguments: Sequence[Any], _options: object
) -> None:
    """A new file is its owner's alone: it will hold contact that is not public."""
    with suppress(OSError):
        Path(arguments[0]).touch(mode=PRIVATE_MODE)


def _configure_sqlite(connection: Any, pragmas: tuple[str, ...]) -> None:
    # The driver's own transactions start too late: SELECT stands outside of them.
    connection.isolation_level = None
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def _configure_sqlite_writer(connection: Any, _record: object) -> None:
    _configure_sqlite(
        connection,
        (
            "journal_mode = WAL",
            # FULL syncs the WAL at every commit; NORMAL would not.
            "synchronous = FULL",
            "foreign_keys = ON",
            # What is erased must not stay in free pages (P6).
            "secure_delete = ON",
            f"cache_size = -{SQLITE_CACHE_KIB}",
            f"wal_autocheckpoint = {SQLITE_CHECKPOINT_PAGES}",
        ),
    )


def _configure_sqlite_reader(connection: Any, _record: object) -> None:
    _configure_sqlite(connection, ("query_only = ON",))


def _begin_sqlite_writer(connection: Connection) -> None:
    connection.exec_driver_sql(_SQLITE_BEGIN)


def _begin_sqlite_reader(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _configure_postgresql_writer(connection: Any, _record: object) -> None:
    (fsync,) = connection.execute("SHOW fsync").fetchone()
    if fsync != "on":
        raise SchemaError("the PostgreSQL server runs with fsync = off; switch it on")
    (commit,) = connection.execute("SHOW synchronous_commit").fetchone()
    if commit == "off":
        connection.execute("SET synchronous_commit = on")
    # Everything it reads is found by key. Until a young table is analysed, the planner would
    # rather scan all of it.
    connection.execute("SET enable_seqscan = off")
    # The price the planner puts on a forbidden scan would have it compile every statement.
    connection.execute("SET jit = off")
    connection.commit()


def _configure_postgresql_reader(connection: Any, _record: object) -> None:
    connection.execute("SET default_transaction_isolation = 'repeatable read'")
    connection.execute("SET default_transaction_read_only = on")
    connection.commit()
