"""Alembic's entry: runs the revisions on the connection that ``upgrade`` was given."""

from __future__ import annotations

from alembic import context

from proximity.store import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    render_as_batch=True,  # SQLite changes a table by making it anew
)
context.run_migrations()
