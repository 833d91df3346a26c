"""People, changes, purchases and events as Parquet: in and out again, and what is wrong in words.

The files are written by pandas, as a warehouse's user would, or by pyarrow where the schema counts.
"""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from proximity.model import Person, ProximityError
from proximity.parquet import as_csv, write_columns
from proximity.people.eventfile import bounded, read_events
from proximity.people.file import read_people
from proximity.people.table import KINDS, OWN, columns_of, parse_table
from proximity.store import Store
from tests.proximity.test_persons import ask

KINDS_OF_PEOPLE = {"name": "people.parquet", "own": OWN, "kinds": KINDS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    Store.open(data / "engine.db").close()
    return data


def packed(columns: dict[str, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


def saved(path: Path, columns: dict[str, Any]) -> Path:
    pd.DataFrame(columns).to_parquet(path)
    return path


def test_a_warehouses_own_types_need_no_colons(tmp_path: Path) -> None:
    table = saved(
        tmp_path / "people.parquet",
        {
            "person": ["ada", "bob"],
            "subjects": [["phone", "card"], []],
            "timezone": ["Europe/Paris", None],
            "consents": [[{"purpose": "marketing", "channel": None}], None],
            "tier": pd.Categorical(["gold", None]),
            "age": pd.array([43, None], "Int64"),
            "height": [1.75, float("nan")],
            "spent": [Decimal("12.50"), None],
            "member": pd.array([True, None], "boolean"),
            "likes": [["tea; green", "milk"], None],
            "born": [date(1982, 1, 6), None],
            "home": [{"city": "Lyon", "floor": None}, None],
            "left:json": ['{"a": [1]}', None],
        },
    )
    ada, bob = read_people(table)
    assert ada.subjects == ("phone", "card")
    assert ada.timezone == "Europe/Paris"
    assert [one.purpose for one in ada.consents] == ["marketing"]
    assert ada.attributes == {
        "tier": "gold", "age": 43, "height": 1.75, "spent": 12.5, "member": True,
        "likes": ["tea; green", "milk"], "born": "1982-01-06", "home": {"city": "Lyon"},
        "left": {"a": [1]},
    }  # fmt: skip
    assert bob == Person(person="bob")


def test_times_are_told_in_utc(folder: Path, tmp_path: Path, capsys: Any) -> None:
    paris = timezone(timedelta(hours=1))
    table = saved(
        tmp_path / "crm.parquet",
        {
            "person": ["ann"],
            "tier": ["gold"],
            "consents": ['[{"purpose":"marketing"}]'],
            "changed_at": [datetime(2026, 1, 6, 13, tzinfo=paris)],
        },
    )
    assert ask("sync", "in", "--data", folder, table) == 0
    assert capsys.readouterr().err == "proximity: here: changed 1\n"
    ask("sync", "out", "--data", folder, "--peer-name", "shop")
    told = json.loads(capsys.readouterr().out)
    assert told["words"][0]["at"] == "2026-01-06T12:00:00.000Z"


def test_nanoseconds_are_cut_to_what_counts() -> None:
    at = pa.array([1_767_700_800_123_456_789], pa.timestamp("ns", tz="Europe/Paris"))
    text = as_csv(packed({"id": ["a"], "at": at}), "sales", ("id", "at"))
    assert text == "id,at\na,2026-01-06T12:00:00.123456Z\n"


def test_purchases_come_in_each_once(folder: Path, tmp_path: Path, capsys: Any) -> None:
    people = tmp_path / "people.jsonl"
    people.write_text('{"person":"ann","consents":[{"purpose":"marketing"}]}\n')
    ask("person", "import", "--data", folder, people)
    at = datetime(2026, 1, 6, 12, 30, tzinfo=UTC)
    table = saved(
        tmp_path / "sales.parquet",
        {"id": ["r-1"], "person": ["ann"], "at": [at], "value": [9.5], "currency": ["EUR"]},
    )
    capsys.readouterr()
    assert ask("sync", "conversions", "--data", folder, table) == 0
    assert "unmatched 1, duplicate 0" in capsys.readouterr().err
    assert ask("sync", "conversions", "--data", folder, table) == 0
    assert "unmatched 0, duplicate 1" in capsys.readouterr().err


def test_events_come_in_with_the_types_of_their_properties(tmp_path: Path) -> None:
    table = saved(
        tmp_path / "mails.parquet",
        {
            "person": ["ann"], "name": ["message-sent"], "id": ["m-1"],
            "at": [datetime(2026, 1, 6, 12, 30, tzinfo=UTC)],
            "price": [3.5], "count": [2], "gift": [True], "system": ["mailer"],
        },
    )  # fmt: skip
    with table.open("rb") as stream:
        (line,) = read_events(bounded(stream))
    assert line.event is not None
    assert line.event.subject == "ann"
    assert line.event.properties == {"price": 3.5, "count": 2, "gift": True, "system": "mailer"}


def test_people_go_out_and_come_in_elsewhere_as_they_were(
    tmp_path: Path, folder: Path, capsys: Any
) -> None:
    source, out = tmp_path / "people.jsonl", tmp_path / "out.parquet"
    source.write_text(
        '{"person":"ada","subjects":["a;b","phone"],"languages":["fr"],'
        '"consents":[{"purpose":"marketing"}],'
        '"attributes":{"tier":"gold","age":43,"vip":true,"likes":["a"],"x":1,"text":"","when":1.5}}\n'
        '{"person":"bob","attributes":{"tier":"silver","age":44,"x":"one","deep":{"a":[1,2.5]}}}\n'
    )
    ask("person", "import", "--data", folder, source)
    assert ask("person", "list", "--data", folder, "--parquet", out) == 0
    assert out.stat().st_mode & 0o777 == 0o600
    table = pd.read_parquet(out)
    assert list(table["age"]) == [43, 44]
    assert list(table["tier"]) == ["gold", "silver"]
    other = tmp_path / "other"
    other.mkdir()
    Store.open(other / "engine.db").close()
    assert ask("person", "import", "--data", other, out) == 0
    capsys.readouterr()
    for data in (folder, other):
        ask("person", "list", "--data", data)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[:2] == told[2:]
    assert ask("person", "list", "--data", folder, "--parquet", out, "--csv") == 2
    assert "give one of them" in capsys.readouterr().err
    assert ask("person", "list", "--data", folder, "--parquet", tmp_path / "no" / "x") == 2
    assert "cannot be written" in capsys.readouterr().err


_values = st.one_of(
    st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=4)),
    st.none(), st.dictionaries(st.text("ab", min_size=1, max_size=2), st.integers(0, 9)),
)  # fmt: skip
_names = st.sampled_from(["a", "b", "person", "age:number", "x y", "timezone", "c:"])


@given(st.lists(st.dictionaries(_names, _values, max_size=4), max_size=6))
def test_whatever_people_are_comes_back_the_same(attributes: list[dict[str, Any]]) -> None:
    people = [{"person": f"p{number}", "attributes": one} for number, one in enumerate(attributes)]
    text = as_csv(write_columns(columns_of(people)), **KINDS_OF_PEOPLE)  # type: ignore[arg-type]
    back = [msgspec.to_builtins(one.attributes) for one in parse_table(text, "people.parquet")]
    # Type by type: 1 is not 1.0, and neither is true.
    assert list(map(repr, map(sorted, map(dict.items, back)))) == list(
        map(repr, map(sorted, map(dict.items, attributes)))
    )


def test_an_events_table_that_cannot_be_read_is_named(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    table = saved(tmp_path / "mails.parquet", {"person": ["ann"], "photo": [b"x"]})
    assert ask("events", "import", "--data", folder, table) == 2
    assert "mails.parquet: column 'photo' holds binary: save it as text" in capsys.readouterr().err


def problems(raw: bytes, **more: Any) -> tuple[str, ...]:
    with pytest.raises(ProximityError) as found:
        as_csv(raw, **{**KINDS_OF_PEOPLE, **more})
    return found.value.problems


def test_every_column_that_cannot_be_read_is_told() -> None:
    naive = pa.array([datetime(2026, 1, 6, 12)], pa.timestamp("us"))  # noqa: DTZ001 - the case
    raw = packed({"person": ["ann"], "seen": naive, "photo": [b"\x00"]})
    assert problems(raw) == (
        "people.parquet: column 'seen': times without a zone may be any: save them as UTC",
        "people.parquet: column 'photo' holds binary: save it as text",
    )
    raw = packed({"subject": ["ann"], "likes": [["tea"]]})
    (told,) = problems(raw, own=("subject",), kinds=("text", "number"))
    assert told == (
        "people.parquet: column 'likes' holds list<element: string>, of which only text, number "
        "are read"
    )


def test_what_is_wrong_in_a_row_is_told_by_its_row(tmp_path: Path) -> None:
    table = saved(tmp_path / "people.parquet", {"person": ["ann", ""], "tier": ["x", "y"]})
    with pytest.raises(ProximityError, match=r"people.parquet, row 3: .*person"):
        read_people(table)


@pytest.mark.parametrize("cut", [4, 30, -3])
def test_a_broken_file_is_told_as_one(cut: int) -> None:
    raw = packed({"person": ["ann"]})
    (told,) = problems(raw[:cut])
    assert told.startswith("people.parquet: this is no Parquet file (")


def test_any_byte_may_be_wrong() -> None:
    raw = packed({"person": ["ann", "bob"], "age": [1, 2], "likes": [["a"], ["b"]]})
    for at in range(4, len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :]
        try:
            text = as_csv(changed, **KINDS_OF_PEOPLE)  # type: ignore[arg-type]
        except ProximityError:
            continue
        assert text.endswith("\n")


def test_a_small_file_may_not_unpack_to_a_machines_memory() -> None:
    same = pa.array(["x" * 1000] * 400_000)
    raw = packed({"person": same}, compression="zstd", use_dictionary=False)
    assert len(raw) < 1_000_000
    (told,) = problems(raw)
    assert told == "people.parquet: unpacks to more than 268435456 bytes: split it"
    # Kept as one word and four hundred thousand references to it, it says that it is small.
    (told,) = problems(packed({"person": same}))
    assert told == "people.parquet: more than 67108864 bytes as text: split it"
    (told,) = problems(packed({f"c{number}": [1] for number in range(1001)}))
    assert told == "people.parquet: 1001 columns are too many, at most 1000"
