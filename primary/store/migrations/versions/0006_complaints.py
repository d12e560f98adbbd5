"""How many complaints there were about each mail server."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """One table more."""
    op.create_table(
        "complaints",
        sa.Column("address", sa.LargeBinary, nullable=False),
        sa.Column("holder_id", sa.LargeBinary, nullable=False),
        sa.Column("number", _COUNTER, nullable=False),
        sa.Column("last_ms", _COUNTER, nullable=False),
        sa.PrimaryKeyConstraint("address", "holder_id", name="pk_complaints"),
        sqlite_with_rowid=False,
    )
