"""A person's export: whole, in three forms that read back the same, and refused where it is strange."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from proximity.campaigns.campaigns import NOWHERE
from proximity.consent.objections import bury
from proximity.model import Consent, Endpoint, Event, Fix, Person, ProximityError
from proximity.people import behaviour
from proximity.people.people import People
from proximity.privacy import exportfile
from proximity.privacy.exportfile import is_export, read_export, write_export
from proximity.privacy.exporting import Export, export_person, import_person
from proximity.store import Store, journal, ledger, schema

NOW = 1_800_000_000.0


def known_store() -> tuple[Store, People]:
    store = Store.open(":memory:")
    people = People(store, lambda: NOW)
    ada = Person(
        person="ada", subjects=("phone-1", "tag-1"), timezone="Europe/Paris", languages=("fr",),
        consents=(Consent(purpose="marketing"), Consent(purpose="service", channel="email")),
        attributes={"tier": "gold", "likes": ["tea", "=1+1"], "score": -1.5, "vip": True},
    )  # fmt: skip

    def write(conn: sa.Connection) -> None:
        people.put(conn, ada)
        people.put(conn, Person(person="bob", subjects=("phone-b",)))
        for whose, subject in (("ada", "phone-1"), ("bob", "phone-b")):
            entry = ledger.Entry(
                kind="decision", id=f"d-{whose}", subject=subject, place="x", person=whose,
                visit="v", campaign="c", at=NOW + 0.125,
                record=json.dumps({"id": "d", "gates": [{"gate": "consent", "passed": True}]}),
            )  # fmt: skip
            ledger.append(conn, [entry])
            row = {
                "id": f"e-{whose}", "person": whose, "subject": subject, "name": "purchase",
                "at": NOW, "place": None, "properties": '{"product":"tea","note":"\\"{x"}',
            }  # fmt: skip
            conn.execute(schema.events.insert(), row)
        fix = Fix(subject="phone-1", at=NOW, lon=2.35, lat=48.85)
        payload = journal.encode_records([fix, msgspec.structs.replace(fix, subject="phone-b")])
        journal.append(
            conn, journal.Row(position=1, kind="records", now=NOW, version="", payload=payload)
        )
        people.withdraw(conn, "ada", "service", at=NOW)

    store.write(write).result()
    return store, people


def exported(store: Store, people: People, person: str = "ada") -> Export:
    found = store.read(lambda c: export_person(c, people, person))
    assert found is not None
    return found


def test_all_that_is_theirs_is_in_it_and_nothing_of_others() -> None:
    store, people = known_store()
    found = exported(store, people)
    assert set(found.tables) == {"attributes", "consents", "events", "ledger", "people", "subjects"}
    assert [row["subject"] for row in found.tables["subjects"]] == ["phone-1", "tag-1"]
    assert len(found.tables["consents"]) == 3  # two yeses and a no
    (decision,) = found.tables["ledger"]
    assert decision["record"] == {"id": "d", "gates": [{"gate": "consent", "passed": True}]}
    assert [one["type"] for one in found.records] == ["fix"]
    text = msgspec.json.encode(found)
    assert b"bob" not in text
    assert b"phone-b" not in text
    assert store.read(lambda c: export_person(c, people, "nobody")) is None


@pytest.mark.parametrize("form", ["out.json", "out.zip", "folder"])
def test_every_form_reads_back_and_goes_in_elsewhere(form: str, tmp_path: Path) -> None:
    store, people = known_store()
    found = exported(store, people)
    write_export(found, tmp_path / form)
    assert is_export(tmp_path / form)
    again = read_export(tmp_path / form)
    assert again == found
    other = Store.open(":memory:")
    theirs = People(other, lambda: NOW + 5)
    counts = other.write(lambda c: import_person(c, theirs, again, now=NOW + 5)).result()
    assert counts == {name: len(rows) for name, rows in found.tables.items()}
    second = exported(other, theirs)
    assert second == msgspec.structs.replace(found, records=[])
    assert other.read(lambda c: theirs.read(c, "ada")) == store.read(
        lambda c: people.read(c, "ada")
    )


@pytest.mark.parametrize("left_here_at", [NOW - 5.0, NOW + 5.0])
def test_a_device_goes_with_an_export_unless_it_was_left_by_somebody_else_since(
    left_here_at: float,
) -> None:
    phone = Endpoint(channel="fcm", address="token-1", registered_at=NOW)
    mail = Endpoint(channel="email", address="ada@example.test", registered_at=NOW)
    store, people = known_store()
    ada = Person(person="ada", endpoints=(phone, mail))
    store.write(lambda c: people.put(c, ada)).result()
    found = exported(store, people)
    assert "held_endpoints" not in found.tables
    other = Store.open(":memory:")
    theirs = People(other, lambda: NOW + 9.0)
    here = msgspec.structs.replace(phone, registered_at=left_here_at)
    other.write(lambda c: theirs.put(c, Person(person="cy", endpoints=(here,)))).result()
    other.write(lambda c: import_person(c, theirs, found, now=NOW + 9.0)).result()
    having = {
        name: one.endpoints
        for name, one in other.read(lambda c: theirs.read_all(c, ("ada", "cy"))).items()
    }
    if left_here_at < NOW:
        assert having == {"ada": (phone, mail), "cy": ()}
    else:
        assert having == {"ada": (mail,), "cy": (here,)}


def test_a_spreadsheet_finds_no_formula(tmp_path: Path) -> None:
    store, people = known_store()
    write_export(exported(store, people), tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        for name in archive.namelist():
            for line in archive.read(name).decode().splitlines():
                assert not any(cell.startswith(tuple("=+@")) for cell in line.split(","))


@given(
    st.dictionaries(st.text(max_size=20), st.text(max_size=40) | st.floats(-1e9, 1e9), max_size=5)
)
def test_whatever_stands_in_a_cell_comes_back(said: dict[str, Any]) -> None:
    from proximity.privacy.exportfile import _from_sheets, _sheets

    rows: list[dict[str, Any]] = [{"a": value, "b": None, "c": said} for value in said.values()]
    export = Export(person="ada", tables={"events": rows} if rows else {})
    assert _from_sheets(dict(_sheets(export)), "x") == export


def test_a_list_of_people_is_no_export(tmp_path: Path) -> None:
    (tmp_path / "people.jsonl").write_text('{"person":"ada"}\n')
    assert not is_export(tmp_path / "people.jsonl")
    assert not is_export(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda e: e["tables"].update(tokens=[{}]), "table 'tokens' is none of an export"),
        (lambda e: e["tables"].update(meta=[{}]), "table 'meta' is none of an export"),
        (lambda e: e["tables"]["events"][0].pop("at"), "the columns are not those"),
        (lambda e: e["tables"]["events"][0].update(at="x"), "at must be a number"),
        (lambda e: e["tables"]["events"][0].update(name=None), "name must be text"),
        (lambda e: e["tables"]["events"][0].update(at=-1.0), "at: time -1.0 is outside the years"),
        (lambda e: e["tables"]["ledger"][0].update(at=1e308), "at: time 1e+308 is outside"),
        (lambda e: e["tables"]["consents"][0].update(recorded_at=1e13), "recorded_at: time 1"),
        (
            lambda e: e["tables"].update(
                wishes=[
                    {
                        "person": "ada",
                        "number": 1e30,
                        "topic": None,
                        "channel": None,
                        "place": None,
                        "allow": 1,
                    },
                ]
            ),
            "number: 1e+30 is no whole number",
        ),
        (
            lambda e: e["tables"]["events"][0].update(person="bob", subject="phone-b"),
            "it is not this person's",
        ),
        (
            lambda e: e["tables"]["events"][0].update(person="bob"),
            "it is not this person's",
        ),
        (lambda e: e["tables"]["events"][0].update(properties={"a": {}}), "$[...]"),
        (lambda e: e["tables"]["people"][0].update(record=None), "Expected `object`"),
        (lambda e: e["tables"]["people"][0]["record"].update(preferences=[{}]), "`allow`"),
        (lambda e: e["tables"]["people"][0]["record"].update(more=1), "there is no 'more'"),
        (lambda e: e["tables"]["ledger"][0].update(kind="rumour"), "kind must be"),
        (lambda e: e["tables"]["ledger"][0].update(record=7), "Expected `object`"),
        (lambda e: e["tables"]["consents"][0].update(purpose=None), "only a withdrawal"),
        (lambda e: e["tables"]["consents"][0].update(precision="street"), "street"),
        (
            lambda e: e["tables"].update(consents=e["tables"]["consents"] * 400),
            "more than the 1000",
        ),
        (
            lambda e: e["tables"].update(
                consent_texts=[
                    {
                        "sha256": "0" * 64,
                        "purpose": "marketing",
                        "version": "1",
                        "locale": "en",
                        "text": "we may",
                        "benefit": None,
                        "recorded_at": 1.0,
                    }
                ]
            ),
            "sha256 is not that of the text",
        ),
        (lambda e: e.update(format="other/1"), "format 'other/1'"),
        (lambda e: e.update(person=""), "1 to 128 characters"),
    ],
)
def test_what_is_strange_is_refused_and_changes_nothing(spoil: Any, said: str) -> None:
    store, people = known_store()
    raw = msgspec.json.decode(msgspec.json.encode(exported(store, people)))
    spoil(raw)
    other = Store.open(":memory:")
    theirs = People(other, lambda: NOW)
    export = msgspec.convert(raw, Export)
    with pytest.raises(ProximityError) as refused:
        other.write(lambda c: import_person(c, theirs, export, now=NOW)).result()
    assert said in "\n".join(refused.value.problems)
    assert other.read(lambda c: export_person(c, theirs, "ada")) is None


def test_who_is_known_buried_or_shares_a_subject_is_refused() -> None:
    store, people = known_store()
    found = exported(store, people)
    with pytest.raises(ProximityError, match="known here already"):
        store.write(lambda c: import_person(c, people, found, now=NOW)).result()
    other = Store.open(":memory:")
    theirs = People(other, lambda: NOW)
    other.write(lambda c: theirs.put(c, Person(person="eve", subjects=("tag-1",)))).result()
    with pytest.raises(ProximityError, match="somebody else's"):
        other.write(lambda c: import_person(c, theirs, found, now=NOW)).result()
    third = Store.open(":memory:")
    third.write(lambda c: bury(c, ("ada",), at=NOW, source="test")).result()
    with pytest.raises(ProximityError, match="was erased"):
        third.write(lambda c: import_person(c, People(third), found, now=NOW)).result()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"format":"x"}'])
def test_poison_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ProximityError, match="is no export"):
        read_export(tmp_path / "x.json")
    with pytest.raises(ProximityError, match="cannot be read"):
        read_export(tmp_path / "nowhere.json")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from proximity.privacy import exportfile

    monkeypatch.setattr(exportfile, "_MOST_BYTES", 100_000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("export.csv", "a" * 10_000_000)
    with pytest.raises(ProximityError, match="larger than"):
        read_export(tmp_path / "x.zip")


def test_what_a_device_did_in_other_hands_is_in_nobody_elses_export() -> None:
    store, people = known_store()
    moved = Person(person="bob", subjects=("phone-b", "phone-1"))
    store.write(lambda c: people.put(c, moved)).result()
    assert "e-ada" not in {row["id"] for row in exported(store, people, "bob").tables["events"]}
    found = exported(store, people)
    assert [row["id"] for row in found.tables["events"]] == ["e-ada"]
    other = Store.open(":memory:")
    other.write(lambda c: import_person(c, People(other), found, now=NOW)).result()


def test_an_event_that_was_too_long_to_keep_stands_in_no_exports_way() -> None:
    store, people = known_store()
    long = Event(subject="phone-1", at=NOW, name="a", properties={"x": "y" * 20_000})
    heard = behaviour.hear(long, "ada")
    store.write(lambda c: behaviour.write_events(c, [heard], {"ada"}, lambda _: NOWHERE)).result()
    (row,) = exported(store, people).tables["quarantine"]
    event = row["event"]
    assert isinstance(event, dict)
    assert (event["name"], event.get("properties")) == ("a", None)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("form", ["out.json", "out.zip", "folder/people.csv"])
def test_nobody_else_may_read_the_file(form: str, tmp_path: Path, *, there: bool) -> None:
    store, people = known_store()
    file = tmp_path / form
    if there:
        file.parent.mkdir(exist_ok=True)
        file.touch(mode=0o644)
    write_export(exported(store, people), file.parent if form.endswith(".csv") else file)
    assert file.stat().st_mode & 0o077 == 0


def test_a_folder_with_somebody_elses_rows_is_not_written_to(tmp_path: Path) -> None:
    store, people = known_store()
    found = exported(store, people)
    write_export(found, tmp_path / "out")
    write_export(found, tmp_path / "out")  # the same again is no harm
    fewer = msgspec.structs.replace(
        found, person="bob", tables={"people": [{"person": "bob", "record": {}}]}
    )
    before = {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()}
    with pytest.raises(ProximityError, match="which is none of this export"):
        write_export(fewer, tmp_path / "out")
    assert {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()} == before


def _scratch(packed: bytes, method: int) -> bytes:
    """Spoil what is packed in the last file of a ZIP."""
    start = packed.rindex(b"events.csv", 0, packed.index(b"PK\x01\x02")) + 12
    return packed[:start] + bytes(one ^ 0xFF for one in packed[start:][:12]) + packed[start + 12 :]


def _lock(packed: bytes, method: int) -> bytes:
    """Say of every file of a ZIP that it is under a password."""
    return packed.replace(b"PK\x03\x04\x14\x00\x00\x00", b"PK\x03\x04\x14\x00\x01\x00").replace(
        b"\x14\x03\x14\x00\x00\x00", b"\x14\x03\x14\x00\x01\x00"
    )


def _rename(packed: bytes, method: int) -> bytes:
    """Say of every file of a ZIP that it is packed in a way that nobody knows."""
    one, other = bytes([0x14, 0, 0, 0, method, 0]), bytes([0x14, 0, 0, 0, 97, 0])
    return packed.replace(one, other)


@pytest.mark.parametrize(
    ("method", "spoil"),
    [
        (zipfile.ZIP_DEFLATED, _scratch),
        (zipfile.ZIP_BZIP2, _scratch),
        (zipfile.ZIP_LZMA, _scratch),
        (zipfile.ZIP_DEFLATED, _lock),
        (zipfile.ZIP_DEFLATED, _rename),
    ],
)
def test_a_zip_that_cannot_be_unpacked_is_refused_in_one_line(
    method: int, spoil: Any, tmp_path: Path
) -> None:
    file = tmp_path / "x.zip"
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("export.csv", "format,person\r\nproximity-person/1,ada\r\n")
        archive.writestr("events.csv", "".join(f"{n},{n * n}\r\n" for n in range(500)))
    file.write_bytes(spoil(file.read_bytes(), method))
    with pytest.raises(ProximityError, match=r"x.zip: '(export|events).csv' cannot be unpacked"):
        read_export(file)


def test_records_under_another_head_are_none(tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text("format,person\nproximity-person/1,ada\n")
    (tmp_path / "records.csv").write_text("other\nx\n")
    assert read_export(tmp_path).records == []


def test_a_folder_is_bounded_and_its_faults_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, people = known_store()
    write_export(exported(store, people), tmp_path / "ada")
    with (tmp_path / "ada" / "events.csv").open("a") as sheet:
        sheet.write("1,2,3,4,5,6,7,8,9\r\n")
    with pytest.raises(ProximityError, match=r"events.csv has a row of more cells"):
        read_export(tmp_path / "ada")
    (tmp_path / "ada" / "events.csv").write_text('"a"b\r\n')
    with pytest.raises(ProximityError, match="is no export"):
        read_export(tmp_path / "ada")
    monkeypatch.setattr(exportfile, "_MOST_BYTES", 100)
    with pytest.raises(ProximityError, match="larger than 100 bytes"):
        read_export(tmp_path / "ada")


def test_a_long_profile_is_a_long_cell(tmp_path: Path) -> None:
    store = Store.open(":memory:")
    people = People(store, lambda: NOW)
    ends = tuple(Endpoint(channel=f"c{n}", address="x" * 4000) for n in range(40))
    store.write(lambda c: people.put(c, Person(person="ada", endpoints=ends))).result()
    found = exported(store, people)
    write_export(found, tmp_path / "ada")
    assert read_export(tmp_path / "ada") == found
