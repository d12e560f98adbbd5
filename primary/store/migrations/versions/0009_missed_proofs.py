"""How many proofs of the first week did not come, one after another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One column more; what did not come before it is forgiven."""
    op.add_column("standings", sa.Column("misses", sa.Integer, nullable=False, server_default="0"))
