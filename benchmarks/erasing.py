"""How long does it take to erase somebody from a store of a million rows, and to sweep it?

Real files: every delete is written to the log, synced, folded back and cut, as a server does it
beside its other work; here nothing else goes on. Afterwards the files are searched byte by byte.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

from benchmarks.filling import fill
from benchmarks.timing import Found, Row, Scale
from proximity.model import Consent, Person
from proximity.people.people import People
from proximity.privacy import retention
from proximity.privacy.leaving import erase_alone
from proximity.privacy.report import search
from proximity.privacy.retention import DAY_S, keep_days
from proximity.store import Store
from proximity.store.folder import state_of

NOW = 1_767_600_000.0
GOAL_S = 60.0
# Of a million rows a regular has some thousand: three a visit, a visit a day, for a year.
REGULAR = 1000
SWEPT_SHARE = 5
"""A fifth of the rows is swept: what that takes grows with their number."""
_COUNT = "SELECT count(*) FROM ledger"
_VISITS = """
    WITH RECURSIVE rows(number, who) AS (
        SELECT 0, 'regular' UNION ALL
        SELECT number + 1, iif((number + 1) % :every = 0, 'regular', 'all')
        FROM rows WHERE number + 1 < :count
    )
    INSERT INTO ledger (kind, id, subject, place, person, visit, at, record)
    SELECT 'transition', printf('%032x', number), 'canary-phone-' || who,
        'store-' || (number % 50), 'canary-' || who, printf('%032x', number), :now,
        printf('{"kind":"enter","subject":"canary-phone-%s","place":"store-%d","visit":"%032x",'
            || '"at":"2026-01-05T08:00:00.000Z","decided_at":"2026-01-05T08:00:20.000Z",'
            || '"because":{"accuracy_m":8.0,"edge_m":-12.4}}', who, number % 50, number)
    FROM rows
"""


def erasing(scale: Scale) -> Found:
    """Erase a regular, then one whose all other rows are; sweep another store."""
    found = Found()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = state_of(folder)
        _make(path, scale.million, min(REGULAR, scale.million // 2))
        with contextlib.closing(Store.open(path)) as store:
            for what, person in (("a regular", "regular"), ("whose all rows are", "all")):
                total = store.read(lambda conn: conn.exec_driver_sql(_COUNT).scalar())
                began = time.perf_counter()
                left = erase_alone(store, f"canary-{person}", now=NOW, source="benchmark")
                taken = time.perf_counter() - began
                assert left is not None
                assert left[1] is not None
                held = search(folder, [f"canary-{person}", f"canary-phone-{person}"])
                if held:
                    found.failed.append(f"after the erasure {held[0]}")
                found.rows.append(
                    Row(
                        what=f"erasing somebody, {what}", against="", unit="s", values=[taken],
                        least=GOAL_S, fewer=True,
                        note=f"{left[1].rows['ledger']:,} of {total:,} rows of the ledger; "
                        "no byte left",
                    )
                )  # fmt: skip
    found.rows.append(_sweep(scale.million // SWEPT_SHARE))
    return found


def _sweep(count: int) -> Row:
    with tempfile.TemporaryDirectory() as name:
        path = state_of(Path(name))
        _make(path, count, count // 2)
        with contextlib.closing(Store.open(path)) as store:
            began = time.perf_counter()
            gone = sum(rows for _, rows in retention.sweep(store, NOW + 400 * DAY_S, keep_days()))
            taken = time.perf_counter() - began
    return Row(
        what="sweeping a store that nobody swept for a year", against="", unit="s",
        values=[taken], fewer=True, note=f"{gone:,} rows deleted",
    )  # fmt: skip


def _make(path: Path, count: int, regular: int) -> None:
    """Make a store of so many transitions: some a regular's, the rest another person's."""
    with contextlib.closing(Store.open(path)) as store:
        people = People(store, lambda: NOW)
        for name in ("regular", "all"):
            who = Person(
                person=f"canary-{name}", subjects=(f"canary-phone-{name}",),
                consents=(Consent(purpose="marketing"),),
            )  # fmt: skip
            store.write(lambda c, who=who: people.put(c, who)).result()
    fill(path, [_VISITS], {"count": count, "every": count // regular, "now": NOW})
