"""Somebody is taken out of the journal, and nothing of anybody else is."""

from __future__ import annotations

import msgspec
import pytest
import sqlalchemy as sa

from beacon_gateway.model import Beacon
from proximity.consent import chain
from proximity.model import Consent, Event, Fix, Person, Record, Sighting
from proximity.people.people import People
from proximity.privacy import erasing
from proximity.privacy.erasing import begin, finish, pending, personal_tables
from proximity.privacy.leaving import erase_alone
from proximity.privacy.receipts import Receipt, genuine, receipt_of
from proximity.privacy.striking import strike
from proximity.store import Store, journal, schema
from proximity.store.journal import EntryChange, Forgetting, SiteText

NOW = 1_800_000_000.0
UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
OTHER = "0d3c2f6e-5a51-4d0b-9d0c-cab1e5ca9a21"
SITE = f'[[beacon]]\nuuid = "{UUID}"\nsubject = "tag-a"\n'


def beacon(uuid: str, major: int = 1) -> Beacon:
    return Beacon(format="ibeacon", uuid=uuid, major=major, minor=1, power_dbm=-59)


def sighting(uuid: str, major: int = 1) -> Sighting:
    return Sighting(beacon=beacon(uuid, major), at=NOW, rssi_dbm=-60, gateway="gw-1")


def fix(subject: str) -> Fix:
    return Fix(subject=subject, at=NOW, lon=2.35, lat=48.85)


@pytest.fixture
def store() -> Store:
    return Store.open(":memory:")


@pytest.fixture
def people(store: Store) -> People:
    return People(store, lambda: NOW)


def append(store: Store, kind: journal.Kind, payload: bytes) -> None:
    def write(conn: sa.Connection) -> None:
        position = journal.end(conn)[0] + 1
        row = journal.Row(position=position, kind=kind, now=NOW, version="", payload=payload)
        journal.append(conn, row)

    store.write(write).result()


def records(store: Store) -> list[Record]:
    rows = store.read(lambda c: list(journal.rows_after(c, 0, kinds=("records",))))
    return [record for row in rows for record in journal.decode_records(row.payload)]


def test_only_their_records_go_and_the_rest_stays_in_order(store: Store) -> None:
    event = Event(subject="phone-a", at=NOW, name="open")
    kept = [
        fix("phone-b"),
        sighting(OTHER),
        fix("phone-ab"),
        event.__class__(subject="b", at=NOW, name="phone-a"),
    ]
    mixed = [kept[0], fix("phone-a"), kept[1], event, kept[2], kept[3]]
    append(store, "records", journal.encode_records(mixed))
    append(store, "records", journal.encode_records([fix("phone-c")]))
    assert strike(store, ["ann", "phone-a"]) == 2
    assert records(store) == [*kept, fix("phone-c")]
    assert strike(store, ["ann", "phone-a"]) == 0


def test_what_a_receiver_heard_of_their_tag_goes_wherever_it_was_enrolled(store: Store) -> None:
    """In the operator's site, over HTTP still, or over HTTP once."""
    site = SiteText("site.toml", SITE)
    store.write(lambda c: journal.change_site(c, site)).result()
    record = msgspec.json.encode({"uuid": OTHER, "major": 2, "subject": "card-a"}).decode()
    put = EntryChange("beacon", "card-1", None, record)
    append(store, "enrolments", msgspec.msgpack.encode([put]))
    heard = [sighting(UUID), sighting(OTHER, 2), sighting(OTHER, 3)]
    append(store, "records", journal.encode_records(heard))
    gone = Forgetting(["tag-a", "card-a", "else"], [EntryChange("beacon", "card-1", record, None)])
    append(store, "forget", msgspec.msgpack.encode(gone))
    assert strike(store, ["tag-a", "card-a"]) == 2
    assert records(store) == [heard[2]]
    rows = store.read(lambda c: list(journal.rows_after(c, 0)))
    assert not any(b"card-a" in row.payload or b"tag-a" in row.payload for row in rows)
    assert msgspec.msgpack.decode(rows[-1].payload, type=Forgetting) == Forgetting(["else"], [])


def test_a_row_that_nobody_can_read_does_not_keep_them(store: Store) -> None:
    append(store, "records", b"\xc1 phone-a")
    assert strike(store, ["phone-a"]) == 0
    assert records(store) == []


def known(store: Store, people: People, person: str = "ann", *subjects: str) -> None:
    made = Person(
        person=person, subjects=subjects or ("phone-a",), consents=(Consent(purpose="x"),)
    )
    store.write(lambda c: people.put(c, made)).result()


