"""The log, the current records, the holders' private part and the receipts."""

from __future__ import annotations

from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """From an empty database."""
    _create_log()
    _create_records()
    _create_private()


def _create_log() -> None:
    head = op.create_table(
        "head",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("size", _COUNTER, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("compact_range", sa.LargeBinary, nullable=False),
        sa.Column("previous_size", _COUNTER, nullable=False),
        sa.Column("previous_range", sa.LargeBinary, nullable=False),
        sa.Column("live_keys", _COUNTER, nullable=False),
        sa.Column("state_root", sa.LargeBinary, nullable=False),
        sa.Column("zone_serial", _COUNTER, nullable=False),
        sa.Column("holders", _COUNTER, nullable=False),
        sa.Column("registrations", _COUNTER, nullable=False),
        sa.Column("committed_ms", _COUNTER, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_head"),
        sa.CheckConstraint("id = 1", name=op.f("ck_head_one_row")),
    )
    op.create_table(
        "entries",
        sa.Column("log_index", _COUNTER, autoincrement=False, nullable=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("log_index", name="pk_entries"),
    )
    op.create_table(
        "batches",
        sa.Column("size", _COUNTER, autoincrement=False, nullable=False),
        sa.Column("start", _COUNTER, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("time_ms", _COUNTER, nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_batches"),
    )
    op.bulk_insert(head, [_empty_head()])


def _empty_head() -> dict[str, object]:
    """A log without entries; its state root stands in no entry yet."""
    return {
        "id": 1,
        "size": 0,
        "root": sha256(b"").digest(),
        "compact_range": b"",
        "previous_size": 0,
        "previous_range": b"",
        "live_keys": 0,
        "state_root": b"",
        "zone_serial": 0,
        "holders": 0,
        "registrations": 0,
        "committed_ms": 0,
    }


def _create_records() -> None:
    op.create_table(
        "records",
        sa.Column("state_key", sa.LargeBinary, nullable=False),
        sa.Column("log_index", _COUNTER, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("holder_id", sa.LargeBinary),
        sa.PrimaryKeyConstraint("state_key", name="pk_records"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_records_holder_id_state_key",
        "records",
        ["holder_id", "state_key"],
        sqlite_where=sa.text("holder_id IS NOT NULL"),
        postgresql_where=sa.text("holder_id IS NOT NULL"),
    )


def _create_private() -> None:
    op.create_table(
        "accounts",
        sa.Column("holder_id", sa.LargeBinary, nullable=False),
        sa.Column("management_key_hash", sa.LargeBinary, nullable=False),
        sa.Column("registrations", _COUNTER, nullable=False),
        sa.PrimaryKeyConstraint("holder_id", name="pk_accounts"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "contacts",
        sa.Column("holder_id", sa.LargeBinary, nullable=False),
        sa.Column("field", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("public", sa.Boolean, nullable=False),
        sa.Column("log_index", _COUNTER, nullable=False),
        sa.PrimaryKeyConstraint("holder_id", "field", name="pk_contacts"),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["accounts.holder_id"], name="fk_contacts_holder_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_contacts_log_index", "contacts", ["log_index"])
    op.create_table(
        "receipts",
        sa.Column("idempotency_key", sa.LargeBinary, nullable=False),
        sa.Column("change_digest", sa.LargeBinary, nullable=False),
        sa.Column("log_index", _COUNTER, nullable=False),
        sa.Column("time_ms", _COUNTER, nullable=False),
        sa.PrimaryKeyConstraint("idempotency_key", name="pk_receipts"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_receipts_time_ms", "receipts", ["time_ms"])
