"""What came lately, kept in few bytes, so that the next start knows what comes a second time.

Reading an hour of records again one by one takes seconds; packed by subject they take a tenth. Each
piece covers some rows of the journal, and is made from these rows in one transaction: whoever was
taken out of them is in no piece that is made later. Knows journal and intake; no engine.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
import structlog

from proximity.engine.intake import Admitted, Intake
from proximity.ingest.admission import carrier
from proximity.model import Sighting
from proximity.store import StoreFailed, journal, schema

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from proximity.model import Record
    from proximity.site.registry import Site
    from proximity.store import Store

__all__ = ["PIECE_RECORDS", "Remembering", "recall", "records_of", "remember", "strike"]

log = structlog.get_logger(__name__)

# A piece holds at least so many records: some three milliseconds of writing, for which the commits
# of records wait, and what a start reads record by record is no more than this and a little.
PIECE_RECORDS = 1_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Admitted).decode


class Remembering:
    """Writes down what is admitted, piece by piece, while records come in.

    ``due`` counts records that no piece covers yet; what the last run left is looked for at once.
    """

    def __init__(self, store: Store) -> None:
        self.due = PIECE_RECORDS
        self._store = store
        self._task: asyncio.Task[None] | None = None

    def go_on(self, position: int, site: Site) -> None:
        """Cover the journal up to ``position``, beside the caller, where enough has come."""
        if self.due < PIECE_RECORDS or (self._task is not None and not self._task.done()):
            return
        self.due = 0
        self._task = asyncio.create_task(self._cover(position, site), name="ingest-remember")

    async def stop(self) -> None:
        """End what is under way; the next start reads from the journal what no piece covers."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _cover(self, position: int, site: Site) -> None:
        try:
            while await self._store.awrite(partial(remember, until=position, site=site)):
                pass
        except StoreFailed as error:  # what is missing is in the journal, and covered next time
            log.debug("what came lately was not written down", reason=str(error))


def remember(connection: Connection, *, until: int, site: Site) -> bool:
    """Write down the next piece of the rows up to ``until``; False once there is too little left.

    ``site`` tells whose a gateway's sighting is.
    """
    rows: list[tuple[int, float]] = []
    records: list[Record] = []
    for row in journal.rows_after(connection, covered(connection)):
        if row.position > until or len(records) >= PIECE_RECORDS:
            break
        rows.append((row.position, row.now))
        records += records_of(row)
    if len(records) < PIECE_RECORDS:
        return False
    position, now = rows[-1]
    piece = {"position": position, "now": now, "packed": _encode(_packed(records, site))}
    connection.execute(schema.admitted.insert(), piece)
    return True


def recall(connection: Connection, late_s: float, *, since: float) -> tuple[Intake, int]:
    """Make an intake that remembers what the pieces from Unix second ``since`` on hold.

    Gives it with the position up to which they cover the journal. Where one cannot be read the
    intake is empty and covers nothing: then the journal is to be read from its beginning.
    """
    table = schema.admitted
    pieces = sa.select(table.c.now, table.c.packed).where(table.c.now >= since)
    rows = connection.execute(pieces.order_by(table.c.position))
    intake = Intake(late_s)
    try:
        intake.recall((row.now, _decode(row.packed)) for row in rows)
    except msgspec.MsgspecError as error:
        log.warning("what came lately is read from the journal", reason=str(error))
        return Intake(late_s), 0
    return intake, covered(connection)


def covered(connection: Connection) -> int:
    """Give the position up to which the pieces cover the journal, 0 where there is none."""
    return int(connection.scalar(sa.select(sa.func.max(schema.admitted.c.position))) or 0)


def strike(store: Store, names: Collection[str]) -> None:
    """Take subjects out of every piece; to be called when they are out of the journal.

    Blocks; each piece is a write of its own. Raises StoreFailed.
    """
    table = schema.admitted
    wanted = [name.encode() for name in names]
    position = 0
    while True:
        piece = store.read(partial(_next, position=position))
        if piece is None:
            return
        position = piece["position"]
        if not any(name in piece["packed"] for name in wanted):
            continue
        mended: sa.Update | sa.Delete
        try:
            rest = _encode(_decode(piece["packed"]).without(names))
            mended = table.update().where(table.c.position == position).values(packed=rest)
        except msgspec.MsgspecError:  # then the journal is read instead, so that all may go
            mended = table.delete()
        store.write(partial(_execute, statement=mended), freeing=True).result()


def records_of(row: journal.Row) -> list[Record]:
    """Read a row's records; none where they cannot be read, which whoever applies it tells."""
    if row.kind != "records":
        return []
    try:
        return journal.decode_records(row.payload)
    except msgspec.MsgspecError:
        return []


def _packed(records: list[Record], site: Site) -> Admitted:
    whose = (carrier(one, site) if isinstance(one, Sighting) else None for one in records)
    return Admitted.of(records, whose)


def _next(connection: Connection, position: int) -> sa.RowMapping | None:
    table = schema.admitted
    pieces = sa.select(table.c.position, table.c.packed).where(table.c.position > position)
    return connection.execute(pieces.order_by(table.c.position).limit(1)).mappings().first()


def _execute(connection: Connection, statement: sa.Update | sa.Delete) -> None:
    connection.execute(statement)
