"""A table whose times are texts: each of its rows is read, however its time is written."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proximity.commands.sides import Folder
from proximity.people.people import People
from proximity.privacy import erasing
from proximity.store import Store
from proximity.sync.foreign import open_foreign
from proximity.sync.mapping import parse_mapping
from proximity.sync.round import PAGE, Exchanged, exchange
from proximity.sync.rules import Rules

MAPPING: dict[str, Any] = {
    "table": "customers",
    "key": "no",
    "changed_at": "at",
    "columns": {"tier": "attributes.tier"},
    "consents": {"news": {"purpose": "marketing"}},
}


class Shop:
    """A shop's own table, and the engine beside it."""

    def __init__(self, folder: Path, kind: str = "TEXT") -> None:
        self.folder = folder
        self.rows = sqlite3.connect(folder / "shop.db", isolation_level=None)
        self.rows.execute(
            f"CREATE TABLE customers (no TEXT PRIMARY KEY, tier TEXT, news BOOLEAN, at {kind})"
        )
        self.store = Store.open(":memory:")

    def has(self, *rows: tuple[str, object]) -> None:
        self.rows.execute("BEGIN")
        self.rows.executemany("INSERT INTO customers VALUES (?, 'gold', 1, ?)", rows)
        self.rows.execute("COMMIT")

    def round(self, overlap_s: float = 60.0) -> tuple[Exchanged, list[str]]:
        mapping = parse_mapping({**MAPPING, "overlap_s": overlap_s}, "crm.toml")
        url = f"sqlite:///{self.folder / 'shop.db'}"
        theirs = open_foreign(url, mapping, self.folder / "crm.state")
        try:
            done = exchange(Folder(self.store, Rules()), theirs, they="crm", we="engine")
            return done, theirs.refused
        finally:
            theirs.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.store.close()
    made.rows.close()


def test_more_rows_of_one_moment_than_a_page_holds_are_all_read(shop: Shop) -> None:
    # Written otherwise than we write it: without the fraction of a second.
    many = 2 * PAGE + 1
    shop.has(*((f"p{number:05}", "2026-01-06T12:00:00Z") for number in range(many)))
    done, refused = shop.round()
    assert (done.here.changed, refused) == (many, [])
    assert shop.round()[0].changes == 0


@pytest.mark.parametrize("overlap_s", [0.0, 60.0])
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("2026-01-06T10:00:00-05:00", "2026-01-06T10:30:00-05:00"),
        ("2026-01-06T20:00:00-05:00", "2026-01-06T20:30:00-05:00"),
        ("2026-01-06T12:00:00Z", "2026-01-06 12:00:01Z"),
        ("2026-01-06T12:00:00Z", "2026-01-06T23:00:00+11:00"),
    ],
)
def test_a_later_row_is_read_whatever_its_offset(
    shop: Shop, first: str, then: str, overlap_s: float
) -> None:
    shop.has(("ann", first))
    assert shop.round(overlap_s)[0].here.changed == 1
    shop.has(("bob", then))
    assert shop.round(overlap_s)[0].here.changed == 1
    assert shop.round(overlap_s)[0].changes == 0


def test_a_last_row_whose_time_is_none_is_named_and_the_others_come(shop: Shop) -> None:
    shop.has(("ann", "2026-01-06T12:00:00Z"), ("bob", "never"), ("cy", "2026-01-06T12:00:00"))
    done, refused = shop.round()
    assert done.here.changed == 1
    assert refused == [
        "row 'cy': '2026-01-06T12:00:00' lacks a time zone: add Z or an offset",
        "row 'bob': 'never' is no RFC 3339 time",
    ]
    shop.has(("di", "2026-01-06T12:00:01Z"))
    assert shop.round()[0].here.changed == 1


@pytest.mark.parametrize("kind", ["INTEGER", "REAL", "NUMERIC"])
def test_numbers_with_more_rows_than_a_page(tmp_path: Path, kind: str) -> None:
    shop = Shop(tmp_path, kind)
    at = 1_767_700_000 if kind == "INTEGER" else 1_767_700_000.1
    shop.has(*((f"p{number:05}", at) for number in range(PAGE + 1)))
    assert shop.round()[0].here.changed == PAGE + 1
    assert shop.round()[0].changes == 0
    shop.store.close()
    shop.rows.close()


def table(folder: Path, columns: str, *rows: tuple[object, ...]) -> None:
    with sqlite3.connect(folder / "shop.db", isolation_level=None) as made:
        made.execute("DROP TABLE customers")
        made.execute(f"CREATE TABLE customers (no TEXT PRIMARY KEY, {columns})")
        for row in rows:
            made.execute(f"INSERT INTO customers VALUES ({', '.join('?' * len(row))})", row)
    made.close()


AT = "2026-01-06T12:00:00Z"


@pytest.mark.parametrize(
    ("kind", "none", "mark"),
    [
        ("TEXT", "", "yes"),
        ("TEXT", None, AT),
        ("BOOLEAN", 0, 1),
        ("INTEGER", 0, 1_767_700_000),
    ],
)
def test_who_has_an_empty_mark_is_not_erased(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shop: Shop,
    kind: str,
    none: object,
    mark: object,
) -> None:
    monkeypatch.setitem(MAPPING, "erased_at", "gone")
    columns = f"tier TEXT, news BOOLEAN, at TEXT, gone {kind}"
    table(tmp_path, columns, ("ann", "gold", 1, AT, none), ("bob", "gold", 1, AT, mark))
    here = shop.round()[0].here
    assert (here.changed, here.erasing) == (1, 1)
    people = People(shop.store)
    assert shop.store.read(lambda c: people.read(c, "ann")).attributes == {"tier": "gold"}
    # And who is erased here gets the mark there, whatever an empty one is.
    shop.store.write(lambda c: erasing.begin(c, people, "ann", now=time.time())).result()
    assert shop.round()[0].there.erasing == 1
    (gone,) = shop.rows.execute("SELECT gone FROM customers WHERE no = 'ann'").fetchone()
    assert gone
    assert shop.round()[0].changes == 0


def test_a_text_agrees_by_a_word_that_is_known_alone(tmp_path: Path, shop: Shop) -> None:
    words = ["no", "False", "0", "", None, "YES", "true", "perhaps"]
    rows = [(f"p{n}", "gold", word, AT) for n, word in enumerate(words)]
    table(tmp_path, "tier TEXT, news TEXT, at TEXT", *rows)
    _, refused = shop.round()
    people = People(shop.store)
    agreed = [
        one for one, *_ in rows if shop.store.read(lambda c, one=one: people.read(c, one)).consents
    ]
    assert agreed == ["p5", "p6"]
    assert refused == ["row 'p7': news: 'perhaps' is neither yes nor no: write true or false"]


def test_of_a_row_that_was_refused_all_cells_come_once_it_is_mended(
    tmp_path: Path, shop: Shop
) -> None:
    row = ("ann", float("inf"), 1, AT)
    table(tmp_path, "tier NUMERIC, news BOOLEAN, at TEXT", row)
    assert shop.round()[1] == ["row 'ann': attributes.tier: Infinity is no number"]
    shop.rows.execute("UPDATE customers SET tier = 7, at = '2026-01-06T12:00:01Z'")
    assert shop.round()[0].here.changed == 1
    people = People(shop.store)
    ann = shop.store.read(lambda c: people.read(c, "ann"))
    assert (ann.attributes, len(ann.consents)) == ({"tier": 7}, 1)
