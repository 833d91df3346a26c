"""What has outlived its rule goes, and nothing else: a store of known ages, swept at known times."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from proximity.dispatch import offers, outbox
from proximity.model import ProximityError
from proximity.privacy import retention
from proximity.privacy.policy import parse_policy
from proximity.privacy.retention import AGED, DAY_S, SCHEDULE, keep_days
from proximity.store import Store, schema
from tests.proximity import given

NOW = 1_800_000_000.0

# A row of each table that time alone ends; `at` is filled in.
ROWS: dict[str, dict[str, Any]] = {
    "ledger": {"kind": "transition", "id": "t", "person": "p", "record": "{}"},
    "visits": {"visit": "v", "person": "p", "subject": "s", "place": "x"},
    "events": {"id": "e", "person": "p", "subject": "s", "name": "n", "properties": "{}"},
    "quarantine": {"id": "q", "person": "p", "name": "n", "problem": "x", "event": "{}"},
    "sends": {
        "decision": "d", "person": "p", "campaign": "c", "purpose": "marketing", "place": "x",
        "visit": "v",
    },
    "triggers": {"id": "g", "trigger": b"", "state": "aside", "token": 0, "attempts": 1},
    "outbox": {
        "key": "k", "channel": "c", "offer": b"", "created_at": 0.0, "next_at": 0.0,
        "state": "ready", "token": 0, "attempts": 0,
    },
    "offers": {
        "key": "k", "person": "p", "campaign": "c", "place": "x", "offer": b"", "expires_at": 0.0,
        "state": "accepted", "changed": 1, "in_inbox": 1,
    },
    "codes": {"code": "ABCD", "key": "k", "person": "p"},
    "tokens": {"id": "i", "role": "feed", "hash": "h", "created_at": 0.0},
    "gateway_secrets": {"id": "i", "gateway": "g", "secret": "s", "created_at": 0.0},
    "signed_requests": {"gateway": "g", "message": "m"},
    "gateway_clocks": {"gateway": "g", "boot": "b", "offset_s": 0.0, "since": 0.0, "trusted": 1},
    "messages": {"peer": "crm", "id": "m"},
}  # fmt: skip
TIMES = {
    "ledger": "at", "visits": "enter_at", "events": "at", "quarantine": "at", "sends": "at",
    "triggers": "due_at", "outbox": "expires_at", "offers": "created_at", "codes": "at",
    "tokens": "revoked_at",
    "gateway_secrets": "until", "signed_requests": "at", "gateway_clocks": "heard_at",
    "messages": "at",
}  # fmt: skip


@pytest.fixture
def store() -> Store:
    return Store.open(":memory:")


def fill(store: Store, table: str, at: float, **fields: Any) -> None:
    row = {**ROWS[table], TIMES[table]: at, **fields}
    store.write(lambda c: c.execute(schema.metadata.tables[table].insert(), row)).result()


def swept(store: Store, now: float, days: dict[str, float] | None = None) -> Counter[str]:
    found: Counter[str] = Counter()
    for table, rows in retention.sweep(store, now, keep_days(days)):
        found[table] += rows
    return found


def count(store: Store, table: str) -> int:
    query = sa.select(sa.func.count()).select_from(schema.metadata.tables[table])
    return store.read(lambda c: int(c.scalar(query) or 0))


@pytest.mark.parametrize("aged", AGED, ids=lambda one: f"{one.rule}-{one.table.name}")
def test_a_row_stays_for_as_long_as_its_rule_says_and_no_longer(
    store: Store, aged: retention.Aged
) -> None:
    kind = {"decisions": {"kind": "decision"}}.get(aged.rule, {})
    days = SCHEDULE[aged.rule].days
    assert days is not None
    fill(store, aged.table.name, NOW, **kind)
    assert swept(store, NOW + days * DAY_S) == Counter()
    assert swept(store, NOW + days * DAY_S + 1) == Counter({aged.table.name: 1})
    assert count(store, aged.table.name) == 0


def test_every_rule_that_ends_by_time_ends_something() -> None:
    by_time = {name for name, rule in SCHEDULE.items() if rule.days is not None}
    by_hand = {"traces", "person", "notices"}  # the engine's, the dormant's, the processors'
    assert {one.rule for one in AGED} == by_time - by_hand


def test_transitions_and_decisions_go_each_in_their_time(store: Store) -> None:
    fill(store, "ledger", NOW, id="t", kind="transition")
    fill(store, "ledger", NOW, id="d", kind="decision")
    assert swept(store, NOW + 31 * DAY_S) == Counter(ledger=1)
    assert swept(store, NOW + 91 * DAY_S) == Counter(ledger=1)


def test_a_visit_that_is_over_counts_from_its_end(store: Store) -> None:
    fill(store, "visits", NOW, exit_at=NOW + 10 * DAY_S)
    assert swept(store, NOW + 31 * DAY_S) == Counter()
    assert swept(store, NOW + 41 * DAY_S) == Counter(visits=1)


def test_a_token_in_force_is_never_old(store: Store) -> None:
    fill(store, "tokens", NOW, revoked_at=None)
    assert swept(store, NOW + 4000 * DAY_S) == Counter()


def test_many_rows_go_in_pieces(store: Store) -> None:
    for number in range(2500):
        fill(store, "events", NOW, id=str(number))
    pieces = list(retention.sweep(store, NOW + 181 * DAY_S, keep_days()))
    assert pieces == [("events", 1000), ("events", 1000), ("events", 500)]


def test_with_a_send_goes_what_it_took(store: Store) -> None:
    fill(store, "sends", NOW, decision="d1")
    taken = [{"decision": one, "stock": "s", "window": ""} for one in ("d1", "d2")]
    store.write(lambda c: c.execute(schema.reservations.insert(), taken)).result()
    swept(store, NOW + 400 * DAY_S)
    assert store.read(lambda c: list(c.scalars(sa.select(schema.reservations.c.decision)))) == [
        "d2"
    ]


def test_what_nobody_took_up_for_a_week_has_expired(store: Store) -> None:
    """A server that was off over the holidays: what its offers came to is known all the same."""

    def wait(connection: sa.Connection) -> None:
        some = [given.offer(key=key, created_at=NOW, expires_at=NOW + 60.0) for key in ("a", "b")]
        offers.put(connection, some)
        outbox.append(connection, some)

    def told(connection: sa.Connection) -> list[Any]:
        table = schema.ledger
        return [
            json.loads(one)["outcome"]
            for one in connection.scalars(
                sa.select(table.c.record).where(table.c.kind == "delivery")
            )
        ]

    store.write(wait).result()
    assert swept(store, NOW + 8 * DAY_S) == Counter(outbox=2)
    assert store.read(told) == ["expired", "expired"]
    states = sa.select(schema.offers.c.key, schema.offers.c.state).order_by(schema.offers.c.key)
    assert store.read(lambda c: [tuple(row) for row in c.execute(states)]) == [
        ("a", "expired"), ("b", "expired"),
    ]  # fmt: skip


def consent(store: Store, person: str, at: float) -> None:
    row = {"person": person, "recorded_at": at, "source": "test"}
    store.write(lambda c: c.execute(schema.consents.insert(), row)).result()


def dormant(store: Store, now: float) -> tuple[str, ...]:
    return store.read(lambda c: retention.dormant(c, now, keep_days()))


def test_who_gave_no_sign_for_a_year_is_dormant(store: Store) -> None:
    consent(store, "p", NOW)
    consent(store, "q", NOW + 100 * DAY_S)
    assert dormant(store, NOW + 365 * DAY_S) == ()
    assert dormant(store, NOW + 366 * DAY_S) == ("p",)


def test_a_visit_keeps_somebody_known_after_it_was_swept(store: Store) -> None:
    consent(store, "p", NOW)
    fill(store, "visits", NOW + 300 * DAY_S)
    assert swept(store, NOW + 340 * DAY_S) == Counter(visits=1)
    assert dormant(store, NOW + 400 * DAY_S) == ()
    assert dormant(store, NOW + 666 * DAY_S) == ("p",)


def test_of_a_stranger_no_day_is_kept(store: Store) -> None:
    fill(store, "visits", NOW)
    swept(store, NOW + 31 * DAY_S)
    assert count(store, "last_seen") == 0


def test_who_was_only_listed_has_a_year_from_the_first_sweep(store: Store) -> None:
    row = {"person": "p", "record": "{}"}
    store.write(lambda c: c.execute(schema.people.insert(), row)).result()
    assert dormant(store, NOW + 4000 * DAY_S) == ()
    assert store.write(lambda c: retention.date(c, NOW)).result() == 1
    assert store.write(lambda c: retention.date(c, NOW)).result() == 0
    assert dormant(store, NOW + 364 * DAY_S) == ()
    assert dormant(store, NOW + 367 * DAY_S) == ("p",)


@pytest.mark.parametrize("told_at", [NOW, None])
def test_a_processor_is_not_waited_for_for_ever(store: Store, told_at: float | None) -> None:
    """Nor is one that could not be told: it was taken out of the file, or never answers."""
    erasure = {"id": "e", "hash": "h", "at": NOW}
    row = {"erasure": "e", "processor": "crm", "told_at": told_at, "person": "p"}
    store.write(lambda c: c.execute(schema.erasures.insert(), erasure)).result()
    store.write(lambda c: c.execute(schema.erasure_notices.insert(), row)).result()
    assert swept(store, NOW + 364 * DAY_S) == Counter()
    assert swept(store, NOW + 366 * DAY_S) == Counter(erasure_notices=1)
    told = sa.select(schema.erasure_notices.c.person)
    assert store.read(lambda c: c.scalar(told)) is None


def test_what_is_past_its_time_is_told(store: Store) -> None:
    fill(store, "events", NOW, id="1")
    fill(store, "events", NOW + 5, id="2")
    fill(store, "visits", NOW + 400 * DAY_S)
    told = store.read(lambda c: retention.overdue(c, NOW + 400 * DAY_S, keep_days()))
    assert told == {"events": (2, NOW)}


class TestFile:
    def test_a_file_may_keep_shorter_or_longer(self, store: Store) -> None:
        policy = parse_policy("[retention]\nvisits = 2\nevents = 400.5\n", "p", Path())
        assert (policy.days["visits"], policy.days["events"]) == (2.0, 400.5)
        fill(store, "visits", NOW)
        assert swept(store, NOW + 3 * DAY_S, policy.days) == Counter(visits=1)

    def test_every_fault_is_named(self) -> None:
        text = """
        [retention]
        visits = 0
        visit = 3
        kept = 4
        traces = 1
        [sensitive]
        layer = "nowhere.geojson"
        [[processor]]
        id = "crm"
        url = "http://10.0.0.1/erase"
        """
        with pytest.raises(ProximityError) as refused:
            parse_policy(text, "privacy.toml", Path("/"))
        problems = "\n".join(refused.value.problems)
        for said in (
            "visits must be a number from 1",
            "unknown key 'visit'; did you mean 'visits'?",
            "unknown key 'kept'",
            "unknown key 'traces'",
            "layer 'nowhere.geojson' cannot be read",
            "url: the host is an address that is not public",
            "secret_file or secret_env",
        ):
            assert said in problems, said
