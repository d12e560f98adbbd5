"""What quotas count as one: registrable domains, and mailboxes however they are spelled."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

from primary.registering.owners import canonical_mailbox, registrable_domain

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Of contacts, e-mail addresses; written out, for only so SQLite takes the index of these.
_EMAILS = sa.text("field = 3")
# Values that are read at a time.
_STEP = 10_000

_STANDINGS = sa.table("standings", sa.column("domain"), sa.column("registrable"))
_APPLICATIONS = sa.table("applications", sa.column("email"), sa.column("mailbox"))
_CONTACTS = sa.table("contacts", sa.column("value"), sa.column("mailbox"))


def upgrade() -> None:
    """Three columns more, filled from what stands beside them, each with its index."""
    op.add_column("standings", sa.Column("registrable", sa.Text, nullable=False, server_default=""))
    op.add_column("applications", sa.Column("mailbox", sa.Text, nullable=False, server_default=""))
    op.add_column("contacts", sa.Column("mailbox", sa.Text))
    _fill(_STANDINGS, "domain", "registrable", registrable_domain)
    _fill(_APPLICATIONS, "email", "mailbox", canonical_mailbox)
    _fill(_CONTACTS, "value", "mailbox", canonical_mailbox, _EMAILS)
    op.create_index("ix_standings_registrable", "standings", ["registrable"])
    op.create_index("ix_applications_mailbox", "applications", ["mailbox"])
    op.drop_index("ix_applications_email", "applications")
    is_mailbox = sa.text("mailbox IS NOT NULL")
    op.create_index(
        "ix_contacts_mailbox",
        "contacts",
        ["mailbox"],
        sqlite_where=is_mailbox,
        postgresql_where=is_mailbox,
    )
    op.drop_index("ix_contacts_value", "contacts")


def _fill(
    table: sa.TableClause,
    source_name: str,
    target_name: str,
    canonical: Callable[[str], str],
    *conditions: sa.TextClause,
) -> None:
    """In one pass over the rows: what is not as its source is looked up for each."""
    connection, source = op.get_bind(), table.c[source_name]
    others = _others(connection)
    query = sa.select(source).distinct().where(*conditions)
    found = connection.execute(query, execution_options={"yield_per": _STEP})
    for values in found.scalars().partitions():
        pairs = ((value, canonical(value)) for value in values)
        if rows := [{"source": value, "one": one} for value, one in pairs if one != value]:
            connection.execute(others.insert(), rows)
    other = sa.select(others.c.one).where(others.c.source == source).scalar_subquery()
    filled = {target_name: sa.func.coalesce(other, source)}
    connection.execute(sa.update(table).where(*conditions).values(filled))
    others.drop(connection)


def _others(connection: sa.Connection) -> sa.Table:
    """A table for this transaction; not a temporary one, whose file may be anywhere (P6)."""
    others = sa.Table(
        "others",
        sa.MetaData(),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("one", sa.Text, nullable=False),
    )
    others.create(connection)
    return others
