"""Who carries what, what they agreed to, and how a no stays a no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from proximity.consent.objections import Erased, bury
from proximity.model import Consent, Person, ProximityError
from proximity.people.people import People, load_consents, read_people
from proximity.store import Store, schema
from tests.proximity.given import ANNA, NOON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


@pytest.fixture
def people(store: Store) -> People:
    return People(store, clock=lambda: NOON)


def write(store: Store, work: Callable[[Connection], Any]) -> Any:
    return store.write(work).result()


def consents(store: Store, person: str = "anna") -> list[tuple[Any, ...]]:
    found = store.read(lambda c: load_consents(c, person))
    return [(c.purpose, c.channel, c.since, c.until) for c in found]


def test_a_subject_that_nobody_named_is_its_own_person(people: People) -> None:
    assert people.person_of("phone-x") == "phone-x"
    assert people.get("phone-x") is None
    assert not people.may_process("phone-x", NOON)


def test_what_is_put_is_found(store: Store, people: People) -> None:
    write(store, lambda c: people.put(c, ANNA))
    assert people.reload()
    assert people.person_of("phone-a") == "anna"
    assert people.get("anna") == ANNA
    assert people.may_process("phone-a", NOON)
    assert store.read(lambda c: people.read(c, "anna")) == ANNA
    assert store.read(lambda c: people.read(c, "nobody")) == Person(person="nobody")


def test_reload_forgets_only_where_something_changed(store: Store, people: People) -> None:
    people.reload()
    assert not people.reload()
    assert people.person_of("phone-a") == "phone-a"
    other = People(store)  # another process
    write(store, lambda c: other.put(c, ANNA))
    assert people.person_of("phone-a") == "phone-a"
    assert people.reload()
    assert people.person_of("phone-a") == "anna"


def test_a_work_that_is_undone_moves_no_version(store: Store, people: People) -> None:
    people.reload()

    def fail(connection: Connection) -> None:
        people.put(connection, ANNA)
        raise LookupError("undone")

    with pytest.raises(LookupError):
        write(store, fail)
    assert not people.reload()
    assert people.get("anna") is None


def test_a_profile_is_replaced_and_a_subject_moves(store: Store, people: People) -> None:
    write(store, lambda c: people.put(c, ANNA))
    ben = Person(person="ben", subjects=("phone-a", "tag-b", "tag-b"))
    write(store, lambda c: people.put(c, ben))
    write(store, lambda c: people.put(c, Person(person="anna", subjects=("phone-c",))))
    people.reload()
    assert people.person_of("phone-a") == people.person_of("tag-b") == "ben"
    anna = people.get("anna")
    assert anna is not None
    assert (anna.subjects, anna.timezone, anna.languages) == (("phone-c",), None, ())
    assert len(anna.consents) == 1  # a profile without consents withdraws none


def test_several_subjects_are_one_person(store: Store, people: People) -> None:
    two = Person(person="anna", subjects=("a", "b"), consents=(Consent(purpose="service"),))
    write(store, lambda c: people.put(c, two))
    people.reload()
    assert people.person_of("a") == people.person_of("b") == "anna"
    assert people.may_process("b", NOON)


def test_consent_has_a_beginning_and_an_end(store: Store, people: People) -> None:
    consent = Consent(purpose="marketing", since=100.0, until=200.0)
    write(store, lambda c: people.grant(c, "phone-x", consent, "http"))
    people.reload()
    assert [people.may_process("phone-x", at) for at in (99, 100, 199, 200)] == [
        False, True, True, False,
    ]  # fmt: skip


YES = [
    Consent(purpose="marketing"),
    Consent(purpose="marketing", channel="console"),
    Consent(purpose="service", channel="webhook"),
]


@pytest.mark.parametrize(
    ("purpose", "channel", "ended"),
    [
        (None, None, [True, True, True]),
        ("marketing", None, [True, True, False]),
        ("marketing", "console", [True, True, False]),
        ("marketing", "webhook", [True, False, False]),  # any channel ends with the first one
        ("service", "*", [False, False, True]),
        (None, "webhook", [True, False, True]),
        ("news", None, [False, False, False]),
    ],
)
def test_a_withdrawal_ends_what_it_matches(
    store: Store, people: People, purpose: str | None, channel: str | None, ended: list[bool]
) -> None:
    for consent in YES:
        write(store, lambda c, one=consent: people.grant(c, "anna", one, "http"))
    write(store, lambda c: people.withdraw(c, "anna", purpose, channel, at=50.0))
    assert [until == 50.0 for *_, until in consents(store)] == ended


def test_a_withdrawal_moves_no_earlier_end_and_stops_what_had_not_begun(
    store: Store, people: People
) -> None:
    for since, until in ((None, 20.0), (70.0, None)):
        consent = Consent(purpose="marketing", since=since, until=until)
        write(store, lambda c, one=consent: people.grant(c, "anna", one, "http"))
    write(store, lambda c: people.withdraw(c, "anna", at=50.0))
    people.reload()
    assert [until for *_, until in consents(store)] == [20.0, 50.0]
    assert not people.may_process("anna", 80.0)


def test_a_new_yes_after_a_no_holds(store: Store, people: People) -> None:
    write(store, lambda c: people.grant(c, "anna", Consent(purpose="marketing"), "http"))
    write(store, lambda c: people.withdraw(c, "anna", at=50.0))
    write(
        store,
        lambda c: people.grant(c, "anna", Consent(purpose="marketing", since=60.0), "http"),
    )
    people.reload()
    assert [people.may_process("anna", at) for at in (49.0, 55.0, 60.0)] == [True, False, True]


@pytest.mark.parametrize("channel", [None, "*"])
def test_an_import_repeated_brings_nothing_back(
    store: Store, people: People, channel: str | None
) -> None:
    anna = replace(ANNA, consents=(Consent(purpose="marketing", channel=channel),))
    write(store, lambda c: people.put(c, anna))
    write(store, lambda c: people.withdraw(c, "anna", at=50.0))
    write(store, lambda c: people.put(c, anna))
    write(store, lambda c: people.put(c, anna))
    people.reload()
    assert consents(store) == [("marketing", None, None, 50.0)]
    assert not people.may_process("phone-a", NOON)


def test_rows_of_consent_are_only_added(store: Store, people: People) -> None:
    write(store, lambda c: people.grant(c, "anna", Consent(purpose="marketing"), "till 4"))
    write(store, lambda c: people.withdraw(c, "anna", at=50.0, source="letter"))
    rows = store.read(lambda c: c.execute(sa.select(schema.consents)).all())
    assert [(r.purpose, r.since, r.until, r.recorded_at, r.source) for r in rows] == [
        ("marketing", None, None, NOON, "till 4"),
        (None, 50.0, 50.0, NOON, "letter"),
    ]


@pytest.mark.parametrize(("since", "until"), [(50.0, 50.0), (50.0, 40.0), (None, 0.0)])
def test_a_consent_that_ends_before_it_begins_is_refused(
    store: Store, people: People, since: float | None, until: float
) -> None:
    consent = Consent(purpose="marketing", since=since, until=until)
    with pytest.raises(ProximityError, match="must end after it begins"):
        write(store, lambda c: people.grant(c, "anna", consent, "http"))


def test_whoever_is_removed_is_unknown(store: Store, people: People) -> None:
    write(store, lambda c: people.put(c, ANNA))
    assert write(store, lambda c: people.remove(c, "anna")) is True
    assert write(store, lambda c: people.remove(c, "anna")) is False
    people.reload()
    assert people.get("anna") is None
    assert people.person_of("phone-a") == "phone-a"
    assert not people.may_process("phone-a", NOON)


def test_what_is_remembered_is_bounded(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proximity.people.people._MOST_KNOWN", 10)
    for number in range(100):
        people.may_process(f"phone-{number}", NOON)
        people.get(f"phone-{number}")
        kept = len(people._persons) + len(people._profiles) + len(people._consents)
        assert kept <= 10


def test_a_list_writes_all_but_those_who_were_erased(store: Store, people: People) -> None:
    write(store, lambda c: people.put(c, ANNA))
    write(store, lambda c: people.remove(c, "anna"))
    write(store, lambda c: bury(c, ["anna", "phone-a"], at=NOON, source="was_erased"))
    others = [Person(person=name) for name in ("ben", "cleo")]
    assert write(store, lambda c: people.put_all(c, [others[0], ANNA, others[1]])) == 1
    people.reload()
    assert [people.get(name) is not None for name in ("anna", "ben", "cleo")] == [
        False, True, True,
    ]  # fmt: skip
    assert people.erased(["phone-a", "phone-b"]) == {"phone-a"}
    with pytest.raises(Erased):
        write(store, lambda c: people.put(c, ANNA))
    with pytest.raises(Erased):
        write(store, lambda c: people.enrol(c, [("anna", "tag-1", ())], source="enrolment"))


# -- the people file -----------------------------------------------------------------------------


def test_a_people_file(tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text(
        '{"person":"anna","subjects":["phone-a"],"consents":[{"purpose":"marketing","channel":"*",'
        '"from":"2026-01-01T00:00:00Z","until":null}],"timezone":"Europe/Paris",'
        '"languages":["fr"],"attributes":{"tier":"gold"},"unknown":1}\n\n{"person":"ben"}',
        encoding="utf-8",
    )
    anna, ben = read_people(file)
    assert anna.consents[0].since == 1767225600.0
    assert anna.attributes == {"tier": "gold"}
    assert ben == Person(person="ben")
    file.write_text(file.read_text("utf-8"), encoding="utf-8-sig")
    assert read_people(file) == [anna, ben]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["nonsense"], "people.jsonl, line 1: JSON is malformed"),
        (["{}"], "people.jsonl, line 1: Object missing required field `person`"),
        (['{"person":""}'], "people.jsonl, line 1: person must have 1 to 128 characters"),
        (['{"person":"a","subjects":["\\u0000"]}'], "people.jsonl, line 1: subject must have no"),
        (['{"person":"a","timezone":"CEST5"}'], "people.jsonl, line 1: person 'a': unknown timez"),
        (['{"person":"a"}', '{"person":"a"}'], "people.jsonl, line 2: person 'a' is there twice"),
        (
            ['{"person":"a","subjects":["s"]}', '{"person":"b","subjects":["s"]}'],
            "people.jsonl, line 2: person 'b': subject 's' belongs to 'a' already",
        ),
        (['{"person":"a","consents":[{"purpose":"m","from":"soon"}]}'], "people.jsonl, line 1: 'so"),
        (["[" * 50_000], "people.jsonl, line 1: "),
        (["x" * 1_100_000], "people.jsonl, line 1: longer than 1048576 bytes"),
        (['{"person":"\udcff"}'], "people.jsonl, line 1: "),
    ],
)  # fmt: skip
def test_faults_of_a_people_file_are_named_by_line(
    tmp_path: Path, lines: list[str], problem: str
) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ProximityError) as caught:
        read_people(file)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)


def test_faults_of_every_kind_are_named_together(tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text(
        '{"person":"a","timezone":"Nope","consents":[{"purpose":"all"},'
        '{"purpose":"marketing","from":9,"until":9},{"purpose":"beacon","from":9,"until":9}]}\n'
        '{"person":"b","subjects":"p"}\n{"person":"a","consents":[{"purpose":"*"}]}\n'
    )
    with pytest.raises(ProximityError) as caught:
        read_people(file)
    spot = "people.jsonl, line {}: person 'a'{}"
    begins = (
        spot.format(1, ": unknown timezone 'Nope'"),
        spot.format(1, ": purpose 'all': consent is given to one purpose at a time"),
        spot.format(1, ": a consent must end after it begins"),
        "people.jsonl, line 2: Expected `array`",
        spot.format(3, " is there twice"),
        spot.format(3, ": purpose '*': consent is given to one purpose at a time"),
    )
    assert len(caught.value.problems) == len(begins)
    for problem, begin in zip(caught.value.problems, begins, strict=True):
        assert problem.startswith(begin)


def test_every_fault_of_a_people_file_up_to_a_hundred(tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text("x\n" * 200, encoding="utf-8")
    with pytest.raises(ProximityError) as caught:
        read_people(file)
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1] == "people.jsonl, line 101: gave up here"


def test_a_people_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProximityError, match=r"absent\.jsonl: cannot be read"):
        read_people(tmp_path / "absent.jsonl")
