"""How long does an explanation take among a million decisions, and a week decided again?"""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

import geofences
from benchmarks import weeks
from benchmarks.filling import fill
from benchmarks.timing import Check, Found, Row, Scale
from proximity.backtest.backtest import Backtest, backtest
from proximity.explain.explain import explain
from proximity.explain.readers import table
from proximity.explain.sentences import tell
from proximity.model import Decision, format_time
from proximity.people.people import People
from proximity.store import Store, ledger
from proximity.store.folder import state_of
from simulator.offers import Offers
from simulator.replay import Replay

PEOPLE = 10_000
# Fewer are as many rows each: a week of a thousand, told again for years.
EXPLAINED = 1000
ASKED = 300
# As many people as are also decided by the dispatcher itself, to compare.
COMPARED = 60
_AT_ONCE = 5000
WEEK_S = 7 * weeks.DAY_S
# The same people's decisions of later weeks. Of a table of their own: a table that is read and
# written in one statement is copied first.
_LATER = (
    "CREATE TEMP TABLE first AS SELECT * FROM ledger WHERE kind = 'decision' AND id LIKE '%-0'",
    f"""
    WITH RECURSIVE later(week) AS (
        SELECT 1 UNION ALL SELECT week + 1 FROM later WHERE week + 1 < :weeks
    )
    INSERT INTO ledger (kind, id, subject, place, person, visit, campaign, at, record)
    SELECT kind, substr(id, 1, length(id) - 1) || week, subject, place, person,
        substr(visit, 1, length(visit) - 1) || week, campaign, at + week * {WEEK_S},
        replace(record, id, substr(id, 1, length(id) - 1) || week)
    FROM later CROSS JOIN first LIMIT :more
    """,
)


def deciding_again(scale: Scale) -> Found:
    """Decide a week of many people again, and compare some of it with the dispatcher's."""
    found = Found()
    count = max(20, min(PEOPLE, scale.million // 100))
    index = weeks.shops()
    with tempfile.TemporaryDirectory() as name, contextlib.closing(
        Store.open(state_of(Path(name)))
    ) as store:  # fmt: skip
        people = weeks.fill(store, index, count)
        spent: list[float] = []
        while len(spent) < 3 and sum(spent) < scale.limit_s:
            began = time.process_time()
            result = _again(store, people, index)
            spent.append(time.process_time() - began)
        met = sum(one.met for one in result.campaigns)
        found.rows.append(
            Row(
                what=f"a week of {count:,} people decided again by `campaign backtest`",
                against="", unit="s of one core", values=spent, aim=60.0, fewer=True,
                note=f"{result.transitions:,} transitions, {met:,} decisions, "
                f"{result.sent:,} offers to {result.people:,} people",
            )
        )  # fmt: skip
    found.checks.append(_compared(min(COMPARED, count)))
    return found


def explaining(scale: Scale) -> Found:
    """Ask about some people among so many decisions of theirs and others'."""
    found = Found()
    count = max(20, min(EXPLAINED, scale.million // 100))
    rules, index = weeks.campaigns(), weeks.shops()
    with tempfile.TemporaryDirectory() as name:
        path = state_of(Path(name))
        with contextlib.closing(Store.open(path)) as store:
            people = weeks.fill(store, index, count)
            decisions: list[Decision] = []
            _again(store, people, index, decisions.append)
            first = _append(store, decisions)
        fill(path, _LATER, {"weeks": -(-scale.million // first), "more": scale.million - first})
        with contextlib.closing(Store.open(path)) as store:
            found.rows += _asked(store, count, rules, weeks.places(index))
    return found


def _again(
    store: Store,
    people: People,
    index: geofences.FenceIndex,
    each: Callable[[Decision], None] | None = None,
) -> Backtest:
    until = weeks.MONDAY + 7 * weeks.DAY_S
    return store.read(
        lambda conn: backtest(
            conn, weeks.campaigns(), weeks.MONDAY, until, people=people,
            places=weeks.places(index), each=each,
        )
    )  # fmt: skip


def _append(store: Store, decisions: list[Decision]) -> int:
    """Append decisions as those of a week later; tells how many there are."""
    entries = [
        ledger.entry(
            msgspec.structs.replace(
                one, id=f"{one.id}-0", visit=f"{one.visit}-0", at=one.at + WEEK_S
            )
        )
        for one in decisions
        if one.until is None  # a deferral has the id of what comes after it
    ]
    for start in range(0, len(entries), _AT_ONCE):
        some = entries[start : start + _AT_ONCE]
        store.write(lambda conn, some=some: ledger.append(conn, some)).result()
    return len(entries)


def _asked(store: Store, count: int, rules: object, places: object) -> list[Row]:
    """Ask about many people, at any time and last, as each of the three readers does."""
    chance = random.Random(3)
    taken: dict[str, list[float]] = {"the last time": [], "any time": [], "a person": []}
    for _ in range(min(ASKED, count)):
        number = chance.randrange(count)
        at = weeks.MONDAY + chance.random() * 300 * weeks.DAY_S
        for what, asked in (
            ("the last time", {"subject": f"phone-{number}"}),
            ("any time", {"subject": f"phone-{number}", "at": at}),
            ("a person", {"person": f"p{number}", "at": at}),
        ):
            # The processor's time: on a machine that others use too, waiting is not explaining.
            began = time.process_time()
            told = store.read(
                lambda conn, asked=asked: explain(
                    conn, campaigns=rules, facts=places.facts, **asked
                )
            )
            table(told)
            tell(told, ("fr",), "Europe/Paris")
            taken[what].append((time.process_time() - began) * 1000.0)
            assert told.visits or "at" in asked, (format_time(at), told)
    total = store.read(lambda conn: conn.exec_driver_sql("select count(*) from ledger").scalar())
    return [
        Row(
            what=f"an explanation of {what}, read, for three readers", against="", unit="ms",
            values=sorted(values), aim=50.0, fewer=True,
            note=f"{total:,} rows in the ledger, {len(values)} asked",
        )
        for what, values in taken.items()
    ]  # fmt: skip


def _compared(count: int) -> Check:
    """Decide a week of some people by dispatcher and by backtest, and count what differs."""
    rules, index = weeks.campaigns(), weeks.shops()
    with contextlib.closing(Store.open(":memory:")) as store:
        people = weeks.fill(store, index, count)
        again: list[dict[str, object]] = []
        store.read(
            lambda conn: backtest(
                conn, rules, weeks.MONDAY, weeks.MONDAY + 8 * weeks.DAY_S, people=people,
                places=weeks.places(index), each=lambda one: again.append(one.to_record()),
            )
        )  # fmt: skip
        lived: list[dict[str, object]] = []
        offers = Offers(store, rules, people, weeks.places(index))
        replay = Replay(
            weeks.Engine(index),
            lambda output, record: lived.append(record) if output == "decisions" else None,
            offers=offers,
            people=people,
        )
        replay.feed(weeks.walks(count))
        replay.finish(lambda _last: weeks.MONDAY + 7 * weeks.DAY_S)
        offers.close()
    differ = sum(a != b for a, b in zip(again, lived, strict=False))
    differ += abs(len(again) - len(lived))
    return Check("backtest and dispatcher", len(lived), differ)
