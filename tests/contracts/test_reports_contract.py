"""Every store counts the same, and whoever makes a report at the same time makes the same one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from proximity.model import parse_time
from proximity.reports.cells import told
from proximity.reports.reports import REPORTS, make_due, read_report
from proximity.store import Store
from tests.town import END, Town, cells

NOW = END + 2 * 3600.0


def test_the_numbers_are_those_of_what_happened(store: Store) -> None:
    town = Town(seed=3, size=45)
    town.write(store)
    found = {
        cell: value
        for name in REPORTS
        for period in read_report(store, name, NOW, 14).periods
        for cell, value in cells(name, parse_time(period.begin), period.rows or [])
    }
    right = {cell: told(len(people)) for cell, people in town.people.items()}
    assert found == {cell: count for cell, count in right.items() if count is not None}


def test_two_who_make_reports_at_once_agree(store: Store) -> None:
    Town(seed=4, size=30).write(store)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: make_due(store, NOW), range(4)))
    assert make_due(store, NOW) == 0
