"""How many units of each stock are left, and which decision has which.

A stock is a budget that offers draw on: coupons, pastries, euros; for good, or anew each day, week
or month. Units are taken in the transaction that decides and given back where nobody can have
received the offer. Functions on the caller's connection; ``now`` is given, in Unix seconds.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from proximity.store import ledger
from proximity.store.schema import reservations, stocks
from proximity.windows import load_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import Stock

__all__ = ["WINDOWS", "give_back", "left", "take", "window_of"]


WINDOWS: dict[str | None, Callable[[datetime], str]] = {
    None: lambda _: "",
    "hour": lambda moment: f"{moment:%Y-%m-%dT%H}",
    "day": lambda moment: f"{moment:%Y-%m-%d}",
    "week": lambda moment: f"{moment - timedelta(days=moment.weekday()):%Y-%m-%d}/7",
    "month": lambda moment: f"{moment:%Y-%m}",
}
"""What a window is called at a moment of the stock's own zone: one stock may serve places of
several. An hour that comes twice in autumn is one."""


def left(
    connection: Connection, some: Iterable[Stock], now: float, *, binding: bool = False
) -> dict[str, int]:
    """Tell how many units are left of these stocks at Unix second ``now``, never below 0.

    ``binding``: until the transaction ends nobody else takes any. On SQLite whoever writes is alone
    anyway; on PostgreSQL the rows are locked, in one order for all, so that nobody waits in a ring.
    """
    wanted = {one.id: one for one in some}
    if not wanted:
        return {}
    rows = [
        {"stock": id_, "window": window_of(one, now), "used": 0}
        for id_, one in sorted(wanted.items())
    ]
    keys = [(row["stock"], row["window"]) for row in rows]
    asked = (
        sa.select(stocks)
        .where(sa.tuple_(stocks.c.stock, stocks.c.window).in_(keys))
        .order_by(stocks.c.stock)
    )
    if binding and connection.dialect.name == "postgresql":
        # A row that is not there cannot be locked.
        connection.execute(ledger.insert_new("postgresql", stocks, "stock"), rows)
        asked = asked.with_for_update()
    used = {row.stock: row.used for row in connection.execute(asked)}
    return {id_: max(0, one.count - used.get(id_, 0)) for id_, one in wanted.items()}


def take(connection: Connection, decision: str, some: Sequence[Stock], now: float) -> bool:
    """Reserve a unit of each stock for a decision; False, and none, where one has none left."""
    taken: list[tuple[Stock, str]] = []
    for one in some:
        window = window_of(one, now)
        connection.execute(
            ledger.insert_new(connection.dialect.name, stocks, "stock"),
            [{"stock": one.id, "window": window, "used": 0}],
        )
        mine = (stocks.c.stock == one.id, stocks.c.window == window)
        more = stocks.update().where(*mine, stocks.c.used < one.count)
        if connection.execute(more.values(used=stocks.c.used + 1)).rowcount != 1:
            for other, its in taken:
                _lower(connection, other.id, its, 1)
            return False
        taken.append((one, window))
    if taken:
        connection.execute(
            reservations.insert(),
            [{"decision": decision, "stock": one.id, "window": window} for one, window in taken],
        )
    return True


def give_back(connection: Connection, decisions: Collection[str]) -> int:
    """Give back what decisions had reserved, into the window it came from; tell how many units."""
    if not decisions:
        return 0
    found = connection.execute(
        reservations.delete()
        .where(reservations.c.decision.in_(sorted(decisions)))
        .returning(reservations.c.stock, reservations.c.window)
    )
    units = Counter((row.stock, row.window) for row in found)
    for (id_, window), count in sorted(units.items()):  # in the order in which `left` locks
        _lower(connection, id_, window, count)
    return units.total()


def window_of(one: Stock, now: float) -> str:
    """Name the window of a stock's budget that Unix second ``now`` lies in."""
    return WINDOWS[one.window](datetime.fromtimestamp(now, load_zone(one.timezone) or UTC))


def _lower(connection: Connection, id_: str, window: str, count: int) -> None:
    mine = (stocks.c.stock == id_, stocks.c.window == window, stocks.c.used >= count)
    connection.execute(stocks.update().where(*mine).values(used=stocks.c.used - count))
