"""The journal on disk: rows in order, snapshots that cover them, and the fences and site in force.

The journal is the only input of the engine, so what is kept here is enough to rebuild its state.
Knows how rows are written and read; what a row does to the engine is ``ingest.fold``'s to know.
Every function works on the connection of the caller's transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
import sqlalchemy as sa

from proximity.model import Event, Fix, Record, Sighting, digest
from proximity.store import schema
from proximity.store.ledger import insert_new

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

Kind = Literal["records", "tick", "fences", "site", "enrolments", "forget"]

EntryKind = Literal["place", "gateway", "beacon"]
Entries = dict[tuple[EntryKind, str], str]
"""The records of all that is enrolled over HTTP, by kind and id."""

# Rows are read in pages, so that a start needs memory for a page and not for an hour of records.
# The first ones are small: a row may hold a thousand records, and few are often all that is wanted.
_FIRST_PAGE, _PAGE = 4, 200

_TYPES: dict[str, type[Record]] = {"fix": Fix, "sighting": Sighting, "event": Event}
_NAMES = {type_: name for name, type_ in _TYPES.items()}
_DECODERS = {name: msgspec.msgpack.Decoder(type_) for name, type_ in _TYPES.items()}
_tagged = msgspec.msgpack.Decoder(list[tuple[str, msgspec.Raw]])
_encode = msgspec.msgpack.Encoder().encode

# Made once: they are asked all the time, and building one costs as much as running it.
_INSERT = schema.journal.insert()
_AFTER = (
    sa.select(schema.journal)
    .where(schema.journal.c.position > sa.bindparam("after"))
    .order_by(schema.journal.c.position)
    .limit(sa.bindparam("most"))
)
_GREATEST = {
    column: sa.select(sa.func.max(column))
    for column in (schema.journal.c.position, schema.snapshots.c.position, schema.snapshots.c.now)
}
# A row's time never falls, so that the last one's is the latest: nothing sorts rows by their time,
# and asking each of an hour of them is a quarter of a second of a start.
_LAST_NOW = sa.select(schema.journal.c.now).order_by(schema.journal.c.position.desc()).limit(1)
_READ_META = sa.select(schema.meta.c.value).where(schema.meta.c.key == sa.bindparam("fact"))
_KEPT = sa.select(schema.snapshots.c.position).order_by(schema.snapshots.c.position.desc()).limit(2)
_SNAPSHOT = schema.snapshots.insert()
_DROP_SNAPSHOT = schema.snapshots.delete().where(
    schema.snapshots.c.position == sa.bindparam("dropped")
)
_DROP_OLDER = schema.snapshots.delete().where(schema.snapshots.c.position < sa.bindparam("oldest"))
_PRUNE = schema.journal.delete().where(
    schema.journal.c.position <= sa.bindparam("newest"),
    schema.journal.c.now < sa.bindparam("before"),
)
_PRUNE_SNAPSHOTS = schema.snapshots.delete().where(
    schema.snapshots.c.position < sa.bindparam("newest"),
    schema.snapshots.c.now < sa.bindparam("before"),
)
_PRUNE_ADMITTED = schema.admitted.delete().where(schema.admitted.c.now < sa.bindparam("before"))
_WRITE_META = (
    schema.meta.update()
    .where(schema.meta.c.key == sa.bindparam("fact"))
    .values(value=sa.bindparam("said"))
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One input of the engine; ``now`` is the server's time of it (Unix seconds).

    ``version`` is a hash of the fences, site and campaigns it was judged with.
    """

    position: int
    kind: Kind
    now: float
    version: str
    payload: bytes


class StoredFence(msgspec.Struct, frozen=True):
    """A fence in force: its GeoJSON feature as text, and whether a ``file`` or ``http`` gave it."""

    feature: str
    source: Literal["file", "http"]

    @property
    def etag(self) -> str:
        """A hash of the feature."""
        return digest(self.feature)


class FenceChange(msgspec.Struct, frozen=True):
    """One fence put or removed; ``before`` and ``after`` are None where there was, is none."""

    id: str
    before: StoredFence | None
    after: StoredFence | None


class SiteText(msgspec.Struct, frozen=True):
    """A site file as it was read: its name, its text, and that of the beacon list it names."""

    name: str
    text: str
    beacons: str | None = None


class SiteChange(msgspec.Struct, frozen=True):
    """The site was given, replaced or taken away."""

    before: SiteText | None
    after: SiteText | None


