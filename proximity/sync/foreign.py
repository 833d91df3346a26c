"""How is a table of somebody else's database a side of a round? SQLAlchemy Core, and no string.

Such a table has one time a row and no memory. So what was last seen of each row is kept beside it,
as keyed hashes in a file of our own: only cells that differ are news, and what was written here is
not read back as theirs. A cell that they have changed meanwhile is not written over: it is read
first, in the next round.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from proximity.model import Consent, ProximityError, format_time
from proximity.sync.agreed import No
from proximity.sync.feed import Page
from proximity.sync.mapping import (
    SUBJECT,
    Mapping_,
    cell_of,
    check_key,
    instant,
    is_marked,
    is_yes,
    value_of,
    written_at,
)
from proximity.sync.merge import Item, Word
from proximity.sync.opening import open_table, reason
from proximity.sync.taking import Taken

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine, RowMapping

__all__ = ["Foreign", "State", "open_foreign"]

_MOST_REFUSED = 100
_OFFSETS_S = 86_400.0
"""A text has the date of its own offset from UTC, which is less than a day from ours: so much
further back are tables read whose times are texts, by their dates alone. Rows seen before are no
news."""
_KEYS: Mapping[type, str] = {int: "counts them", UUID: "names them by UUID"}
"""Types of a column of ids that hold not every id: what such a table does with people."""
_state = sa.MetaData()
_facts = sa.Table(
    "facts",
    _state,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
_rows = sa.Table(
    "rows",
    _state,
    sa.Column("row", sa.Text, primary_key=True),
    sa.Column("cells", sa.Text, nullable=False),
)


class State:
    """What was last seen of a table: a position, and of each row keyed hashes of its cells."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # nobody else's to read
        except OSError as error:
            raise ProximityError(f"{path}: cannot be opened ({error.strerror})") from None
        self._engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)))
        try:
            _state.create_all(self._engine)
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise ProximityError(f"{path}: is no state of ours ({reason(error)})") from None
        self._key = bytes.fromhex(self.fact("key") or "")
        if not self._key:
            self._key = secrets.token_bytes(32)
            self.write({"key": self._key.hex()}, {}, ())

    def fact(self, name: str) -> str | None:
        """Read a fact of the whole table."""
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(_facts.c.value).where(_facts.c.name == name))

    def cells(self, key: str) -> dict[str, str]:
        """Read what was last seen of a row, by column; empty where it was never seen."""
        with self._engine.connect() as connection:
            query = sa.select(_rows.c.cells).where(_rows.c.row == self.hash(key))
            text = connection.scalar(query)
        return {} if text is None else msgspec.json.decode(text, type=dict[str, str])

    def hash(self, value: object) -> str:
        """Give the keyed hash of a cell or a key."""
        text = msgspec.json.encode(value, enc_hook=str)
        return hmac.digest(self._key, text, hashlib.sha256).hex()[:32]

    def write(
        self, facts: Mapping[str, str], seen: Mapping[str, dict[str, str]], gone: Sequence[str]
    ) -> None:
        """Note facts, rows as they were seen, and rows that are gone, in one transaction."""
        with self._engine.begin() as connection:
            for name, value in facts.items():
                connection.execute(_facts.delete().where(_facts.c.name == name))
                connection.execute(_facts.insert(), {"name": name, "value": value})
            for key in (*seen, *gone):
                connection.execute(_rows.delete().where(_rows.c.row == self.hash(key)))
            rows = [
                {"row": self.hash(key), "cells": msgspec.json.encode(cells).decode()}
                for key, cells in seen.items()
            ]
            if rows:
                connection.execute(_rows.insert(), rows)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


def open_foreign(url: str, mapping: Mapping_, state: Path) -> Foreign:
    """Open a table of somebody else's database, and the file of what was last seen of it.

    Raises ProximityError where there is no such table as mapped; then nothing was made.
    """
    engine, table = open_table(url, mapping)
    try:
        return Foreign(engine, table, mapping, State(state))
    except ProximityError:
        engine.dispose()
        raise


