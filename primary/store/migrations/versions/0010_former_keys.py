"""Keys that nodes had before they joined with others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """One table more; of keys that were replaced before it is not known."""
    op.create_table(
        "former_keys",
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("removed_ms", _COUNTER, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_former_keys"),
        sqlite_with_rowid=False,
    )
