"""What people did is written once, the same after a crash, doubled, late and in any order."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from proximity.campaigns.campaigns import PlaceFacts
from proximity.consent.objections import bury
from proximity.model import Consent, Event, Person, Record, Transition
from proximity.people import behaviour
from proximity.people.facts import NOTHING, Happened, Stay
from proximity.people.people import People
from proximity.people.tagging import NO_PLAN, parse_plan
from proximity.people.visits import deepest, write_visits
from proximity.store import Store, schema
from tests.proximity.test_ingest import INSIDE, OUTSIDE, START, Rig
from tests.street import fix

CANARY = "canary-7f3a"
PLAN = parse_plan(
    """
unknown = "keep"
[[event]]
name = "saved"
properties = { item = "text" }
[[attribute]]
name = "diet"
type = "text"
editable = true
"""
)


def did(at: float, name: str = "saved", subject: str = "s0", **more: Any) -> Event:
    own = more.pop("id", None)
    return Event(subject=subject, at=START + at, name=name, id=own, properties=more)


def rows(store: Store, table: sa.Table) -> list[Any]:
    order = list(table.primary_key.columns)
    return store.read(lambda c: list(c.execute(sa.select(table).order_by(*order)).mappings()))


def kept(rig: Rig) -> list[tuple[str, str, str | None]]:
    return [(row["person"], row["name"], row["place"]) for row in rows(rig.store, schema.events)]


def where_is(text: str, folder: Path) -> list[Path]:
    """Find a text in the bytes of all files of a folder."""
    return [file for file in folder.iterdir() if text.encode() in file.read_bytes()]


async def rig_of(path: Path, **options: Any) -> Rig:
    return await Rig(path / "engine.db", plan=PLAN, **options).started()


async def take(rig: Rig, *records: Record) -> None:
    for one in records:
        rig.clock.now = max(rig.clock.now, one.at)
        await rig.ingest.accept([one])
    await rig.settled()


WALK: tuple[Record, ...] = (
    did(0, id="before"),
    fix(START + 10, *INSIDE),
    did(20, item="shoe", id="in"),
    did(25, "purchase", product="tea"),
    fix(START + 30, *OUTSIDE),
    did(40, id="after"),
)


async def test_events_and_visits_are_kept_with_their_places(tmp_path: Path) -> None:
    rig = await rig_of(tmp_path)
    await take(rig, *WALK)
    assert kept(rig) == [
        ("s0", "saved", None),
        ("s0", "saved", "cafe"),
        ("s0", "purchase", "cafe"),
        ("s0", "saved", None),
    ]
    (visit,) = rows(rig.store, schema.visits)
    assert (visit["person"], visit["subject"], visit["place"]) == ("s0", "s0", "cafe")
    assert (visit["enter_at"], visit["exit_at"]) == (START + 10, START + 30)
    await rig.stop()


async def test_the_same_after_a_crash_at_any_step(tmp_path: Path) -> None:
    calm = await rig_of(tmp_path)
    await take(calm, *WALK)
    for step in range(len(WALK) + 1):
        folder = tmp_path / str(step)
        folder.mkdir()
        rig = await rig_of(folder)
        for one in WALK[:step]:
            rig.clock.now = max(rig.clock.now, one.at)
            await rig.ingest.accept([one])
        rig.crash()  # what was acknowledged is in the journal, and perhaps nowhere else
        rig = await rig.again()
        await take(rig, *WALK[step:])
        assert kept(rig) == kept(calm)
        assert rows(rig.store, schema.visits) == rows(calm.store, schema.visits)
        await rig.stop()
    await calm.stop()


async def test_in_one_batch_or_one_by_one(tmp_path: Path) -> None:
    rig = await rig_of(tmp_path)
    rig.clock.now = START + 40
    await rig.ingest.accept(list(WALK))
    await rig.settled()
    assert [place for _, _, place in kept(rig)] == [None, "cafe", "cafe", None]
    await rig.stop()


async def test_doubled_and_late(tmp_path: Path) -> None:
    rig = await rig_of(tmp_path)
    late = (WALK[0], WALK[2], WALK[1], WALK[5], WALK[4], WALK[3])
    rig.clock.now = START + 40
    for one in (*late, *late):
        await rig.ingest.accept([one])
    await rig.settled()
    found = sorted(kept(rig), key=str)
    assert found == sorted(
        [("s0", "saved", None), ("s0", "saved", "cafe"), ("s0", "purchase", "cafe"),
         ("s0", "saved", None)], key=str,
    )  # fmt: skip
    # The intake has forgotten, the store has not.
    rig.ingest._admission.intake._newer.clear()
    await rig.ingest.accept([WALK[2]])
    await rig.settled()
    assert len(kept(rig)) == 4
    await rig.stop()


async def test_a_visit_found_late_moves_what_was_done_in_it(tmp_path: Path) -> None:
    rig = await rig_of(tmp_path)
    await take(rig, fix(START, *OUTSIDE), did(20, id="a"))
    assert kept(rig) == [("s0", "saved", None)]
    rig.clock.now = START + 60
    for one in (fix(START + 50, *OUTSIDE), fix(START + 10, *INSIDE)):
        await rig.ingest.accept([one])
    await rig.settled()
    assert kept(rig) == [("s0", "saved", "cafe")]
    (visit,) = rows(rig.store, schema.visits)
    assert visit["exit_at"] is not None
    await rig.stop()


async def test_what_the_plan_speaks_against_is_set_aside_and_counted(tmp_path: Path) -> None:
    rig = await rig_of(tmp_path)
    await take(rig, did(0, itme="x"), did(1, "purchase", quantity="two"), did(2, item="ok"))
    assert kept(rig) == [("s0", "saved", None)]
    aside = rig.store.read(behaviour.quarantined)
    assert [(one.person, one.name) for one in aside] == [("s0", "saved"), ("s0", "purchase")]
    assert "did you mean 'item'" in aside[0].problem
    assert '"itme":"x"' in aside[0].event
    assert rig.ingest.counts["malformed"] == 2
    assert rig.store.read(lambda c: behaviour.quarantined(c, person="s1")) == []
    await rig.stop()


async def test_of_whom_agreed_to_nothing_no_byte_is_written(tmp_path: Path) -> None:
    rig = await rig_of(tmp_path, consent="required")
    person = Person(person="ada", subjects=("s0",), consents=(Consent(purpose="marketing"),))
    rig.store.write(lambda c: rig.people.put(c, person)).result()
    rig.people.reload()
    stranger = (did(0, subject=CANARY, item=CANARY), fix(START + 1, *INSIDE, CANARY))
    await take(rig, *stranger, did(2, item="mine"))
    assert kept(rig) == [("ada", "saved", None)]
    rig.crash()
    assert where_is(CANARY, tmp_path) == []


@pytest.mark.parametrize("erased", [False, True])
async def test_what_was_on_its_way_when_they_left_is_not_written(
    tmp_path: Path, erased: bool
) -> None:
    """The record is in the journal; before its consequences are written, the person is gone."""
    rig = await rig_of(tmp_path, consent="required")
    person = Person(person="ada", subjects=("s0",), consents=(Consent(purpose="marketing"),))
    rig.store.write(lambda c: rig.people.put(c, person)).result()
    rig.people.reload()
    rig.clock.now = START + 1
    receipt = await rig.ingest.accept([did(0, item=CANARY), fix(START, *INSIDE)])
    assert receipt.accepted == 2
    rig.crash()
    aside = Store.open(rig.path)
    people = People(aside, lambda: START + 2)
    if erased:
        aside.write(lambda c: bury(c, ["ada", "s0"], at=START + 2, source="test")).result()
    else:
        aside.write(lambda c: people.withdraw(c, "ada", at=START + 2)).result()
    aside.close()
    connection = sqlite3.connect(rig.path)
    connection.execute("DELETE FROM events")  # as if nothing had been written before the crash
    connection.execute("DELETE FROM visits")
    connection.execute("UPDATE meta SET value = '0' WHERE key = 'evaluated'")
    connection.execute("DELETE FROM snapshots")
    connection.commit()
    connection.close()
    rig.clock.now = START + 3
    rig = await rig.again()
    await rig.settled()
    assert kept(rig) == []
    assert rows(rig.store, schema.visits) == []
    await rig.stop()


async def test_an_answer_changes_what_is_known_and_an_older_one_does_not(tmp_path: Path) -> None:
    rig = await rig_of(tmp_path)
    await take(
        rig,
        did(10, "preference-set", attribute="diet", value="vegan"),
        did(20, "preference-set", topic="food", allow=False),
    )
    ada = rig.people.get("s0")
    assert ada is not None
    assert ada.attributes == {"diet": "vegan"}
    assert [(one.topic, one.allow, one.said_at) for one in ada.preferences] == [
        ("food", False, START + 20)
    ]
    attributes = rows(rig.store, schema.attributes)
    assert [(row["name"], row["text"]) for row in attributes] == [("diet", "vegan")]
    # Both said before what stands, and told after it.
    await take(
        rig,
        did(5, "preference-set", attribute="diet", value="ham"),
        did(15, "preference-set", topic="food", allow=True),
        did(12, "preference-set", place="cafe", allow=False),
    )
    ada = rig.people.get("s0")
    assert ada is not None
    assert ada.attributes == {"diet": "vegan"}
    assert [(one.place, one.topic, one.allow) for one in ada.preferences] == [
        ("cafe", None, False), (None, "food", False),
    ]  # fmt: skip
    await take(rig, did(30, "preference-set", attribute="diet", value=None))
    assert rows(rig.store, schema.attributes) == []
    await rig.stop()


async def test_another_systems_message_is_a_send(tmp_path: Path) -> None:
    rig = await rig_of(tmp_path)
    sent: dict[str, Any] = {"system": "crm", "channel": "email", "purpose": "marketing"}
    await take(
        rig,
        did(0, "message-sent", id="m1", **sent),
        did(0, "message-sent", id="m1", **sent),
        Event(subject="s0", at=START + 1, name="message-sent", properties=sent | {"id": "m2"}),
        did(2, "message-sent", channel="email"),
    )
    found = rows(rig.store, schema.sends)
    assert [(row["decision"], row["person"], row["system"], row["at"]) for row in found] == [
        ("crm:m1", "s0", "crm", START), ("crm:m2", "s0", "crm", START + 1),
    ]  # fmt: skip
    assert {(row["purpose"], row["channel"]) for row in found} == {("marketing", "email")}
    await rig.stop()


# The functions by themselves -------------------------------------------------------------------

TREE = {"shop": ("mall",), "mall": (), "cafe": ()}


def facts(place: str) -> PlaceFacts:
    return PlaceFacts(
        id=place, parents=TREE.get(place, ()), tags=(place,), venue_tags=(place, *TREE[place])
    )


def change(kind: Any, visit: str, at: float | None, **more: Any) -> Transition:
    fields = {"subject": "s0", "place": "cafe", "decided_at": 0.0, **more}
    return Transition(kind=kind, visit=visit, at=at, **fields)


@pytest.fixture
def store() -> Any:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


def visits(store: Store, *transitions: Transition, wanted: tuple[str, ...] = ("ada",)) -> list[Any]:
    persons = {"s0": "ada"}
    store.write(lambda c: write_visits(c, transitions, persons, wanted, facts)).result()
    return [
        (row["visit"], row["place"], row["enter_at"], row["exit_at"])
        for row in rows(store, schema.visits)
    ]


def test_visits_fold_as_transitions_do(store: Store) -> None:
    found = visits(store, change("enter", "v1", 1.0), change("pass", "p", 1.0))
    assert found == [("v1", "cafe", 1.0, None)]
    assert visits(store, change("dwell", "v1", 2.0)) == found
    assert visits(store, change("exit", "v1", 3.0)) == [("v1", "cafe", 1.0, 3.0)]
    moved = change("corrected", "v1", None, enter_at=0.5, exit_at=None)
    assert visits(store, moved) == [("v1", "cafe", 0.5, None)]
    both = (change("exit", "v1", 3.0), change("enter", "v2", 4.0), change("exit", "v2", 5.0))
    assert visits(store, *both) == [("v1", "cafe", 0.5, 3.0), ("v2", "cafe", 4.0, 5.0)]
    never = change("corrected", "v2", None, because={"was_enter_at": 4.0})
    assert visits(store, never) == [("v1", "cafe", 0.5, 3.0)]
    in_one = (
        change("enter", "v3", 6.0), change("exit", "v3", 7.0),
        change("corrected", "v3", None, enter_at=6.0, exit_at=8.0),
        change("corrected", "v1", None), change("exit", "unknown", 9.0),
    )  # fmt: skip
    assert visits(store, *in_one) == [("v3", "cafe", 6.0, 8.0)]


def test_no_visit_begins_of_whom_nothing_may_be_written(store: Store) -> None:
    assert visits(store, change("enter", "v1", 1.0), wanted=()) == []
    assert visits(store, change("exit", "v1", 2.0), wanted=()) == []


def test_a_profile_is_read_as_it_was_written(store: Store) -> None:
    visits(
        store, change("enter", "v1", 1.0, place="mall"), change("enter", "v2", 2.0, place="shop"),
        change("exit", "v2", 9.0, place="shop"),
    )  # fmt: skip
    heard = [
        behaviour.hear(Event(subject="s0", at=at, name="opened", id=str(at)), "ada")
        for at in (5.0, 9.0, 0.5)
    ]
    fresh = store.write(lambda c: behaviour.write_events(c, heard, {"ada"}, facts)).result()
    assert [one.own for one in fresh] == ["5.0", "9.0", "0.5"]
    assert store.write(lambda c: behaviour.write_events(c, heard, {"ada"}, facts)).result() == []
    found = store.read(lambda c: behaviour.read_profiles(c, ["ada", "bob"], 0.0, facts))
    ada = found["ada"]
    assert found["bob"] == NOTHING
    assert [(one.at, one.place) for one in ada.events] == [
        (0.5, None),
        (5.0, "shop"),
        (9.0, "mall"),
    ]
    assert ada.visits == (
        Stay("v1", "mall", 1.0, None, ("mall",)), Stay("v2", "shop", 2.0, 9.0, ("shop", "mall")),
    )  # fmt: skip
    later = store.read(lambda c: behaviour.read_profiles(c, ["ada"], 9.5, facts))["ada"]
    assert (later.events, [one.visit for one in later.visits]) == ((), ["v1"])
    assert isinstance(ada.events[0], Happened)


def test_a_profile_holds_the_newest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behaviour, "MOST", 3)
    visits(store, *(change("enter", f"v{n}", float(n)) for n in range(5)))
    heard = [behaviour.hear(Event(subject="s0", at=float(n), name="a"), "ada") for n in range(5)]
    store.write(lambda c: behaviour.write_events(c, heard, {"ada"}, facts)).result()
    found = store.read(lambda c: behaviour.read_profiles(c, ["ada"], 0.0, facts))["ada"]
    assert [one.at for one in found.events] == [2.0, 3.0, 4.0]
    assert [one.visit for one in found.visits] == ["v2", "v3", "v4"]


def test_the_deepest_place() -> None:
    assert deepest({"mall", "shop"}, facts) == "shop"
    assert deepest({"mall", "cafe"}, facts) == "cafe"
    assert deepest((), facts) is None


def test_history_is_written_once_and_triggers_nothing(store: Store) -> None:
    people = People(store, lambda: START)
    ada = Person(person="ada", subjects=("s0",), consents=(Consent(purpose="marketing"),))
    store.write(lambda c: people.put(c, ada)).result()
    long_ago = [
        did(-400 * 86400, id="old"),
        did(-300 * 86400, "message-sent", system="crm", id="m1"),
        did(-1, "message-sent"),
        did(0, subject="stranger"),
        did(0, "preference-set", attribute="diet", value="vegan"),
    ]

    def write() -> Any:
        return store.write(
            lambda c: behaviour.write_history(c, long_ago, people, PLAN, facts, now=START)
        ).result()

    first = write()
    assert (first.accepted, first.duplicate, first.unconsented, first.quarantined) == (3, 0, 1, 1)
    again = write()
    assert (again.accepted, again.duplicate) == (0, 3)
    assert [row["decision"] for row in rows(store, schema.sends)] == ["crm:m1"]
    assert rows(store, schema.triggers) == []
    people.reload()
    known = people.get("ada")
    assert known is not None
    assert known.attributes == {"diet": "vegan"}


def test_an_event_set_aside_is_cut_where_it_is_endless(store: Store) -> None:
    endless = Event(subject="s0", at=0.0, name="a", properties={"x" * 20_000: "y"})
    heard = behaviour.hear(endless, "ada", NO_PLAN)
    store.write(lambda c: behaviour.write_events(c, [heard], {"ada"}, facts)).result()
    (row,) = rows(store, schema.quarantine)
    assert len(row["event"]) < 16 * 1024
    assert msgspec.json.decode(row["event"])["name"] == "a"
    assert "x" * 50 in row["problem"]


def test_what_has_not_happened_yet_is_set_aside(store: Store) -> None:
    people = People(store, lambda: START)
    ada = Person(person="ada", subjects=("s0",), consents=(Consent(purpose="service"),))
    store.write(lambda c: people.put(c, ada)).result()
    ahead = [did(59, id="soon"), did(61, id="later")]
    found = store.write(
        lambda c: behaviour.write_history(c, ahead, people, PLAN, facts, now=START)
    ).result()
    assert (found.accepted, found.quarantined) == (1, 1)
    assert rows(store, schema.quarantine)[0]["problem"] == "at is ahead of our clock"


def test_one_mailing_to_many_is_a_send_to_each(store: Store) -> None:
    """A mail program has one id for a mailing: it counts for all who got it, and once for each."""
    sent = {"system": "crm", "id": "spring"}
    heard = [
        behaviour.hear(did(at, "message-sent", subject=who, id=f"{who}-{at}", **more), who)
        for who, at in (("ada", 0), ("bob", 0), ("ada", 1))
        for more in [{"system": "crm"}]
    ]
    for one in heard:
        one.event.properties.update(sent)
        store.write(
            lambda c, one=one: behaviour.write_events(c, [one], {one.person}, facts)  # type: ignore[misc]
        ).result()
    found = rows(store, schema.sends)
    assert sorted(row["person"] for row in found) == ["ada", "bob"]
    assert {row["decision"].partition("/")[0] for row in found} == {"crm:spring"}


def test_names_of_events() -> None:
    one = Event(subject="s0", at=1.0, name="a", properties={"x": 1, "y": 2})
    other = Event(subject="s0", at=1.0, name="a", properties={"y": 2, "x": 1}, received_at=9.0)
    assert behaviour.event_name(one) == behaviour.event_name(other)
    named = Event(subject="s0", at=2.0, name="b", id="7")
    assert behaviour.event_name(named) == behaviour.event_name(
        Event(subject="s0", at=3.0, name="c", id="7")
    )
    assert behaviour.event_name(named) != behaviour.event_name(
        Event(subject="s1", at=2.0, name="b", id="7")
    )
