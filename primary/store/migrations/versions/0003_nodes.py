"""Nodes, and the tokens that they join with."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
# Nodes of a registry that is older than this table come by themselves, within a month.
_ADOPTION_MS = 30 * 86_400_000


def upgrade() -> None:
    """From a primary that knew its nodes by their certificates alone."""
    _create_nodes()
    _create_tokens()
    membership = op.create_table(
        "membership",
        _number("id"),
        _counter("version"),
        _counter("adopt_until_ms"),
        sa.PrimaryKeyConstraint("id", name="pk_membership"),
        sa.CheckConstraint("id = 1", name="ck_membership_one_row"),
    )
    is_older = op.get_bind().scalar(sa.text("SELECT count(*) FROM entries WHERE log_index = 0"))
    until = time.time_ns() // 1_000_000 + _ADOPTION_MS if is_older else 0
    op.bulk_insert(membership, [{"id": 1, "version": 1, "adopt_until_ms": until}])


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(name, _COUNTER, nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def _create_nodes() -> None:
    op.create_table(
        "nodes",
        _text("name"),
        _bytes("key"),
        _text("role"),
        _text("operator"),
        _text("names"),
        _counter("joined_ms"),
        _counter("seen_ms"),
        _counter("certificate_ends_ms"),
        _counter("removed_ms"),
        _text("removed_by"),
        sa.PrimaryKeyConstraint("name", name="pk_nodes"),
        sqlite_with_rowid=False,
    )


def _create_tokens() -> None:
    op.create_table(
        "join_tokens",
        _bytes("secret_hash"),
        _text("name"),
        _text("role"),
        _text("operator"),
        _text("names"),
        _text("upstream"),
        _counter("created_ms"),
        _counter("expires_ms"),
        _counter("revoked_ms"),
        _counter("used_ms"),
        _bytes("used_key"),
        _text("used_name"),
        _counter("contested_ms"),
        sa.PrimaryKeyConstraint("secret_hash", name="pk_join_tokens"),
        sqlite_with_rowid=False,
    )
