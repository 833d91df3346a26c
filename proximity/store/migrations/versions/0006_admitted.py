"""What was admitted lately is kept packed, for a start that need not read record by record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table; the rows of the journal that it does not cover are read as before."""
    op.create_table(
        "admitted",
        sa.Column("position", _SERIAL, nullable=False, autoincrement=False),
        sa.Column("now", sa.Double(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
