"""A large snapshot is written in pieces, so that others may write between them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table of pieces; snapshots that are there already have none."""
    op.create_table(
        "snapshot_pieces",
        sa.Column("number", _SERIAL, nullable=False),
        sa.Column("position", _SERIAL, nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("snapshot_pieces_by_position", "snapshot_pieces", ["position"])
