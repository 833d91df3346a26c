"""How long does it take to erase somebody from a store of a million rows, and to sweep it?

Real files: every delete is written to the log, synced, folded back and cut, as a server does it
beside its other work; here nothing else goes on. Afterwards the files are searched byte by byte.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

from benchmarks.timing import Found, Row, Scale
from proximity.model import Consent, Person
from proximity.people.people import People
from proximity.privacy import retention
from proximity.privacy.leaving import erase_alone
from proximity.privacy.report import search
from proximity.privacy.retention import DAY_S, keep_days
from proximity.server.settings import data_file
from proximity.store import Store, ledger

NOW = 1_767_600_000.0
GOAL_S = 60.0
# Of a million rows a regular has some thousand: three a visit, a visit a day, for a year.
REGULAR = 1000
AT_ONCE = 10_000


def erasing(scale: Scale) -> Found:
    found = Found()
    for what, share in (
        ("a regular", min(0.5, REGULAR / scale.million)),
        ("whose all rows are", 1.0),
    ):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with contextlib.closing(Store.open(data_file(folder))) as store:
                _fill(store, scale.million, share)
                began = time.perf_counter()
                left = erase_alone(store, "canary-person", now=NOW, source="benchmark")
                taken = time.perf_counter() - began
                assert left is not None
                assert left[1] is not None
                held = search(folder, ["canary-person", "canary-phone"])
                rows = left[1].rows["ledger"]
                if share < 1.0:
                    found.rows.append(_sweep(store))
            if held:
                found.failed.append(f"after the erasure {held[0]}")
            found.rows.append(
                Row(
                    what=f"erasing somebody, {what}", against="", unit="s", values=[taken],
                    least=GOAL_S, fewer=True,
                    note=f"{rows:,} of {scale.million:,} rows of the ledger; no byte left",
                )
            )  # fmt: skip
    return found


def _sweep(store: Store) -> Row:
    began = time.perf_counter()
    gone = sum(rows for _, rows in retention.sweep(store, NOW + 400 * DAY_S, keep_days()))
    taken = time.perf_counter() - began
    return Row(
        what="sweeping a store that nobody swept for a year", against="", unit="s",
        values=[taken], fewer=True, note=f"{gone:,} rows deleted",
    )  # fmt: skip


def _fill(store: Store, count: int, share: float) -> None:
    """Write so many transitions, that share of them of the person who will leave."""
    people = People(store, lambda: NOW)
    who = Person(
        person="canary-person", subjects=("canary-phone",), consents=(Consent(purpose="marketing"),)
    )
    store.write(lambda c: people.put(c, who)).result()
    every = max(1, round(1 / share)) if share else 0
    entries: list[ledger.Entry] = []
    for number in range(count):
        theirs = every > 0 and number % every == 0
        subject = "canary-phone" if theirs else f"phone-{number % 10_000}"
        person = "canary-person" if theirs else f"p{number % 10_000}"
        record = (
            f'{{"kind":"enter","subject":"{subject}","place":"store-{number % 50}",'
            f'"visit":"{number:032x}","at":"2026-01-05T08:00:00.000Z",'
            '"decided_at":"2026-01-05T08:00:20.000Z","because":{"accuracy_m":8.0,"edge_m":-12.4}}'
        )
        entries.append(
            ledger.Entry(
                kind="transition", id=f"{number:032x}", subject=subject,
                place=f"store-{number % 50}", person=person, visit=f"{number:032x}",
                campaign=None, at=NOW, record=record,
            )
        )  # fmt: skip
        if len(entries) == AT_ONCE or number + 1 == count:
            store.write(lambda c, some=entries: ledger.append(c, some)).result()
            entries = []
