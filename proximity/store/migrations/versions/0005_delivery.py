"""Offers as their readers find them, endpoints that are gone, preferences that can be searched."""

# Not `from __future__ import annotations`: Alembic loads this file under a name that the classes'
# annotations could not be looked up by.
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class _Preference(msgspec.Struct):
    """What of a preference can be searched, as people's records had it at this revision."""

    allow: bool
    topic: str | None = None
    channel: str | None = None
    place: str | None = None
    hours: Any = None


class _Record(msgspec.Struct):
    preferences: list[_Preference] = []


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "wishes",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("allow", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("person", "number"),
    )
    _fill_wishes(op.get_bind())
    op.create_table(
        "offers",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("offer", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed", _SERIAL, nullable=False),
        sa.Column("in_inbox", sa.Integer(), nullable=False),
        sa.Column("read_at", sa.Double(), nullable=True),
        sa.Column("redeemed_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("offers_by_person", "offers", ["person", "changed"])
    op.create_index("offers_by_changed", "offers", ["changed"])
    op.create_table(
        "codes",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("code"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("codes_by_person", "codes", ["person"])
    op.create_table(
        "gone_endpoints",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("person", "channel", "hash"),
    )
    op.create_table(
        "outbound",
        sa.Column("subscriber", sa.Text(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("position", _SERIAL, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("failing_since", sa.Double(), nullable=True),
        sa.Column("moved_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("subscriber", "feed"),
    )
    _make_sync()
    _by_channel()


def _make_sync() -> None:
    """Make what keeps people alike here and elsewhere."""
    op.create_table(
        "changes",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("seq", _SERIAL, nullable=False),
        sa.Column("clocks", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("person"),
    )
    op.create_index("changes_by_seq", "changes", ["seq"])
    op.create_table(
        "peers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("heard_at", sa.Double(), nullable=False),
        sa.Column("position", sa.Text(), nullable=True),
        sa.Column("cursor", _SERIAL, nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "messages",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("peer", "id"),
    )
    op.create_index("messages_by_at", "messages", ["at"])


def _by_channel() -> None:
    """Let the outbox tell what waits for each channel, and what has another one left."""
    for name in ("onward", "doubt"):
        op.add_column("outbox", sa.Column(name, sa.Integer(), nullable=True))
    op.drop_index("outbox_by_next", "outbox")
    op.create_index("outbox_by_channel", "outbox", ["channel", "attempts", "next_at", "onward"])


def _fill_wishes(connection: sa.Connection) -> None:
    """Write down what people want, as their records have it, so that it can be searched."""
    names = ("topic", "channel", "place")
    wishes = sa.table(
        "wishes", *(sa.column(name) for name in ("person", "number", *names, "allow"))
    )
    people: Any = sa.table("people", sa.column("person"), sa.column("record"))
    for row in connection.execute(sa.select(people.c.person, people.c.record)).all():
        try:
            said = msgspec.json.decode(row.record, type=_Record).preferences
        except msgspec.MsgspecError:
            continue  # whoever reads this person meets it again; the others are not to wait for it
        rows = [
            {
                "person": row.person,
                "number": number,
                **{name: getattr(one, name) for name in names},
                "allow": int(one.allow),
            }
            for number, one in enumerate(said)
            if one.hours is None
        ]
        if rows:
            connection.execute(wishes.insert(), rows)
