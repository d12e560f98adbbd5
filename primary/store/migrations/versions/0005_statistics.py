"""Statistics by day, and the registrations of each domain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from registry.statistics import tally_log

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_COUNTS = (
    "registered",
    "withdrawn",
    "activated",
    "lapsed",
    "suspended",
    "more_new",
    "more_active",
    "more_lapsed",
    "more_suspended",
    "left",
    "domains",
)
_FETCH_ROWS = 1000


def upgrade() -> None:
    """From a log that nothing was counted of: that is made up for from its entries."""
    days = op.create_table(
        "days",
        sa.Column("day", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer, autoincrement=False, nullable=False),
        *(sa.Column(name, _COUNTER, nullable=False) for name in _COUNTS),
        sa.PrimaryKeyConstraint("day", "version", name="pk_days"),
        sqlite_with_rowid=False,
    )
    domains = op.create_table(
        "domains",
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("registrations", _COUNTER, nullable=False),
        sa.PrimaryKeyConstraint("domain", name="pk_domains"),
        sqlite_with_rowid=False,
    )
    entries = sa.table("entries", sa.column("log_index"), sa.column("entry", sa.LargeBinary))
    query = sa.select(entries.c.entry).order_by(entries.c.log_index)
    rows = op.get_bind().execute(query, execution_options={"yield_per": _FETCH_ROWS})
    tally = tally_log(row[0] for row in rows)
    if tally.changes:
        op.bulk_insert(days, [change._asdict() for change in tally.changes])
        op.bulk_insert(
            domains,
            [{"domain": domain, "registrations": count} for domain, count in tally.domains.items()],
        )
