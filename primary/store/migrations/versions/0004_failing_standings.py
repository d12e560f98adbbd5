"""Which registrations fail, and which have lapsed, without a look at all of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Indexes of few rows each."""
    for column in ("failed_days", "lapsed_ms"):
        few = sa.text(f"{column} > 0")
        op.create_index(
            f"ix_standings_{column}",
            "standings",
            [column],
            sqlite_where=few,
            postgresql_where=few,
        )