class Foreign:
    """One table of somebody else's, as a side of a round; ``refused`` says which rows cannot be."""

    def __init__(self, engine: Engine, table: sa.Table, mapping: Mapping_, state: State) -> None:
        self._engine, self._table, self._mapping, self._state = engine, table, mapping, state
        self.refused: list[str] = []
        self._seen: dict[str, dict[str, str]] = {}
        self._again = msgspec.json.decode(state.fact("again") or "[]", type=list[str])
        self._later: list[str] = []
        at, _, key = (state.fact("position") or "").partition(" ")
        # Of the last row that was read: when it changed and its key, as the database has them.
        self._last: tuple[Any, Any] | None = None
        self._from: tuple[float, str | None] | None = None
        if at:
            again = mapping.overlap_s > 0.0
            self._from = (float(at) - mapping.overlap_s, None if again else key)

    def page(self, reader: str, limit: int) -> Page:  # noqa: ARG002 - a table has one reader: us
        """Read rows that changed since, as news of the cells that differ from what was seen."""
        waiting, self._again = self._again[:limit], self._again[limit:]
        try:
            with self._engine.connect() as connection:
                rows = list(connection.execute(self._query(limit)).mappings())
                some = self._named(connection, waiting)
        except SQLAlchemyError as error:
            raise ProximityError(f"the table cannot be read ({reason(error)})") from None
        except (TypeError, ValueError) as error:  # of SQLite, which keeps any cell in any column
            raise ProximityError(
                f"table {self._mapping.table!r:.80} cannot be read: a cell is not of its column's "
                f"type ({error!s:.200}): mend it there"
            ) from None
        items: dict[str, Item] = {}
        at, key = self._from or (0.0, None)
        for row in (*some, *rows):
            cell = row[self._mapping.key]
            try:
                changed_at = instant(row[self._mapping.changed_at])
                item = self._item(row, changed_at)
            except (ValueError, RecursionError) as error:
                self._refuse(f"row {cell!r:.80}: {error}")
                continue
            if item is not None:
                items[item.person] = item
        for row in rows:  # not of `some`: those may be younger than what was not read yet
            with contextlib.suppress(ValueError):
                at, key = max(at, instant(row[self._mapping.changed_at])), row[self._mapping.key]
        if rows:
            self._last = (rows[-1][self._mapping.changed_at], rows[-1][self._mapping.key])
        key = None if key is None else str(key)
        self._from = (at, key)
        more = len(rows) >= limit or bool(self._again)
        return Page(items=tuple(items.values()), cursor=f"{at!r} {key or ''}", more=more)

    def _named(self, connection: Connection, persons: Sequence[str]) -> list[RowMapping]:
        """Read the rows of people who are to be read again, though their rows did not change."""
        if not persons:
            return []
        key = self._table.c[self._mapping.key]
        query = sa.select(self._table).where(key.in_([_typed(one, key) for one in persons]))
        changed = self._table.c[self._mapping.changed_at]
        return list(connection.execute(query.where(changed.is_not(None))).mappings())

    def take(self, sender: str, items: Sequence[Item]) -> Taken:  # noqa: ARG002 - as above
        """Write what our side tells, cell by cell; what they have changed meanwhile waits."""
        told = Taken()
        seen: dict[str, dict[str, str]] = {}
        gone: list[str] = []
        again: list[str] = []
        now = time.time()
        try:
            with self._engine.begin() as connection:
                for item in items:
                    if item.erased_at is not None:
                        told.erasing += self._erase(connection, item.person, now)
                        gone.append(item.person)
                        continue
                    changed = self._write(connection, item, now, seen)
                    if item.consents:
                        # What of them was refused before, since they agreed to nothing, is news.
                        again.append(item.person)
                    told.changed += changed
                    told.same += not changed
        except SQLAlchemyError as error:
            raise ProximityError(f"the table cannot be written ({reason(error)})") from None
        except ValueError as error:
            raise ProximityError(str(error)) from None
        self._again += again
        facts = {"again": self._to_read()} if again else {}
        self._state.write(facts, seen, (*gone, *again))
        return told

    def untold(self, persons: Collection[str]) -> None:
        """Forget what was seen of people whose news was refused, and read their rows again."""
        for person in persons:
            self._seen.pop(person, None)
        # In the next round: in this one the other side has said what it says.
        self._later += sorted(set(persons) - set(self._later))

    def _to_read(self) -> str:
        """Write down whose rows are to be read though they did not change (JSON)."""
        return msgspec.json.encode(sorted({*self._again, *self._later})).decode()

    def note(self, peer: str, cursor: str | None = None, position: str | None = None) -> None:  # noqa: ARG002
        """Note how far the table was read, with what was seen in it."""
        facts = {} if cursor is None else {"position": cursor}
        facts["again"] = self._to_read()
        self._state.write(facts, self._seen, ())
        self._seen = {}

    def acknowledge(self, erasure: str, peer: str) -> None:
        """Do nothing: whoever is erased in the table stays so."""

    def unreadable(self) -> int:
        """Count the rows that are never read, since they say neither whose they are nor when."""
        table, mapping = self._table, self._mapping
        nobody = sa.or_(table.c[mapping.key].is_(None), table.c[mapping.changed_at].is_(None))
        with self._engine.connect() as connection:
            query = sa.select(sa.func.count()).select_from(table).where(nobody)
            return connection.scalar(query) or 0

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()
        self._state.close()

    # Reading ----------------------------------------------------------------------------------

    def _query(self, limit: int) -> sa.Select[Any]:
        table, mapping = self._table, self._mapping
        changed, key = table.c[mapping.changed_at], table.c[mapping.key]
        query = sa.select(table).where(key.is_not(None), changed.is_not(None))
        if self._last is not None:
            # As they were read: the same moment can be written in many ways, and a text compares
            # as it is written.
            since, last_key = self._last
            query = query.where(sa.or_(changed > since, sa.and_(changed == since, key > last_key)))
        elif self._from is not None and _kind(changed) is str:
            query = query.where(changed >= format_time(max(0.0, self._from[0] - _OFFSETS_S))[:10])
        elif self._from is not None:
            at, last = self._from
            since = self._time(max(0.0, at))
            after = changed > since
            if last is None:
                after = changed >= since
            else:
                same = sa.and_(changed == since, key > _typed(last, key))
                after = sa.or_(after, same)
            query = query.where(after)
        return query.order_by(changed, key).limit(limit)

    def _item(self, row: RowMapping, at: float) -> Item | None:
        """Say what is news of a row; None where nothing is."""
        mapping = self._mapping
        person = check_key(row[mapping.key])
        before = self._state.cells(person)
        hashes = self._hashes(row)
        if before == hashes:
            return None
        item = self._news(row, at, person, before, hashes)
        # Not before all of it was read: of a row that is refused no cell was told.
        self._seen[person] = hashes
        return item

    def _news(
        self,
        row: RowMapping,
        at: float,
        person: str,
        before: dict[str, str],
        hashes: dict[str, str],
    ) -> Item | None:
        mapping = self._mapping
        if mapping.erased_at is not None and is_marked(row[mapping.erased_at]):
            said = row[mapping.erased_at]
            erased_at = instant(said) if isinstance(said, datetime) else at
            name = f"erased {self._state.hash([person, at])}"
            return Item(person=person, id=name, erased_at=erased_at)
        words, yes, noes = [], [], []
        for column, field in mapping.columns.items():
            value = value_of(field, row[column])
            if before.get(column) == hashes[column] or (not before and value is None):
                continue
            if field != SUBJECT:
                words.append(Word(field=field, value=value, at=at))
            elif value is not None:
                words.append(Word(field=f"subjects.{value}", value=True, at=at))
        for column, flag in mapping.flags.items():
            if before.get(column) == hashes[column]:
                continue
            if is_yes(column, row[column]):
                one = Consent(purpose=flag.purpose, channel=flag.channel, since=at, method="sync")
                yes.append(one)
            elif column in before:  # before it was a yes; at first sight it is but the default
                noes.append(No(purpose=flag.purpose, channel=flag.channel, at=at))
        if not words and not yes and not noes:
            return None
        return Item(person=person, words=tuple(words), consents=tuple(yes), withdrawals=tuple(noes))

    def _hashes(self, row: RowMapping) -> dict[str, str]:
        mapping = self._mapping
        named = (*mapping.columns, *mapping.flags, *filter(None, [mapping.erased_at]))
        return {column: self._state.hash(row[column]) for column in named}

    # Writing ----------------------------------------------------------------------------------

    def _write(
        self, connection: Connection, item: Item, now: float, seen: dict[str, dict[str, str]]
    ) -> bool:
        """Write one person; whether a row changed."""
        table, mapping = self._table, self._mapping
        key = table.c[mapping.key]
        mine = key == _typed(item.person, key)
        row = connection.execute(sa.select(table).where(mine).with_for_update()).mappings().first()
        wanted = dict(self._wanted(item, row))
        if row is None:
            if not mapping.insert or not any(cell not in {None, False} for cell in wanted.values()):
                return False
            wanted[mapping.key] = _typed(item.person, key)
            wanted[mapping.changed_at] = self._time(now)
            connection.execute(table.insert(), wanted)
        else:
            before = self._state.cells(item.person)
            wanted = {
                column: cell
                for column, cell in wanted.items()
                if row[column] != cell
                and before.get(column) in {None, self._state.hash(row[column])}
            }
            if not wanted:
                return False
            at = max(now, instant(row[mapping.changed_at])) if row[mapping.changed_at] else now
            wanted[mapping.changed_at] = self._time(at)
            connection.execute(table.update().where(mine).values(wanted))
        # Read as it stands: a database may keep a cell in another form than it was given.
        written = connection.execute(sa.select(table).where(mine)).mappings().one()
        hashes = self._hashes(written)
        kept = {} if row is None else self._state.cells(item.person)
        seen[item.person] = {
            column: value if row is None or column in wanted else kept.get(column, "")
            for column, value in hashes.items()
        }
        return True

    def _wanted(self, item: Item, row: RowMapping | None) -> Iterator[tuple[str, Any]]:
        """Give the cells that our side wants, by column."""
        said = {word.field: word.value for word in item.words}
        for column, field in self._mapping.columns.items():
            if field in said:
                yield column, cell_of(field, said[field], _kind(self._table.c[column]))
        if not item.consents and not item.withdrawals:
            return
        for column, flag in self._mapping.flags.items():
            agreed = any(
                one.purpose == flag.purpose and one.channel in {None, "*", flag.channel}
                for one in item.consents
            )
            if agreed or (row is not None and is_yes(column, row[column])):
                yield column, _kind(self._table.c[column])(agreed)

    def _erase(self, connection: Connection, person: str, now: float) -> int:
        """Erase a row: mark it where the table has a mark for that, else take it out."""
        table, mapping = self._table, self._mapping
        key = table.c[mapping.key]
        mine = key == _typed(person, key)
        if mapping.erased_at is None:
            return connection.execute(table.delete().where(mine)).rowcount
        named = (*mapping.columns, *mapping.flags)
        empty: dict[str, Any] = {name: None for name in named if table.c[name].nullable}
        column = table.c[mapping.erased_at]
        kind = _kind(column)
        empty[mapping.erased_at] = (
            True if kind is bool
            else written_at(now, kind, aware=bool(getattr(column.type, "timezone", False)))
        )  # fmt: skip
        empty[mapping.changed_at] = self._time(now)
        row = connection.execute(sa.select(column).where(mine).with_for_update()).first()
        if row is None or is_marked(row[0]):
            return 0
        return connection.execute(table.update().where(mine).values(empty)).rowcount

    def _time(self, at: float) -> Any:
        column = self._table.c[self._mapping.changed_at]
        aware = bool(getattr(column.type, "timezone", False))
        return written_at(at, _kind(column), aware=aware)

    def _refuse(self, problem: str) -> None:
        if len(self.refused) < _MOST_REFUSED:
            self.refused.append(problem)


def _kind(column: sa.Column[Any]) -> type:
    try:
        kind: type = column.type.python_type
    except RuntimeError:  # a type that the library does not know
        return str
    return kind


def _typed(text: str, column: sa.Column[Any]) -> Any:
    """Write an id as its column has it. Raises ValueError where it cannot hold it."""
    kind = _kind(column)
    told = _KEYS.get(kind)
    if told is None:
        return text
    try:
        key = kind(text)
    except ValueError:
        key = None
    # As it is read, it is written: " 7" and "007" would be the row of "7", who is somebody else.
    if key is None or str(key) != text:
        raise ValueError(f"{text!r:.80} is no id of a table that {told}")
    return key
