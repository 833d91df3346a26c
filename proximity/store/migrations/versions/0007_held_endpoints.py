"""A device's address is one person's: it is given to whoever left it last."""

# Not `from __future__ import annotations`: Alembic loads this file under a name that the classes'
# annotations could not be looked up by.
import hashlib
import hmac
import secrets
import time
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_DEVICES = frozenset({"web-push", "fcm", "apns"})
_MOVED = "left by somebody else"


class _Address(NamedTuple):
    channel: str
    address: str


class _Endpoint(msgspec.Struct):
    """What tells an address, as people's records had it at this revision."""

    channel: str
    address: str
    registered_at: float | None = None


class _Record(msgspec.Struct):
    endpoints: list[_Endpoint] = []


def upgrade() -> None:
    """Make the table, and give every device's address to whoever left it last."""
    op.create_table(
        "held_endpoints",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("held_endpoints_by_person", "held_endpoints", ["person"])
    _give(op.get_bind())


def _give(connection: sa.Connection) -> None:
    people: Any = sa.table("people", sa.column("person"), sa.column("record"))
    held = sa.table("held_endpoints", sa.column("hash"), sa.column("person"))
    last: dict[_Address, tuple[float, str]] = {}
    lost: list[tuple[str, _Address]] = []
    some = sa.select(people.c.person, people.c.record).where(
        people.c.record.like('%"endpoints"%')  # most people have none
    )
    for row in connection.execute(some):
        for one, at in _devices(row.record).items():
            mine = (at, row.person)
            other = last.get(one, mine)
            last[one] = max(mine, other)
            if other[1] != row.person:
                lost.append((min(mine, other)[1], one))
    if not last:
        return
    key = _key(connection)
    rows = [{"hash": _hash(key, one), "person": owner} for one, (_, owner) in last.items()]
    connection.execute(held.insert(), rows)
    for person, one in lost:
        _take_out(connection, people, person, one)
        _bury(connection, key, person, one, last[one][0])


def _devices(record: str) -> dict[_Address, float]:
    """Give the addresses of devices in a record, each with when it was left (Unix seconds)."""
    found: dict[_Address, float] = {}
    try:
        said = msgspec.json.decode(record, type=_Record).endpoints
    except msgspec.MsgspecError:
        return found  # whoever reads this person meets it again; the others are not to wait for it
    for one in said:
        if one.channel in _DEVICES:
            key = _Address(one.channel, one.address)
            found[key] = max(one.registered_at or 0.0, found.get(key, 0.0))
    return found


def _take_out(connection: sa.Connection, people: Any, person: str, gone: _Address) -> None:
    mine = people.c.person == person
    text: str = connection.scalars(sa.select(people.c.record).where(mine)).one()
    record = msgspec.json.decode(text)
    record["endpoints"] = [
        one for one in record["endpoints"] if (one["channel"], one["address"]) != gone
    ]
    text = msgspec.json.encode(record).decode()
    connection.execute(people.update().where(mine).values(record=text))


def _bury(connection: sa.Connection, key: bytes, person: str, gone: _Address, at: float) -> None:
    names = ("person", "channel", "hash", "reason", "at")
    table: Any = sa.table("gone_endpoints", *(sa.column(name) for name in names))
    row = {"person": person, "channel": gone.channel, "hash": _hash(key, gone)}
    same = [table.c[name] == value for name, value in row.items()]
    connection.execute(table.delete().where(*same))
    connection.execute(table.insert(), {**row, "reason": _MOVED, "at": at})


def _key(connection: sa.Connection) -> bytes:
    names = ("name", "key", "created_at")
    table: Any = sa.table("store_keys", *(sa.column(name) for name in names))
    key: bytes | None = connection.scalar(sa.select(table.c.key).where(table.c.name == "endpoints"))
    if key is None:
        key = secrets.token_bytes(32)
        row = {"name": "endpoints", "key": key, "created_at": time.time()}
        connection.execute(table.insert(), row)
    return key


def _hash(key: bytes, one: _Address) -> str:
    return hmac.digest(key, f"{one.channel} {one.address}".encode(), hashlib.sha256).hex()