class EntryChange(msgspec.Struct, frozen=True):
    """An entry of the site enrolled, replaced or removed over HTTP.

    ``before`` and ``after`` are its record (JSON), None where there was, is none.
    """

    kind: EntryKind
    id: str
    before: str | None
    after: str | None

    @property
    def name(self) -> tuple[EntryKind, str]:
        """What tells it from all others."""
        return self.kind, self.id


class Forgetting(msgspec.Struct, frozen=True):
    """What a row of kind ``forget`` erases: subjects, and the entries that went with them."""

    subjects: list[str]
    changes: list[EntryChange] = []


class Snapshot(msgspec.Struct, frozen=True):
    """The engine's state after row ``position``, whose time was ``now`` (Unix seconds)."""

    position: int
    now: float
    state: bytes


def encode_records(records: Sequence[Record]) -> bytes:
    """Write records as a row's payload, in order."""
    return _encode([(_NAMES[type(record)], record) for record in records])


def decode_records(payload: bytes) -> list[Record]:
    """Read the records of a row's payload, equal to those written."""
    return [_DECODERS[name].decode(raw) for name, raw in _tagged.decode(payload)]


def append(connection: Connection, row: Row) -> None:
    """Write a row."""
    connection.execute(_INSERT, msgspec.structs.asdict(row))


def rows_after(
    connection: Connection, position: int, *, kinds: Sequence[Kind] | None = None
) -> Iterator[Row]:
    """Give the rows after a position, in order; those of these kinds only."""
    asked = _AFTER if kinds is None else _AFTER.where(schema.journal.c.kind.in_(kinds))
    most = _FIRST_PAGE
    while True:
        page = connection.execute(asked, {"after": position, "most": most}).mappings().all()
        for row in page:
            yield Row(**row)
        if len(page) < most:
            return
        position = page[-1]["position"]
        most = min(2 * most, _PAGE)


def end(connection: Connection) -> tuple[int, float]:
    """Give the last position ever used and the latest time (Unix seconds), rows gone included."""
    kept: float = _greatest(connection, schema.snapshots.c.now)
    return last(connection), max(connection.scalar(_LAST_NOW) or 0.0, kept)


def last(connection: Connection) -> int:
    """Give the last position ever used, rows gone included."""
    kept = (schema.journal.c.position, schema.snapshots.c.position)
    return max(evaluated(connection), *(int(_greatest(connection, one)) for one in kept))


def _greatest(connection: Connection, column: sa.Column[Any]) -> float:
    return connection.scalar(_GREATEST[column]) or 0.0


def evaluated(connection: Connection) -> int:
    """Give the position up to which all outputs are in the ledger and the queue."""
    return int(read_meta(connection, "evaluated") or 0)


def set_evaluated(connection: Connection, position: int) -> None:
    """Say that the outputs of all rows up to ``position`` are written, in this transaction."""
    write_meta(connection, "evaluated", str(position))


def snapshots(connection: Connection) -> Iterator[Snapshot]:
    """Give the kept snapshots, the newest first; each is read when it is its turn."""
    table, pieces = schema.snapshots, schema.snapshot_pieces
    kept = sa.select(table.c.position).order_by(table.c.position.desc())
    for position in connection.scalars(kept).all():
        row = connection.execute(sa.select(table).where(table.c.position == position)).one()
        of_it = sa.select(pieces.c.state).where(pieces.c.position == position)
        whole = [*connection.scalars(of_it.order_by(pieces.c.number)), row.state]
        yield Snapshot(position, row.now, b"".join(whole))


def save_piece(connection: Connection, *, position: int, piece: bytes) -> None:
    """Keep the next piece of a large snapshot, ahead of ``save_snapshot`` with its last one."""
    connection.execute(schema.snapshot_pieces.insert(), {"position": position, "state": piece})


def loose_pieces(connection: Connection, *, position: int | None = None) -> list[int]:
    """Give the numbers of pieces that belong to no kept snapshot, or to the one at ``position``.

    They are what one leaves that was replaced, or that was not finished.
    """
    table, pieces = schema.snapshots, schema.snapshot_pieces
    kept = sa.select(table.c.position)
    if position is not None:
        kept = kept.where(table.c.position != position)
    loose = pieces.c.position.not_in(kept)
    return list(connection.scalars(sa.select(pieces.c.number).where(loose)))


