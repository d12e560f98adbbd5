"""The tables. `migrations/` makes them; a test holds the two together."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite stores rows in the order of an "INTEGER PRIMARY KEY", and of no other spelling.
COUNTER: Final = BigInteger().with_variant(Integer, "sqlite")

# Where the log stands, in one row; the guarded update of this row is the fence.
head: Final = Table(
    "head",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="one_row"), primary_key=True),
    Column("size", COUNTER, nullable=False),
    Column("root", LargeBinary, nullable=False),
    # Roots of the perfect subtrees, the largest first, end to end: at `size`, and before the
    # last transaction, so that what it added can be checked against what was signed before.
    Column("compact_range", LargeBinary, nullable=False),
    Column("previous_size", COUNTER, nullable=False),
    Column("previous_range", LargeBinary, nullable=False),
    Column("live_keys", COUNTER, nullable=False),
    Column("state_root", LargeBinary, nullable=False),
    Column("zone_serial", COUNTER, nullable=False),
    # Live keys by kind, so that statistics cost no scan.
    Column("holders", COUNTER, nullable=False),
    Column("registrations", COUNTER, nullable=False),
    Column("committed_ms", COUNTER, nullable=False),
)

entries: Final = Table(
    "entries",
    metadata,
    Column("log_index", COUNTER, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
)

# Boundaries of batches: `size` is the log's after the batch.
batches: Final = Table(
    "batches",
    metadata,
    Column("size", COUNTER, primary_key=True, autoincrement=False),
    Column("start", COUNTER, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("time_ms", COUNTER, nullable=False),
)

# The newest entry of every live key.
records: Final = Table(
    "records",
    metadata,
    Column("state_key", LargeBinary, primary_key=True),
    Column("log_index", COUNTER, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    # Of a registration only.
    Column("holder_id", LargeBinary),
    sqlite_with_rowid=False,
)
Index(
    None,
    records.c.holder_id,
    records.c.state_key,
    sqlite_where=records.c.holder_id.is_not(None),
    postgresql_where=records.c.holder_id.is_not(None),
)

# What the registry knows of a live holder beside its record.
accounts: Final = Table(
    "accounts",
    metadata,
    Column("holder_id", LargeBinary, primary_key=True),
    # SHA-256: enough for a key of 32 random bytes.
    Column("management_key_hash", LargeBinary, nullable=False),
    Column("registrations", COUNTER, nullable=False),
    sqlite_with_rowid=False,
)

# Contact of the live holders. Rows that are not public never leave the primary.
contacts: Final = Table(
    "contacts",
    metadata,
    Column(
        "holder_id",
        LargeBinary,
        ForeignKey("accounts.holder_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("field", Integer, primary_key=True, autoincrement=False),
    Column("salt", LargeBinary, nullable=False),
    Column("value", Text, nullable=False),
    Column("public", Boolean, nullable=False),
    # Index of the entry that carries the commitment.
    Column("log_index", COUNTER, nullable=False),
    sqlite_with_rowid=False,
)
Index(None, contacts.c.log_index)

# What was answered to a change with an idempotency key; pruned by age.
receipts: Final = Table(
    "receipts",
    metadata,
    Column("idempotency_key", LargeBinary, primary_key=True),
    Column("change_digest", LargeBinary, nullable=False),
    Column("log_index", COUNTER, nullable=False),
    Column("time_ms", COUNTER, nullable=False),
    sqlite_with_rowid=False,
)
Index(None, receipts.c.time_ms)
