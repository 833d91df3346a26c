"""Units of a stock: taken together, given back, counted by window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proximity.campaigns.campaigns import Stock
from proximity.dispatch import stock
from proximity.store import Store
from tests.proximity.given import NOON, when

if TYPE_CHECKING:
    from collections.abc import Iterator

CUPS, ROLLS = Stock(id="cups", count=2), Stock(id="rolls", count=1)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


def left(store: Store, *some: Stock, now: float = NOON) -> dict[str, int]:
    return store.read(lambda c: stock.left(c, some, now))


def take(store: Store, decision: str, *some: Stock, now: float = NOON) -> bool:
    return store.write(lambda c: stock.take(c, decision, some, now)).result()


def give_back(store: Store, *decisions: str) -> int:
    return store.write(lambda c: stock.give_back(c, decisions)).result()


def test_until_there_are_none(store: Store) -> None:
    assert left(store, CUPS) == {"cups": 2}
    assert [take(store, f"d{n}", CUPS) for n in range(3)] == [True, True, False]
    assert left(store, CUPS) == {"cups": 0}


def test_all_of_them_or_none(store: Store) -> None:
    assert take(store, "d1", CUPS, ROLLS)
    assert not take(store, "d2", CUPS, ROLLS)
    assert left(store, CUPS, ROLLS) == {"cups": 1, "rolls": 0}
    assert give_back(store, "d2") == 0


def test_given_back_once(store: Store) -> None:
    take(store, "d1", CUPS, ROLLS)
    take(store, "d2", CUPS)
    assert give_back(store, "d1", "d2", "nobody") == 3
    assert left(store, CUPS, ROLLS) == {"cups": 2, "rolls": 1}
    assert give_back(store, "d1", "d2") == give_back(store) == 0


def test_a_count_that_was_lowered_leaves_none(store: Store) -> None:
    assert take(store, "d1", CUPS)
    assert take(store, "d2", CUPS)
    assert left(store, Stock(id="cups", count=1)) == {"cups": 0}
    assert not take(store, "d3", Stock(id="cups", count=1))


@pytest.mark.parametrize(
    ("window", "same", "other"),
    [
        (None, "2027-01-06 12:00", None),
        ("hour", "2026-01-06 12:59", "2026-01-06 13:00"),
        ("day", "2026-01-06 23:59", "2026-01-07 00:00"),
        ("week", "2026-01-11 23:59", "2026-01-12 00:00"),
        ("month", "2026-01-31 23:59", "2026-02-01 00:00"),
    ],
)
def test_windows_of_the_calendar(
    store: Store, window: str | None, same: str, other: str | None
) -> None:
    one = Stock(id="cups", count=1, window=window)  # type: ignore[arg-type]  # one of the rows
    start = when("2026-01-06 12:00", "UTC")
    assert take(store, "d1", one, now=start)
    assert left(store, one, now=when(same, "UTC")) == {"cups": 0}
    if other is not None:
        assert left(store, one, now=when(other, "UTC")) == {"cups": 1}
    give_back(store, "d1")
    assert left(store, one, now=start) == {"cups": 1}


@pytest.mark.parametrize(
    ("timezone", "same", "other"),
    [
        # A day's rolls end at the café's midnight, on days of 23 and of 25 hours too.
        ("Europe/Paris", "2026-03-29 00:00", "2026-03-30 00:00"),
        ("Europe/Paris", "2026-10-25 00:00", "2026-10-26 00:00"),
        ("Pacific/Kiritimati", "2026-01-06 00:00", "2026-01-07 00:00"),
        ("America/St_Johns", "2026-01-06 00:00", "2026-01-07 00:00"),
    ],
)
def test_windows_of_a_zone(store: Store, timezone: str, same: str, other: str) -> None:
    one = Stock(id="cups", count=1, window="day", timezone=timezone)
    end = when(other, timezone)
    assert take(store, "d1", one, now=when(same, timezone))
    assert left(store, one, now=end - 1.0) == {"cups": 0}
    assert left(store, one, now=end) == {"cups": 1}
