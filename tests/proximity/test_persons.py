"""``proximity person`` and ``proximity events``: in and out again, and what is wrong in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proximity.__main__ import main
from proximity.model import Person, ProximityError
from proximity.people.file import read_people
from proximity.people.table import parse_table, write_table
from proximity.store import Store

NOON = 1_777_629_600.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    Store.open(data / "engine.db").close()
    return data


def ask(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    status: int = ended.value.code  # type: ignore[assignment]  # always a number here
    return status


def ada(**more: Any) -> dict[str, Any]:
    return {
        "person": "ada", "subjects": ["phone"], "timezone": "Europe/Paris", "languages": ["fr"],
        "consents": [{"purpose": "marketing", "channel": None, "from": None, "until": None}],
        **more,
    }  # fmt: skip


TYPED = {
    "tier": "gold", "age": 43, "height": 1.75, "member": True, "likes": ["tea; green", "milk"],
    "empty": "", "nothing": None, "nested": {"a": [1]}, "none": [], "lines": 'a\nb, "c"',
    "": "of no name", " padded\t": "text", '"quoted"': 1, "a:text": True, "two\r\nlines": "x",
}  # fmt: skip


def write(path: Path, *people: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in people))
    return path


def shown(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_people_go_out_and_come_in_elsewhere_as_they_were(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    rows = [{"allow": False, "topic": "food", "hours": [{"from": "22:00", "to": "07:00"}]}]
    push = [{"channel": "webpush", "address": "https://push.example.test/1", "platform": "web"}]
    file = write(
        tmp_path / "people.jsonl",
        ada(attributes=TYPED, preferences=rows, endpoints=push),
        {"person": "bob", "attributes": {"tier": 7}},
    )
    assert ask("person", "import", file, "--data", folder) == 0
    capsys.readouterr()
    assert ask("person", "list", "--data", folder) == 0
    before = shown(capsys)
    assert before[0]["attributes"] == TYPED
    assert ask("person", "list", "--data", folder, *(["--csv"] if form == "csv" else [])) == 0
    out = tmp_path / f"out.{form}"
    out.write_text(capsys.readouterr().out)
    other = tmp_path / "other"
    other.mkdir()
    Store.open(other / "engine.db").close()
    assert ask("person", "import", out, "--data", other) == 0
    capsys.readouterr()
    assert ask("person", "list", "--data", other) == 0
    assert shown(capsys) == before


def test_a_crm_writes_its_table_by_hand(tmp_path: Path) -> None:
    table = tmp_path / "crm.csv"
    table.write_text(
        "\ufeffperson,subjects,languages,tier:text,age:number,member:flag,likes:texts\n"
        "ada,phone;watch,fr;en,gold,43,true,tea; milk\n\nbob,,,,,,\n",
        encoding="utf-8",
    )
    first, second = read_people(table)
    assert first.subjects == ("phone", "watch")
    assert first.attributes == {"tier": "gold", "age": 43, "member": True, "likes": ["tea", "milk"]}
    assert second == Person(person="bob")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("person,tier\na,b\n", "row 1: column 'tier' is none of person"),
        ("person,person\n", "row 1: column 'person' is there twice"),
        ("person,age:number\na,four\n", "row 2: column age:number:"),
        ("person,member:flag\na,yes\n", "row 2: column member:flag: write true or false"),
        ("person,age:number\na,ten\n", "row 2: column age:number: write a number"),
        ("person,consents\na,{\n", "row 2: column consents:"),
        ("person,x:json\na," + "[" * 3000 + "\n", "row 2: "),
        ("person\na,b\n", "row 2: 2 cells are more than the 1"),
        ("person,timezone\na,Mars\n", "unknown timezone 'Mars'"),
        ('person,x:text\na,"b\n', "this is no CSV"),
        ("person\na\na\n", "person 'a' is there twice"),
        ("person," + ",".join(f"a{n}:text" for n in range(1001)), "1002 columns are too many"),
    ],
)
def test_a_table_that_cannot_be_read_says_where(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "people.csv"
    file.write_text(text)
    with pytest.raises(ProximityError) as refused:
        read_people(file)
    assert any(said in problem for problem in refused.value.problems), refused.value.problems


def test_tables_are_bounded() -> None:
    rows = "person,age:number\n" + "a,x\n" * 200
    with pytest.raises(ProximityError) as refused:
        parse_table(rows, "t")
    assert len(refused.value.problems) == 100
    assert write_table([]) == "person\n"
    with pytest.raises(ProximityError, match="no column person"):
        parse_table("", "t")


def test_attributes_are_checked_by_the_plan(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('[[attribute]]\nname = "age"\ntype = "number"\n')
    file = write(tmp_path / "people.jsonl", ada(attributes={"age": "old"}))
    assert ask("person", "import", file, "--data", folder, "--events", plan) == 2
    assert "attribute age must be a number; it is text" in capsys.readouterr().err
    assert ask("person", "show", "ada", "--data", folder) == 1


def test_preferences_are_shown_and_replaced(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("person", "import", write(tmp_path / "p.jsonl", ada()), "--data", folder)
    rows = tmp_path / "rows.json"
    rows.write_text('[{"allow": false, "topic": "food"}]')
    capsys.readouterr()
    assert ask("person", "preferences", "ada", "--set", rows, "--data", folder) == 0
    assert shown(capsys) == [{"allow": False, "topic": "food"}]
    assert ask("person", "preferences", "eve", "--data", folder) == 1
    rows.write_text("[{}]")
    assert ask("person", "preferences", "ada", "--set", rows, "--data", folder) == 2
    assert "this is no list of preferences" in capsys.readouterr().err


PLAN = """
[[event]]
name = "saved"
properties = { item = "text" }
"""


def log(path: Path, *events: Any) -> Path:
    lines = [one if isinstance(one, str) else json.dumps(one) for one in events]
    path.write_text("\n".join(lines) + "\n")
    return path


def event(name: str, **more: Any) -> dict[str, Any]:
    own = {"id": more.pop("id")} if "id" in more else {}
    return {"type": "event", "subject": "phone", "at": NOON, "name": name, "properties": more} | own


FIX = {"type": "fix", "subject": "phone", "at": NOON, "lon": 2.0, "lat": 48.0}


def test_a_plan_is_held_against_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    good = log(tmp_path / "good.jsonl", FIX, event("saved", item="x"), "")
    assert ask("events", "check", plan, good) == 0
    assert capsys.readouterr().err == "proximity: 1 events, 0 problems\n"
    bad = log(
        tmp_path / "bad.jsonl",
        FIX,
        event("svaed"),
        "{",
        event("saved", itme=1, item=2),
        "x" * 70_000,
    )
    assert ask("events", "check", plan, bad) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("svaed: the plan has no event 'svaed'; did you mean 'saved'?")
    assert [line.split(":")[0] for line in said] == [
        "bad.jsonl, line 2", "bad.jsonl, line 3", "bad.jsonl, line 4", "bad.jsonl, line 4",
        "bad.jsonl, line 5",
    ]  # fmt: skip
    assert ask("events", "check", plan, tmp_path / "absent") == 2
    many = log(tmp_path / "many.jsonl", *[event("svaed")] * 120)
    assert ask("events", "check", plan, many) == 1
    assert capsys.readouterr().out.endswith("and 20 more\n")


def test_what_others_sent_and_sold_is_brought_in_from_their_tables(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("person", "import", write(tmp_path / "p.jsonl", ada()), "--data", folder)
    mails = tmp_path / "mails.csv"
    mails.write_text(
        "person,at,id,system,channel,purpose\n"
        "ada,2026-05-01T08:00:00Z,m1,mailer,email,marketing\n"
        "ada,1777629600,m2,mailer,email,marketing\n"
        "eve,1777629600,m3,mailer,email,marketing\n"
    )
    words = ("events", "import", mails, "--name", "message-sent", "--data", folder)
    capsys.readouterr()
    assert ask(*words) == 0
    said = capsys.readouterr().err
    assert said == "proximity: accepted 2, duplicate 0, unconsented 1, quarantined 0\n"
    assert ask(*words) == 0
    assert "accepted 0, duplicate 2" in capsys.readouterr().err
    till = tmp_path / "till.csv"
    till.write_text(
        "subject,at,name,id,product,quantity:number,gift:flag\n"
        "phone,1777629600,purchase,r1,tea,2,false\n"
    )
    assert ask("events", "import", till, "--data", folder) == 0
    capsys.readouterr()
    assert ask("person", "events", "--person", "ada", "--json", "--data", folder) == 0
    found = shown(capsys)
    assert [one["name"] for one in found] == ["message-sent", "message-sent", "purchase"]
    assert found[2]["properties"] == {"gift": False, "product": "tea", "quantity": 2.0}
    assert ask("person", "profile", "ada", "--data", folder) == 0
    text = capsys.readouterr().out
    assert "buys tea: 2, 100% of what they buy" in text
    assert ask("person", "profile", "ada", "--json", "--within", "60", "--data", folder) == 0
    assert shown(capsys)[0]["products"] == []
    assert ask("person", "profile", "nobody", "--data", folder) == 1
    assert ask("person", "events", "--data", folder) == 0
    assert "purchase  gift=False  product=tea" in capsys.readouterr().out


def test_an_import_is_all_or_nothing_and_says_what_was_set_aside(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("person", "import", write(tmp_path / "p.jsonl", ada()), "--data", folder)
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    for text, said in (
        ("subject,at\nphone,1\n", "line 1: there is no column name"),
        ("subject,at,name,n:number\nphone,1,a,x\n", "line 2: n:number: this is none"),
        ("subject,at,name\nphone,x,a\n", "line 2: "),
        ("subject,at,name\nphone,1,a,b\n", "line 2: 4 cells, but 3 columns"),
        ("\nperson,at,name\n\n\nada,x,a\n", "line 5: "),
        ("person,at,name\n\n,1,a\n", "line 3: person is empty: say whose event it is"),
        ("subject,at,name,at\nphone,1,a,2\n", "line 1: column 'at' is there twice: keep one"),
        ("subject,at,name,n:number,n\nphone,1,a,2,b\n", "line 1: column 'n' is there twice"),
        ('subject,at,name\nphone,1,"a\n', "this is neither JSON lines nor CSV"),
    ):
        file = tmp_path / "bad.csv"
        file.write_text(text)
        assert ask("events", "import", file, "--data", folder) == 2
        assert said in capsys.readouterr().err
    file = log(tmp_path / "log.jsonl", event("saved", item="x"), event("other"))
    assert ask("events", "import", file, "--data", folder, "--events", plan) == 1
    capsys.readouterr()
    assert ask("person", "events", "--quarantined", "--data", folder) == 0
    assert "the plan has no event 'other'" in capsys.readouterr().out
    (tmp_path / "empty.csv").write_text("")
    assert ask("events", "import", tmp_path / "empty.csv", "--data", folder) == 0


def test_a_subject_of_two_people_is_refused_in_a_table_as_in_lines(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "people.csv"
    table.write_text("person,subjects\nada,phone\nbob,card;phone\n")
    assert ask("person", "import", table, "--data", folder) == 2
    said = "people.csv, row 3: person 'bob': subject 'phone' belongs to 'ada' already"
    assert said in capsys.readouterr().err


def test_all_that_is_wrong_with_a_table_of_people_is_told_at_once(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "people.csv"
    table.write_text("person,timezone,age:number\nada,Europe/Nowhere,36\nbob,,many\nada,,\n")
    assert ask("person", "import", table, "--data", folder) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3
    assert "row 2: person 'ada': unknown timezone" in told[0]
    assert "row 3: column age" in told[1]
    assert "row 4: person 'ada' is there twice" in told[2]
