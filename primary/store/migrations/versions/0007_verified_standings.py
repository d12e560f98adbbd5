"""When a look last found that all holds of a registration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """One column more; of what was looked at before it is not known."""
    op.add_column(
        "standings", sa.Column("verified_ms", _COUNTER, nullable=False, server_default="0")
    )
