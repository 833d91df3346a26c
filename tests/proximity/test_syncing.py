"""``proximity sync``: changes in and out by table, what others sent, and what is wrong in words."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from proximity.store import Store, schema
from tests.proximity.test_persons import ask

HEADER = "person,tier:text,consents,changed_at\n"
YES = '"[{""purpose"":""marketing""}]"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    Store.open(data / "engine.db").close()
    return data


def test_a_table_comes_in_and_goes_out_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "crm.csv"
    table.write_text(HEADER + f"ann,gold,{YES},2026-01-06T12:00:00Z\n")
    assert ask("sync", "in", "--data", folder, table) == 0
    assert capsys.readouterr().err == "proximity: here: changed 1\n"
    assert ask("sync", "in", "--data", folder, table) == 0
    assert capsys.readouterr().err == "proximity: here: same 1\n"
    # An older table changes nothing.
    table.write_text(HEADER + "ann,silver,,2025-01-06T12:00:00Z\n")
    ask("sync", "in", "--data", folder, table)
    assert capsys.readouterr().err == "proximity: here: same 1, stale 1\n"
    assert ask("sync", "out", "--data", folder, "--peer-name", "shop", "--take") == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    at = "2026-01-06T12:00:00.000Z"
    assert told["words"] == [
        {"field": "attributes.tier", "at": at, "origin": "crm", "value": "gold"}
    ]
    ask("sync", "out", "--data", folder, "--peer-name", "shop")
    assert capsys.readouterr().out == ""
    ask("sync", "status", "--data", folder, "--json")
    crm, shop = (json.loads(one) for one in capsys.readouterr().out.splitlines())
    assert (crm["id"], crm["counts"]) == ("crm", {"changed": 1, "same": 2, "stale": 1})
    assert shop["cursor"] != "0"


def test_a_row_may_erase_and_who_was_erased_does_not_come_back(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "crm.csv"
    table.write_text(HEADER + f"ann,gold,{YES},2026-01-06T12:00:00Z\n")
    ask("sync", "in", "--data", folder, table)
    gone = tmp_path / "gone.csv"
    gone.write_text("person,changed_at,erased_at,id\nann,,2026-01-07T12:00:00Z,e-1\n")
    assert ask("sync", "in", "--data", folder, gone) == 0
    assert ask("person", "show", "--data", folder, "ann") == 1
    capsys.readouterr()
    ask("sync", "in", "--data", folder, table)
    said = capsys.readouterr().err
    assert said == (
        "proximity: here: erased 1\nproximity: person 'ann': was erased and does not come back\n"
    )


def test_what_others_sent_comes_in_once_and_counts(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = tmp_path / "people.jsonl"
    people.write_text(json.dumps({"person": "ann", "consents": [{"purpose": "marketing"}]}))
    ask("person", "import", "--data", folder, people)
    sent = tmp_path / "sent.csv"
    sent.write_text(
        "person,at,id,system,channel,purpose\nann,2026-01-06T12:00:00Z,m1,mailer,email,marketing\n"
    )
    for _ in range(2):
        assert ask("sync", "sends", "--data", folder, sent) == 0
    store = Store.open(folder / "engine.db")
    rows = store.read(lambda c: c.execute(sa.select(schema.sends)).mappings().all())
    store.close()
    assert [(row["person"], row["system"], row["channel"]) for row in rows] == [
        ("ann", "mailer", "email")
    ]
    assert "duplicate 1" in capsys.readouterr().err


def test_conversions_come_in_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sales = tmp_path / "sales.csv"
    sales.write_text(
        "id,person,at,value\n1,zoe,2026-01-06T12:00:00Z,9.5\n2,,2026-01-06T12:00:00Z,1\n"
    )
    assert ask("sync", "conversions", "--data", folder, sales) == 2
    assert "row 3: a conversion needs a person, a key or a code" in capsys.readouterr().err
    sales.write_text("person,at,at,total,sum\nzoe,1,2,3,4\n")
    assert ask("sync", "conversions", "--data", folder, sales) == 2
    assert "; 'total' is none; 'sum' is none" in capsys.readouterr().err
    sales.write_text("id,person,at,at\n1,zoe,1,2\n")
    assert ask("sync", "conversions", "--data", folder, sales) == 2
    assert "row 1: column 'at' is there twice: keep one" in capsys.readouterr().err
    sales.write_text("id,person,at,value\n1,zoe,2026-01-06T12:00:00Z,9.5\n")
    assert ask("sync", "conversions", "--data", folder, sales) == 0
    assert "unconsented 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("person,tier:text\nann,gold\n", "there is no column changed_at"),
        ("person,changed_at\nann,yesterday\n", "row 2"),
        ("person,changed_at\nann,\n", "row 2: changed_at is empty"),
        ("person,tier,changed_at\nann,gold,1\n", "column 'tier'"),
        ('person,changed_at\n"ann', "no CSV"),
        ("", "there is no column changed_at"),
        ("person,changed_at\n,2026-01-06T12:00:00Z\n", "row 2: Object missing required field"),
    ],
)
def test_a_bad_table_is_refused_in_words(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    table = tmp_path / "crm.csv"
    table.write_text(text)
    assert ask("sync", "in", "--data", folder, table) == 2
    assert problem in capsys.readouterr().err


def test_all_that_is_wrong_with_a_table_is_told_at_once_by_the_row_it_stands_in(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "crm.csv"
    table.write_text(
        "person,age:number,changed_at\n\n\nann,1,never\nbob,old,2026-01-06T12:00:00Z\ncy,1,\n"
    )
    assert ask("sync", "in", "--data", folder, table) == 2
    told = [line.partition("crm.csv, ")[2] for line in capsys.readouterr().err.splitlines()]
    assert told == [
        "row 4: 'never' is no RFC 3339 time",
        "row 5: column age:number: write a number, such as 12 or 0.5",
        "row 6: changed_at is empty: say since when the row is so",
    ]


MAPPING = (
    'table = "customers"\nkey = "no"\nchanged_at = "at"\n[columns]\ntier = "attributes.tier"\n'
)


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        (MAPPING.replace('"customers"', '"clients"'), "this database has none; there is customers"),
        (MAPPING.replace('"customers"', '"costumers"'), "did you mean 'customers'?"),
        (MAPPING.replace("tier =", "level ="), "there is no column 'level'; there is"),
        (MAPPING.replace("attributes.tier", "tier"), "field 'tier' is none of"),
        (MAPPING.replace("attributes.tier", "subjects.x"), 'write "subject"'),
        ('key = "no"\n', "table is missing"),
        (MAPPING + 'other = "attributes.tier"\n', "two columns are the same field"),
        (MAPPING + "[consents.flag]\n", "purpose is missing"),
        ("table = ", "this is no TOML"),
    ],
)
def test_a_bad_mapping_is_refused_in_words(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mapping: str, problem: str
) -> None:
    shop = sqlite3.connect(tmp_path / "shop.db")
    shop.execute("CREATE TABLE customers (no TEXT, tier TEXT, at REAL)")
    shop.close()
    file = tmp_path / "crm.toml"
    file.write_text(mapping)
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    words = ("sync", "run", "--data", folder, "--sql", url, "--mapping", file)
    assert ask(*words) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite:///nope.db", "{folder}/nope.db: there is no database here: give"),
        ("sqlite:////{folder}/x/y.db", "{folder}/x/y.db: there is no database here: give"),
        ("sqlite://", "--sql names no file: write sqlite:///FILE"),
        ("sqlite://nope.db", "--sql names no file: write sqlite:///FILE"),
        ("nope.db", "--sql is no URL of a database: write sqlite:///FILE"),
        ("postgresql://me:secret@host:port/x", "--sql is no URL of a database: write"),
        ("cobol://me:secret@host/x", "cobol: no such kind of database is known: write"),
        ("postgres://me:secret@127.0.0.1:1/x", "the database cannot be opened (connection failed"),
    ],
)
def test_a_database_that_is_not_there_is_named_and_not_made(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    problem: str,
) -> None:
    if url.startswith("postgres://"):
        pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    mapping = tmp_path / "crm.toml"
    mapping.write_text(MAPPING)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    url = url.format(folder=str(tmp_path).lstrip("/"))
    assert ask("sync", "run", "--data", folder, "--sql", url, "--mapping", mapping) == 2
    said = capsys.readouterr().err
    assert problem.format(folder=tmp_path) in said
    assert "secret" not in said
    assert len(said.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_table_whose_times_are_numbers_and_ids_are_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = sqlite3.connect(tmp_path / "shop.db")
    shop.execute("CREATE TABLE customers (no INTEGER PRIMARY KEY, tier TEXT, yes INTEGER, at REAL)")
    shop.execute("INSERT INTO customers VALUES (7, 'gold', 1, 1767700800.5)")
    shop.commit()
    file = tmp_path / "crm.toml"
    file.write_text(MAPPING + '[consents.yes]\npurpose = "marketing"\n')
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    words = ("sync", "run", "--data", folder, "--sql", url, "--mapping", file)
    assert ask(*words) == 0
    ask("person", "show", "--data", folder, "7")
    assert json.loads(capsys.readouterr().out)["attributes"] == {"tier": "gold"}
    people = tmp_path / "people.jsonl"
    people.write_text(
        '{"person": "8", "attributes": {"tier": "new"}, "consents": [{"purpose": "marketing"}]}\n'
        '{"person": "eight", "attributes": {"tier": "x"}, "consents": [{"purpose": "marketing"}]}\n'
        '{"person": "007", "attributes": {"tier": "x"}, "consents": [{"purpose": "marketing"}]}'
    )
    ask("person", "import", "--data", folder, people)
    capsys.readouterr()
    # Whom such a table cannot hold is named, and the others go on.
    assert ask(*words) == 1
    said = capsys.readouterr().err
    assert "'eight' is no id of a table that counts them" in said
    assert "'007' is no id of a table that counts them" in said, "7 is somebody else"
    assert shop.execute("SELECT tier FROM customers WHERE no = 7").fetchall() == [("gold",)]
    assert shop.execute("SELECT tier FROM customers WHERE no = 8").fetchall() == [("new",)]
    shop.close()


@pytest.mark.parametrize("cells", ["'yesterday', 'x'", "'2026-01-06 12:00:00.000000', 'ten'"])
def test_a_cell_that_is_not_of_its_columns_type_is_told_in_words(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cells: str
) -> None:
    shop = sqlite3.connect(tmp_path / "shop.db")
    shop.execute("CREATE TABLE customers (no TEXT PRIMARY KEY, at DATETIME, tier DECIMAL)")
    shop.execute(f"INSERT INTO customers VALUES ('ann', {cells})")
    shop.commit()
    shop.close()
    file = tmp_path / "crm.toml"
    file.write_text(MAPPING)
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    assert ask("sync", "run", "--data", folder, "--sql", url, "--mapping", file) == 2
    assert "'customers' cannot be read: a cell is not of its column's type" in (
        capsys.readouterr().err
    )


def test_what_goes_with_what(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("sync", "run", "--data", folder) == 2
    assert "give --peer URL --peer-token T, or --sql URL --mapping FILE" in capsys.readouterr().err
    assert ask("sync", "run", "--data", folder, "--peer", "http://127.0.0.1:1") == 2
    assert "--peer needs --peer-token" in capsys.readouterr().err
    assert ask("sync", "run", "--data", folder, "--peer", "127.0.0.1", "--peer-token", "x") == 2
    assert "--peer 127.0.0.1: this is no http:// or https:// URL" in capsys.readouterr().err
    token = "px_se\ncret"
    words = ("--peer", "http://127.0.0.1:1", "--peer-token", token)
    assert ask("sync", "run", "--data", folder, *words) == 2
    said = capsys.readouterr().err
    assert "--peer-token (or PROXIMITY_PEER_TOKEN) holds what no token has" in said
    assert "cret" not in said
    assert ask("sync", "run", "--data", folder, "--sql", "sqlite://") == 2
    assert "--sql goes with --mapping" in capsys.readouterr().err


@pytest.mark.parametrize("others", [["ann"], []])
def test_a_row_that_is_refused_comes_once_it_is_mended(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], others: list[str]
) -> None:
    shop = sqlite3.connect(tmp_path / "shop.db")
    shop.execute(
        "CREATE TABLE customers (no TEXT PRIMARY KEY, tier TEXT, zone TEXT, letter BOOLEAN,"
        " updated_at DATETIME)"
    )
    day = "2026-01-0{} 12:00:00.000000"
    for name, zone in (*((one, "Europe/Paris") for one in others), ("bob", "Europe/Pariss")):
        row = (name, "tin", zone, day.format(6))
        shop.execute("INSERT INTO customers VALUES (?, ?, ?, 1, ?)", row)
    shop.commit()
    mapping = tmp_path / "crm.toml"
    mapping.write_text(
        'table = "customers"\nkey = "no"\nchanged_at = "updated_at"\n'
        '[columns]\ntier = "attributes.tier"\nzone = "timezone"\n'
        '[consents.letter]\npurpose = "marketing"\n'
    )
    url = f"sqlite:///{tmp_path / 'shop.db'}"

    def run() -> int:
        return ask("sync", "run", "--data", folder, "--sql", url, "--mapping", mapping)

    # Until it is mended each round says so, and all others come.
    for _ in range(2):
        assert run() == 1
        assert "Europe/Pariss" in capsys.readouterr().err
    shop.execute("UPDATE customers SET zone = 'Europe/Paris', updated_at = ?", (day.format(7),))
    shop.commit()
    assert run() == 0
    assert ask("person", "show", "bob", "--data", folder) == 0
    told = capsys.readouterr().out
    assert '"tier":"tin"' in told.replace(" ", "")
    assert "marketing" in told
    assert run() == 0
    shop.close()