def drop_piece(connection: Connection, *, piece: int) -> None:
    """Delete one piece: all at once would hold up whoever writes next."""
    table = schema.snapshot_pieces
    connection.execute(table.delete().where(table.c.number == piece))


def save_snapshot(connection: Connection, snapshot: Snapshot) -> None:
    """Keep a snapshot, and of the earlier ones the newest, should this one be unreadable.

    Its state is what the pieces saved for its position do not hold.
    """
    connection.execute(_DROP_SNAPSHOT, {"dropped": snapshot.position})
    connection.execute(_SNAPSHOT, msgspec.structs.asdict(snapshot))
    connection.execute(_DROP_OLDER, {"oldest": min(connection.scalars(_KEPT))})


def prune(connection: Connection, before: float) -> None:
    """Delete the rows from before a time (Unix seconds) that the newest snapshot covers.

    An older snapshot goes with the rows that should follow it, and so does what they had admitted.
    """
    newest = int(_greatest(connection, schema.snapshots.c.position))
    connection.execute(_PRUNE, {"newest": newest, "before": before})
    connection.execute(_PRUNE_SNAPSHOTS, {"newest": newest, "before": before})
    connection.execute(_PRUNE_ADMITTED, {"before": before})


def fences_in_force(connection: Connection) -> dict[str, StoredFence]:
    """Give the fences as the last row of kind ``fences`` left them, by id."""
    table = schema.fences
    rows = connection.execute(sa.select(table).order_by(table.c.id))
    return {row.id: StoredFence(row.feature, row.source) for row in rows}


def change_fences(connection: Connection, changes: Sequence[FenceChange]) -> None:
    """Bring the fences in force up to a row of kind ``fences``, in the row's own transaction."""
    table = schema.fences
    connection.execute(
        table.delete().where(table.c.id == sa.bindparam("gone")),
        [{"gone": change.id} for change in changes],
    )
    puts = [
        {
            "id": change.id,
            "feature": change.after.feature,
            "etag": change.after.etag,
            "source": change.after.source,
        }
        for change in changes
        if change.after is not None
    ]
    if puts:
        connection.execute(table.insert(), puts)
    _edited(connection)


def site_in_force(connection: Connection) -> SiteText | None:
    """Give the site as the last row of kind ``site`` left it."""
    text = read_meta(connection, "site")
    return None if text is None else msgspec.json.decode(text, type=SiteText | None)


def change_site(connection: Connection, site: SiteText | None) -> None:
    """Bring the site in force up to a row of kind ``site``, in the row's own transaction."""
    write_meta(connection, "site", msgspec.json.encode(site).decode())
    _edited(connection)


def entries_in_force(connection: Connection) -> Entries:
    """Give what is enrolled over HTTP as the last row that changed it left it."""
    table = schema.enrolments
    rows = connection.execute(sa.select(table).order_by(table.c.kind, table.c.id))
    return {(row.kind, row.id): row.record for row in rows}


def change_entries(connection: Connection, changes: Sequence[EntryChange]) -> None:
    """Bring what is enrolled up to a row that changes it, in the row's own transaction."""
    if not changes:
        return
    table = schema.enrolments
    connection.execute(
        table.delete()
        .where(table.c.kind == sa.bindparam("of_kind"))
        .where(table.c.id == sa.bindparam("gone")),
        [{"of_kind": change.kind, "gone": change.id} for change in changes],
    )
    puts = [
        {"kind": change.kind, "id": change.id, "record": change.after}
        for change in changes
        if change.after is not None
    ]
    if puts:
        connection.execute(table.insert(), puts)
    _edited(connection)


def edits(connection: Connection) -> int:
    """Count the changes of fences, site and enrolments there were: whoever remembers them looks."""
    return int(read_meta(connection, "edits") or 0)


def _edited(connection: Connection) -> None:
    write_meta(connection, "edits", str(edits(connection) + 1))


def read_meta(connection: Connection, key: str) -> str | None:
    """Give a fact about the store, None where it was never written."""
    value: str | None = connection.scalar(_READ_META, {"fact": key})
    return value


def write_meta(connection: Connection, key: str, value: str) -> None:
    """Write a fact about the store."""
    said = {"fact": key, "said": value}
    if connection.execute(_WRITE_META, said).rowcount:
        return
    first = insert_new(connection.dialect.name, schema.meta, "key")
    # Another process may be the first to write it, at this very moment.
    if not connection.execute(first, {"key": key, "value": value}).all():
        connection.execute(_WRITE_META, said)
