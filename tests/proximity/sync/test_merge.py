from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from proximity.model import Consent, Person, ProximityError
from proximity.sync.agreed import No, Said, join, said
from proximity.sync.fields import (
    DEFAULT_OWNERS,
    NOTHING,
    Clock,
    beats,
    digest_of,
    fields_of,
    later,
    with_fields,
)
from proximity.sync.mapping import cell_of, instant, value_of, written_at
from proximity.sync.merge import AHEAD_S, MOST_WORDS, Item, Word, lost, merge, values_of
from proximity.sync.rules import load_rules, parse_rules

NOW = 1_800_000_000.0

ANN = msgspec.convert(
    {
        "person": "ann", "subjects": ["card", "phone"], "timezone": "Europe/Paris",
        "languages": ["fr", "en"], "attributes": {"tier": "gold", "nested": {"a": [1]}},
        "preferences": [{"allow": False, "topic": "music"}],
        "endpoints": [
            {"channel": "email", "address": "a@b.example"},
            {"channel": "fcm", "address": "token"},
        ],
    },
    Person,
)  # fmt: skip


def test_a_person_is_the_sum_of_their_fields() -> None:
    assert with_fields(Person(person="ann"), fields_of(ANN)) == ANN
    assert with_fields(ANN, dict.fromkeys(fields_of(ANN))) == Person(person="ann")
    assert fields_of(Person(person="ann"), objected=True) == {"objected": True}


def test_a_field_that_is_no_part_of_the_person_leaves_them_as_they_are() -> None:
    assert with_fields(ANN, {"objected": True}) == ANN


def test_from_whom_a_subject_went_it_is_said_to_everybody() -> None:
    clock = Clock(at=NOW, origin="crm", digest=digest_of("phone"), via="crm")
    gone = lost(clock)
    assert (gone.at, gone.origin, gone.via) == (NOW, "crm", "")
    assert gone.digest == NOTHING


def test_one_message_tells_of_a_field_once_and_of_a_bounded_number() -> None:
    twice = tuple(Word(field="timezone", value=one, at=NOW) for one in ("UTC", "Europe/Paris"))
    with pytest.raises(ValueError, match="send its last word"):
        Item(person="ann", words=twice)
    many = tuple(Word(field=f"attributes.a{n}", value=n, at=NOW) for n in range(MOST_WORDS + 1))
    with pytest.raises(ValueError, match="split them"):
        Item(person="ann", words=many)


def test_an_address_alone_is_read_as_an_endpoint() -> None:
    one = with_fields(Person(person="ann"), {"endpoints.email": "a@b.example"})
    assert [(e.channel, e.address) for e in one.endpoints] == [("email", "a@b.example")]


@pytest.mark.parametrize(
    ("field", "value"),
    [("timezone", 5), ("languages", "fr"), ("endpoints.email", [5]), ("preferences", [{}])],
)
def test_a_value_that_is_none_of_its_fields_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError):
        values_of(Item(person="ann", words=(Word(field=field, value=value, at=NOW),)))


@pytest.mark.parametrize("field", ["tier", "attributes", "attributes.", "shoes.x", "consents", ""])
def test_a_field_that_nobody_has_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="is none of"):
        Word(field=field, at=NOW)


def test_the_same_field_twice_is_refused() -> None:
    word = Word(field="timezone", at=NOW)
    with pytest.raises(ValueError, match="twice"):
        Item(person="ann", words=(word, word))


# The rule ------------------------------------------------------------------------------------


def clock(at: float, origin: str = "crm", value: Any = "x") -> Clock:
    return Clock(at, origin, digest_of(value))


def test_of_two_words_one_beats_the_other_and_never_both() -> None:
    words = [
        clock(at, origin, value)
        for at in (1.0, 2.0) for origin in ("a", "person") for value in ("x", "y")
    ]  # fmt: skip
    for name in ("preferences", "attributes.tier"):
        for one in words:
            for other in words:
                both = beats(name, one, other, DEFAULT_OWNERS) + beats(
                    name, other, one, DEFAULT_OWNERS
                )
                assert both == (one != other)
        # And in one order: whoever beats the best beats all.
        ranked = [sum(beats(name, one, other, DEFAULT_OWNERS) for other in words) for one in words]
        assert sorted(ranked) == list(range(len(words)))