def test_an_erasure_is_begun_once_and_stays_begun_until_it_is_finished(
    store: Store, people: People
) -> None:
    known(store, people)
    first = store.write(lambda c: begin(c, people, "ann", now=NOW)).result()
    second = store.write(lambda c: begin(c, people, "ann", now=NOW + 5)).result()
    assert first == second
    assert first.names == ("ann", "phone-a")
    assert store.read(pending) == [first]
    receipt = finish(store, first, now=NOW + 9)
    assert receipt is not None
    assert receipt.finished_at == "2027-01-15T08:00:09.000Z"
    assert store.read(pending) == []
    assert store.read(lambda c: receipt_of(c, first.id)) == receipt
    assert store.read(lambda c: genuine(c, receipt, "ann"))
    assert not store.read(lambda c: genuine(c, receipt, "bob"))
    assert not Store.open(":memory:").read(lambda c: genuine(c, receipt))
    odd = msgspec.structs.replace(receipt, signature="é", person="ä")
    assert not store.read(lambda c: genuine(c, odd))
    assert not store.read(lambda c: genuine(c, odd, "ann"))


def test_who_comes_back_before_it_is_finished_keeps_what_they_say(
    store: Store, people: People
) -> None:
    known(store, people)
    begun = store.write(lambda c: begin(c, people, "ann", now=NOW, tombstone=False)).result()
    again = Person(person="ann", consents=(Consent(purpose="service"),))
    store.write(lambda c: people.put(c, again)).result()
    assert finish(store, begun, now=NOW + 9) is not None
    assert [one.purpose for one in store.read(lambda c: people.read(c, "ann")).consents] == [
        "service"
    ]
    assert store.read(chain.verify).problems == ()


def test_a_log_that_somebody_reads_leaves_it_begun(
    store: Store, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(store, people)
    begun = store.write(lambda c: begin(c, people, "ann", now=NOW)).result()
    monkeypatch.setattr(erasing, "_CUT_AGAIN_S", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "cut_log", lambda _: False)
        assert finish(store, begun, now=NOW) is None
        assert store.read(pending) == [begun]
    receipt = finish(store, begun, now=NOW)
    assert receipt is not None
    assert receipt.rows["people"] == 1  # what was counted before is not lost


def test_where_the_site_names_them_the_receipt_says_so(store: Store, people: People) -> None:
    store.write(lambda c: journal.change_site(c, SiteText("site.toml", SITE))).result()
    known(store, people, "ann", "tag-a")
    found = erase_alone(store, "ann", now=NOW, source="test")
    assert found is not None
    receipt = found[1]
    assert isinstance(receipt, Receipt)
    assert "site.toml: 1 of its beacons are theirs: take them out and start again" in (
        receipt.not_reached
    )


def test_somebody_unknown_is_nobody_to_erase(store: Store) -> None:
    assert erase_alone(store, "nobody", now=NOW, source="test") is None
    assert (
        store.read(lambda c: c.scalar(sa.select(sa.func.count()).select_from(schema.objections)))
        == 0
    )


def test_every_table_of_people_is_looked_at() -> None:
    """Whoever adds a column that names a person need not remember this file."""
    named = {
        table.name
        for table in schema.metadata.sorted_tables
        for column in table.columns
        if column.name in {"person", "subject"} and column.info["class"] == "pseudonym"
    }
    assert named == {table.name for table, _ in personal_tables()}


def test_a_gateway_that_is_called_as_a_phone_keeps_its_token(store: Store, people: People) -> None:
    known(store, people)
    for role in ("device", "gateway"):
        row = {"id": role, "role": role, "subject": "phone-a", "hash": role, "created_at": NOW}
        store.write(lambda c, row=row: c.execute(schema.tokens.insert(), row)).result()
    assert erase_alone(store, "ann", now=NOW, source="test") is not None
    assert store.read(lambda c: list(c.scalars(sa.select(schema.tokens.c.role)))) == ["gateway"]


def test_after_a_crash_of_the_server_its_next_start_finishes(store: Store, people: People) -> None:
    """Rows that the engine has had, and whose outputs were not written, are the server's to tell."""
    known(store, people)
    append(store, "records", journal.encode_records([fix("phone-b")]))
    found = erase_alone(store, "ann", now=NOW, source="test")
    assert found is not None
    assert found[1] is None
    assert store.read(pending) == [found[0]]
