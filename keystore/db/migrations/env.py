"""Alembic's entry point: runs the history on the connection that `keystore.db.migration` hands over."""

from __future__ import annotations

from alembic import context

from keystore.db.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
