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

from registry.statistics import DayChange

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
    # Of an e-mail address: see primary.registering.owners.
    Column("mailbox", Text),
    sqlite_with_rowid=False,
)
Index(None, contacts.c.log_index)
# Who has this mailbox: quotas ask.
Index(
    None,
    contacts.c.mailbox,
    sqlite_where=contacts.c.mailbox.is_not(None),
    postgresql_where=contacts.c.mailbox.is_not(None),
)

# Statistics: what each day changed of the registrations of one IP version. Every column but the
# first two adds up: see registry.statistics.DayChange.
days: Final = Table(
    "days",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    *(Column(name, COUNTER, nullable=False) for name in DayChange._fields[2:]),
    sqlite_with_rowid=False,
)

# How many registrations each domain has; none: no row.
domains: Final = Table(
    "domains",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("registrations", COUNTER, nullable=False),
    sqlite_with_rowid=False,
)

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

# Applications: what was asked and is not shown yet. Never in the log; they end or expire.
applications: Final = Table(
    "applications",
    metadata,
    Column("application_id", LargeBinary, primary_key=True),
    Column("purpose", Integer, nullable=False),
    Column("holder_id", LargeBinary, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    # Of a registration; for other purposes empty.
    Column("address", LargeBinary, nullable=False),
    Column("host", Text, nullable=False),
    Column("domain", Text, nullable=False),
    # The contact of a holder to be, as JSON.
    Column("contact", Text, nullable=False),
    # What is to be confirmed; empty if nothing is.
    Column("email", Text, nullable=False),
    Column("address_token", Text, nullable=False),
    Column("email_token_hash", LargeBinary, nullable=False),
    Column("created_ms", COUNTER, nullable=False),
    Column("expires_ms", COUNTER, nullable=False),
    Column("email_confirmed_ms", COUNTER, nullable=False),
    Column("address_proved_ms", COUNTER, nullable=False),
    # Of the e-mail address, what is counted as one.
    Column("mailbox", Text, nullable=False, server_default=""),
    sqlite_with_rowid=False,
)
Index(
    None,
    applications.c.holder_id,
    applications.c.purpose,
    applications.c.address,
    applications.c.domain,
    unique=True,
)
Index(None, applications.c.address)
Index(None, applications.c.domain)
Index(None, applications.c.mailbox)
Index(None, applications.c.address_token)
Index(None, applications.c.email_token_hash)
Index(None, applications.c.expires_ms)

# How the registrations stand that were admitted by proofs: when each is looked at next.
standings: Final = Table(
    "standings",
    metadata,
    # Both: while an address changes hands there are two.
    Column("address", LargeBinary, primary_key=True),
    Column("holder_id", LargeBinary, primary_key=True),
    Column("host", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("address_token", Text, nullable=False),
    # The trial: see primary.registering.schedule.
    Column("started_ms", COUNTER, nullable=False),
    Column("proofs", Integer, nullable=False),
    Column("due_ms", COUNTER, nullable=False),
    Column("look_ms", COUNTER, nullable=False),
    # The last connection from the address that bore the token.
    Column("address_proved_ms", COUNTER, nullable=False),
    # Days on which it did not hold, the last of them, and since when it is lapsed; 0: not.
    Column("failed_days", Integer, nullable=False),
    Column("failed_day", Integer, nullable=False),
    Column("lapsed_ms", COUNTER, nullable=False),
    # When a look last found that all holds; 0: never, or before it was kept.
    Column("verified_ms", COUNTER, nullable=False, server_default="0"),
    # Of the domain, what is counted as one: see primary.registering.owners.
    Column("registrable", Text, nullable=False, server_default=""),
    # Of the trial too: proofs in a row that did not come.
    Column("misses", Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)
Index(None, standings.c.look_ms)
Index(None, standings.c.holder_id)
Index(None, standings.c.domain)
Index(None, standings.c.registrable)
Index(None, standings.c.address_token)
# Few of many.
_FAILING: Final = standings.c.failed_days > 0
_LAPSED: Final = standings.c.lapsed_ms > 0
Index(None, standings.c.failed_days, sqlite_where=_FAILING, postgresql_where=_FAILING)
Index(None, standings.c.lapsed_ms, sqlite_where=_LAPSED, postgresql_where=_LAPSED)

# Letters that wait to be sent; a letter that was sent is forgotten.
letters: Final = Table(
    "letters",
    metadata,
    Column("letter_id", COUNTER, primary_key=True),
    Column("recipient", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_ms", COUNTER, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_ms", COUNTER, nullable=False),
)
Index(None, letters.c.due_ms)

# Who may follow over mutual TLS. Private: what the board decides about mirrors is in the log.
nodes: Final = Table(
    "nodes",
    metadata,
    # As in its certificate, and the SHA-256 of the certificate's key.
    Column("name", Text, primary_key=True),
    Column("key", LargeBinary, nullable=False),
    Column("role", Text, nullable=False),
    Column("operator", Text, nullable=False),
    # What its certificate is good for: addresses and host names, each followed by a newline.
    Column("names", Text, nullable=False),
    Column("joined_ms", COUNTER, nullable=False),
    # 0: never. The last call, and the end of the certificate that it showed.
    Column("seen_ms", COUNTER, nullable=False),
    Column("certificate_ends_ms", COUNTER, nullable=False),
    # 0: it follows. By whom it was removed is for people.
    Column("removed_ms", COUNTER, nullable=False),
    Column("removed_by", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Keys that names of the table above had before they joined with others.
former_keys: Final = Table(
    "former_keys",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("removed_ms", COUNTER, nullable=False),
    sqlite_with_rowid=False,
)

# Permissions to join, each good for one node; the secret itself is only in the token.
join_tokens: Final = Table(
    "join_tokens",
    metadata,
    Column("secret_hash", LargeBinary, primary_key=True),
    # Empty: the node chooses. Of the names as above, likewise.
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("names", Text, nullable=False),
    # host:port, where the node finds the listener for nodes.
    Column("upstream", Text, nullable=False),
    Column("created_ms", COUNTER, nullable=False),
    Column("expires_ms", COUNTER, nullable=False),
    # 0: not. `used_key` is the SHA-256 of the key that joined; another one that came with the same
    # token, contested it.
    Column("revoked_ms", COUNTER, nullable=False),
    Column("used_ms", COUNTER, nullable=False),
    Column("used_key", LargeBinary, nullable=False),
    Column("used_name", Text, nullable=False),
    Column("contested_ms", COUNTER, nullable=False),
    sqlite_with_rowid=False,
)

# One row. `version` rises with every change of `nodes` that matters to those who follow.
membership: Final = Table(
    "membership",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="one_row"), primary_key=True),
    Column("version", COUNTER, nullable=False),
    # Until then a node that is not in the table yet, and whose certificate is good, is taken in.
    Column("adopt_until_ms", COUNTER, nullable=False),
)

# How many complaints there were about a holder's mail server; never what they said.
complaints: Final = Table(
    "complaints",
    metadata,
    Column("address", LargeBinary, primary_key=True),
    Column("holder_id", LargeBinary, primary_key=True),
    Column("number", COUNTER, nullable=False),
    Column("last_ms", COUNTER, nullable=False),
    sqlite_with_rowid=False,
)
