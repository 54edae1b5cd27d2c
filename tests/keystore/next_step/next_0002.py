"""A second step such as there will be: it adds, and an older version works with what comes of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_0001"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column of a table that is not sealed, an index, and a table."""
    op.add_column("log_entries", sa.Column("added_later", sa.Text(), nullable=True))
    op.create_index("log_entries_by_what_was_added", "log_entries", ["added_later"])
    op.create_table("added_later", sa.Column("id", sa.Text(), primary_key=True), sa.Column("told", sa.Text()))
