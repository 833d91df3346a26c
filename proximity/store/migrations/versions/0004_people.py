"""People, consents that prove themselves, events, visits, stock and erasures."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ADDED = {
    "triggers": ("person", "moment"),
    "sends": ("channel", "system", "moment"),
    "outbox": ("person",),
    "consents": ("precision", "method", "text"),
}


def upgrade() -> None:
    """Make the tables, and the columns by which a person's rows are found."""
    for table, columns in _ADDED.items():
        for name in columns:
            op.add_column(table, sa.Column(name, sa.Text(), nullable=True))
    for table in ("triggers", "outbox"):
        op.create_index(f"{table}_by_person", table, ["person"])
    op.create_index("triggers_by_moment", "triggers", ["moment"])
    _name_people(op.get_bind())
    op.create_table(
        "attributes",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("number", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("person", "name", "item"),
    )
    op.create_index("attributes_by_number", "attributes", ["name", "number"])
    op.create_index("attributes_by_text", "attributes", ["name", "text"])
    _make_consents()
    _make_behaviour()
    _make_the_rest()


def _make_consents() -> None:
    """Make what proves what people said, and the keys."""
    op.create_table(
        "consent_texts",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("benefit", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )
    op.create_table(
        "consent_chain",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            autoincrement=False,
        ),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.Double(), nullable=False),
        sa.Column("erased", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "person_keys",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("person"),
    )
    op.create_table(
        "store_keys",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "objections",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hash", "kind"),
    )
    op.create_table(
        "last_seen",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("day", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("person"),
    )


def _make_behaviour() -> None:
    """Make what people did and where they were."""
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("events_by_name", "events", ["name", "person", "at"])
    op.create_index("events_by_person", "events", ["person", "at"])
    op.create_table(
        "quarantine",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("quarantine_by_person", "quarantine", ["person"])
    op.create_table(
        "visits",
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("enter_at", sa.Double(), nullable=False),
        sa.Column("exit_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("visit"),
    )
    op.create_index("visits_by_person", "visits", ["person", "enter_at"])
    op.create_index("visits_by_place", "visits", ["place", "enter_at"])


def _make_the_rest() -> None:
    """Make stock, erasures and approvals."""
    op.create_table(
        "stocks",
        sa.Column("stock", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("stock", "window"),
    )
    op.create_table(
        "reservations",
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("stock", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("decision", "stock"),
    )
    op.create_table(
        "erasures",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=True),
        sa.Column("pending", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "erasure_notices",
        sa.Column("erasure", sa.Text(), nullable=False),
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("told_at", sa.Double(), nullable=True),
        sa.Column("acknowledged_at", sa.Double(), nullable=True),
        sa.Column("person", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("erasure", "processor"),
    )
    op.create_table(
        "approvals",
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("what", "who"),
    )
    op.create_table(
        "reports",
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("start", sa.Double(), nullable=False),
        sa.Column("rows", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("report", "start"),
    )


def _name_people(connection: sa.Connection) -> None:
    """Say whose the triggers and offers are that wait; what cannot be read stays without."""
    for name, key_name, packed_name in (("triggers", "seq", "trigger"), ("outbox", "key", "offer")):
        key: sa.ColumnClause[Any] = sa.column(key_name)
        packed: sa.ColumnClause[Any] = sa.column(packed_name)
        table = sa.table(name, key, packed, sa.column("person"))
        for row in connection.execute(sa.select(key, packed).select_from(table)).all():
            try:
                whose = msgspec.msgpack.decode(row[1])["person"]
            except (msgspec.DecodeError, KeyError, TypeError):
                continue
            connection.execute(table.update().where(key == row[0]).values(person=whose))