def test_the_owner_of_a_kind_owns_all_of_it() -> None:
    owners = {"attributes": "crm", "attributes.note": "desk"}
    assert beats("attributes.tier", clock(1.0), clock(2.0, "web"), owners)
    assert not beats("attributes.note", clock(9.0), clock(2.0, "desk"), owners)


def test_a_word_here_is_later_than_the_one_it_replaces() -> None:
    assert later(NOW, None) == NOW
    assert later(NOW, clock(NOW + 50.0)) == NOW + 50.001
    assert later(NOW, clock(NOW)) > NOW


def merged(known: dict[str, Clock], *words: Word, owners: Any = DEFAULT_OWNERS) -> Any:
    item = Item(person="ann", words=words)
    return merge(known, item, values_of(item), sender="crm", owners=owners, now=NOW)


def test_what_is_new_is_taken_what_is_old_goes_out_again() -> None:
    known = {"timezone": clock(NOW, "here", "Europe/Rome"), "attributes.a": clock(NOW, value=1)}
    found = merged(
        known,
        Word(field="timezone", value="Europe/Paris", at=NOW - 1.0),
        Word(field="attributes.a", value=1, at=NOW + 1.0),
        Word(field="attributes.b", value=2, at=NOW - 9.0),
    )
    assert found.values == {"attributes.b": 2}
    assert found.again == {"timezone"}
    assert found.clocks["attributes.a"].at == NOW + 1.0  # the same word, said later
    assert found.clocks["attributes.b"].via == "crm"


def test_a_word_of_days_ahead_counts_as_said_now() -> None:
    found = merged({}, Word(field="timezone", value="Europe/Paris", at=NOW + AHEAD_S + 1.0))
    assert (found.clamped, found.clocks["timezone"].at) == (1, NOW)
    assert merged({}, Word(field="timezone", value="UTC", at=NOW + 3600.0)).clamped == 0


def test_an_item_that_takes_away_leaves_a_clock() -> None:
    found = merged({"timezone": clock(1.0)}, Word(field="timezone", at=2.0))
    assert found.values == {"timezone": None}


# What they agreed to -------------------------------------------------------------------------


class Row(NamedTuple):
    purpose: str | None
    since: float | None
    until: float | None = None
    channel: str | None = None
    recorded_at: float = NOW
    precision: None = None
    method: None = None
    text: None = None


def no(at: float, purpose: str | None = None, channel: str | None = None) -> Row:
    return Row(purpose, at, at, channel)


def yes(found: Said) -> list[tuple[str, float | None]]:
    return [(one.purpose, one.since) for one in found.yes]


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ([Row("a", 1.0)], [("a", 1.0)]),
        ([Row("a", 1.0), no(2.0, "a")], []),
        ([Row("a", 1.0), no(2.0)], []),
        ([Row("a", 1.0), no(2.0, "b")], [("a", 1.0)]),
        ([Row("a", 1.0, channel="x"), no(2.0, "a", "y")], [("a", 1.0)]),
        ([no(2.0), Row("a", 3.0)], [("a", 3.0)]),
        # Said anew after a no, with no moment or an old one: it counts from its recording.
        ([no(2.0), Row("a", None)], [("a", NOW)]),
        ([no(2.0), Row("a", 1.0)], [("a", NOW)]),
        ([Row("a", None)], [("a", None)]),
        # One that begins later would overrule every no until then: it is not told.
        ([Row("a", NOW + 3600.0)], []),
    ],
)
def test_a_ledger_is_read_as_statements(rows: Sequence[Row], left: list[Any]) -> None:
    assert yes(said(rows)) == left


def test_a_no_to_a_yes_that_began_a_little_ahead_is_as_late_as_that() -> None:
    found = said([Row("a", NOW + 60.0), no(NOW, "a")])
    assert (found.yes, [one.at for one in found.no]) == ((), [NOW + 60.0])


