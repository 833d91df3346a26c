"""How is somebody taken out of the journal? Their records, their tags, and what names them.

Behind the newest snapshot a row is only asked for what came twice, and for edits of which the
snapshot knows already: taking theirs out changes nothing for anybody else. It must not know the
engine, nor why somebody leaves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from proximity.ingest import remembering
from proximity.model import Sighting
from proximity.site.enrolment import Enrolments, decode_changes
from proximity.site.registry import Site
from proximity.site.sitefile import parse_site
from proximity.store import journal, schema

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from proximity.model import Record
    from proximity.site.registry import Enrolled
    from proximity.store import Store
    from proximity.store.journal import EntryChange, Row

__all__ = ["drop_snapshots", "named_in_site", "strike"]

_ROWS_A_PAGE = 200


def strike(store: Store, names: Collection[str]) -> int:
    """Take somebody's records and tags out of every row; give how many records that were.

    Blocks; each page of rows is a write of its own. Raises StoreFailed.
    """
    whose = _Whose(store, frozenset(names))
    count, position = 0, 0
    while True:
        page = store.read(lambda c, p=position: _page(c, p))  # type: ignore[misc]
        if not page:
            remembering.strike(store, names)
            return count
        position = page[-1].position
        changed: list[dict[str, Any]] = []
        for row in page:
            payload, gone = whose.taken_out(row)
            count += gone
            if payload is not None:
                changed.append({"spot": row.position, "rest": payload})
        if changed:
            store.write(
                lambda c, rows=changed: _put_rows(c, rows),  # type: ignore[misc]
                freeing=True,
            ).result()


def _page(connection: Connection, position: int) -> list[Row]:
    table = schema.journal
    query = sa.select(table).where(table.c.position > position, table.c.kind.not_in(("tick",)))
    rows = connection.execute(query.order_by(table.c.position).limit(_ROWS_A_PAGE)).mappings()
    return [journal.Row(**row) for row in rows]


def _put_rows(connection: Connection, rows: list[dict[str, Any]]) -> None:
    table = schema.journal
    chosen = table.c.position == sa.bindparam("spot")
    connection.execute(table.update().where(chosen).values(payload=sa.bindparam("rest")), rows)


class _Whose:
    """Tells which records and entries are somebody's, by their names and by the tags they carry."""

    def __init__(self, store: Store, names: frozenset[str]) -> None:
        self._names = names
        self._bytes = [name.encode() for name in names]
        self._tags = store.read(self._find_tags)

    def taken_out(self, row: Row) -> tuple[bytes | None, int]:
        """Give a row's payload without what is theirs (None: nothing is), and how many records."""
        if row.kind == "records":
            if not self._tags.beacons and not any(name in row.payload for name in self._bytes):
                return None, 0
            try:
                records = journal.decode_records(row.payload)
            except msgspec.MsgspecError:  # nobody can read it: it has been passed over, and goes
                return b"\x90", 0
            rest = [record for record in records if not self._is_theirs(record)]
            gone = len(records) - len(rest)
            return (journal.encode_records(rest) if gone else None), gone
        if row.kind == "enrolments":
            changes = decode_changes(row.payload)
            kept = [change for change in changes if not self._is_tag(change)]
            return (msgspec.msgpack.encode(kept) if len(kept) < len(changes) else None), 0
        if row.kind == "forget":
            said = _read_forgetting(row.payload)
            subjects = [one for one in said.subjects if one not in self._names]
            kept = [change for change in said.changes if not self._is_tag(change)]
            rest_of = journal.Forgetting(subjects, kept)
            return (msgspec.msgpack.encode(rest_of) if rest_of != said else None), 0
        return None, 0

    def _is_theirs(self, record: Record) -> bool:
        if record.subject in self._names:
            return True
        if not isinstance(record, Sighting) or not self._tags.beacons:
            return False
        return self._tags.enrolled(record.beacon, record.at) is not None

    def _is_tag(self, change: EntryChange) -> bool:
        return any(
            text is not None and msgspec.json.decode(text, type=_Entry).subject in self._names
            for text in (change.before, change.after)
        )

    def _find_tags(self, connection: Connection) -> Site:
        """Find every tag that was theirs: in the site's file, enrolled, or enrolled once."""
        records: journal.Entries = {}
        for row in journal.rows_after(connection, 0, kinds=("enrolments", "forget")):
            changes = (
                decode_changes(row.payload)
                if row.kind == "enrolments"
                else _read_forgetting(row.payload).changes
            )
            for change in changes:
                if self._is_tag(change):
                    records[change.name] = change.before or change.after or ""
        site = journal.site_in_force(connection)
        fixed = () if site is None else parse_site(site.text, site.name, site.beacons).beacons
        tags: list[Enrolled] = [one for one in fixed if one.subject in self._names]
        tags += [
            one for one in Enrolments(records).join(Site()).beacons if one.subject in self._names
        ]
        return Site(beacons=tuple(tags))


class _Entry(msgspec.Struct):
    subject: str | None = None


_forgetting = msgspec.msgpack.Decoder(list[str] | journal.Forgetting)


def _read_forgetting(payload: bytes) -> journal.Forgetting:
    said = _forgetting.decode(payload)
    return said if isinstance(said, journal.Forgetting) else journal.Forgetting(said)


def drop_snapshots(connection: Connection) -> int:
    """Drop what is older than the newest snapshot; one that is being written is younger."""
    table, pieces = schema.snapshots, schema.snapshot_pieces
    newest = connection.scalar(sa.select(sa.func.max(table.c.position))) or 0
    connection.execute(pieces.delete().where(pieces.c.position < newest))
    return connection.execute(table.delete().where(table.c.position < newest)).rowcount


def named_in_site(connection: Connection, names: Collection[str]) -> tuple[str, int]:
    """Tell how many beacons of the operator's own site file are theirs, and what it is called."""
    site = journal.site_in_force(connection)
    if site is None:
        return "", 0
    beacons = parse_site(site.text, site.name, site.beacons).beacons
    return site.name, sum(one.subject in names for one in beacons)
