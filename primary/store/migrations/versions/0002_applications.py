"""Applications, how admitted registrations stand, and letters that wait."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """From the log and the records alone."""
    op.create_index(
        "ix_contacts_value",
        "contacts",
        ["value"],
        sqlite_where=sa.text("field = 3"),
        postgresql_where=sa.text("field = 3"),
    )
    _create_applications()
    _create_standings()
    _create_letters()


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(name, _COUNTER, nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def _create_applications() -> None:
    op.create_table(
        "applications",
        _bytes("application_id"),
        _number("purpose"),
        _bytes("holder_id"),
        _bytes("key_hash"),
        _bytes("address"),
        _text("host"),
        _text("domain"),
        _text("contact"),
        _text("email"),
        _text("address_token"),
        _bytes("email_token_hash"),
        _counter("created_ms"),
        _counter("expires_ms"),
        _counter("email_confirmed_ms"),
        _counter("address_proved_ms"),
        sa.PrimaryKeyConstraint("application_id", name="pk_applications"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_applications_holder_id_purpose_address_domain",
        "applications",
        ["holder_id", "purpose", "address", "domain"],
        unique=True,
    )
    for column in (
        "address",
        "domain",
        "email",
        "address_token",
        "email_token_hash",
        "expires_ms",
    ):
        op.create_index(f"ix_applications_{column}", "applications", [column])


def _create_standings() -> None:
    op.create_table(
        "standings",
        _bytes("address"),
        _bytes("holder_id"),
        _text("host"),
        _text("domain"),
        _text("address_token"),
        _counter("started_ms"),
        _number("proofs"),
        _counter("due_ms"),
        _counter("look_ms"),
        _counter("address_proved_ms"),
        _number("failed_days"),
        _number("failed_day"),
        _counter("lapsed_ms"),
        sa.PrimaryKeyConstraint("address", "holder_id", name="pk_standings"),
        sqlite_with_rowid=False,
    )
    for column in ("look_ms", "holder_id", "domain", "address_token"):
        op.create_index(f"ix_standings_{column}", "standings", [column])


def _create_letters() -> None:
    op.create_table(
        "letters",
        sa.Column("letter_id", _COUNTER, nullable=False),
        _text("recipient"),
        _text("subject"),
        _text("body"),
        _counter("created_ms"),
        _number("attempts"),
        _counter("due_ms"),
        sa.PrimaryKeyConstraint("letter_id", name="pk_letters"),
    )
    op.create_index("ix_letters_due_ms", "letters", ["due_ms"])