def one(since: float | None, purpose: str = "a") -> Consent:
    return Consent(purpose=purpose, since=since)


@pytest.mark.parametrize(
    ("ours", "theirs", "taken_yes", "taken_no"),
    [
        (Said(), Said((one(1.0),)), [("a", 1.0)], 0),
        (Said((one(1.0),)), Said((one(1.0),)), [], 0),
        (Said((), (No(at=2.0),)), Said((one(1.0),)), [], 0),
        (Said((), (No(at=2.0),)), Said((one(2.0),)), [], 0),  # of the same moment: no
        (Said((), (No(at=2.0),)), Said((one(None),)), [], 0),
        (Said((), (No(at=2.0),)), Said((one(3.0),)), [("a", 3.0)], 0),
        (Said((one(1.0),)), Said((), (No(at=2.0),)), [], 1),
        # A no that comes late ends what was before it, and a yes after it is said once more.
        (Said((one(3.0),)), Said((), (No(at=2.0),)), [("a", 3.0)], 1),
        (Said((), (No(at=2.0),)), Said((), (No(at=1.0, purpose="a"),)), [], 0),
        (Said((), (No(at=1.0, purpose="a"),)), Said((), (No(at=1.0),)), [], 1),
    ],
)
def test_two_ledgers_are_joined(
    ours: Said, theirs: Said, taken_yes: list[Any], taken_no: int
) -> None:
    news = join(ours, theirs)
    assert (yes(news), len(news.no)) == (taken_yes, taken_no)


# Cells ---------------------------------------------------------------------------------------


def test_cells_are_read_as_values_and_written_as_their_column_has_it() -> None:
    assert value_of("languages", "fr; en") == ["fr", "en"]
    assert value_of("attributes.a", "") is None
    assert cell_of("languages", ["fr", "en"], str) == "fr;en"
    assert cell_of("attributes.a", {"b": 1}, str) == '{"b":1}'
    assert cell_of("attributes.a", "7", int) == 7
    assert (
        cell_of("endpoints.email", [{"channel": "email", "address": "a@b.example"}], str)
        == "a@b.example"
    )
    with pytest.raises(ValueError, match="is no int"):
        cell_of("attributes.a", "much", int)
    with pytest.raises(ValueError, match="bytes"):
        value_of("attributes.a", b"x")
    with pytest.raises(ValueError, match="is no time"):
        instant(True)
    for kind in (float, str):
        assert instant(written_at(NOW + 0.5, kind, aware=True)) == NOW + 0.5


# Rules ---------------------------------------------------------------------------------------


def test_a_sync_file_says_whose_word_counts() -> None:
    rules = parse_rules(
        {"owners": {"attributes.tier": "crm", "endpoints": "person"},
         "conversions": {"window_s": 60, "campaign": {"coffee": 5}},
         "peer": [{"id": "crm", "max_age_s": 10}]},
        "sync.toml",
    )  # fmt: skip
    assert rules.owners == {**DEFAULT_OWNERS, "attributes.tier": "crm", "endpoints": "person"}
    assert (rules.window_of("coffee"), rules.window_of("tea")) == (5.0, 60.0)
    assert rules.bounds == {"crm": 10.0}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"owners": {"tier": "crm"}}, "field 'tier' is none of"),
        ({"owners": {"attributes": {"tier": "crm"}}}, "attributes must be"),
        ({"peer": [{"id": "crm"}]}, "id and max_age_s are needed"),
        ({"conversions": {"window": 5}}, "window"),
    ],
)
def test_a_bad_sync_file_is_refused_in_words(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ProximityError, match=problem):
        parse_rules(table, "sync.toml")


def test_a_number_of_more_digits_than_can_be_read_is_a_problem_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "sync.toml"
    file.write_text("x = " + "9" * 10_000, encoding="utf-8")
    with pytest.raises(ProximityError, match=r"^sync\.toml: this is no TOML: "):
        load_rules(file)
