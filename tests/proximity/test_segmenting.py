"""``proximity segment`` and ``proximity report`` on a folder: answers, words, exit statuses."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proximity.__main__ import main
from proximity.model import Consent, Person
from proximity.people.people import People
from proximity.reports.reports import DAY_S
from proximity.store import Store, schema
from proximity.store.folder import state_of

SEGMENTS = """
[[segment]]
id = "gold"
attribute = "tier"
is = "gold"
[[segment]]
id = "shoppers"
visited = "shop"
within_s = 864000
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "c.toml"
    made.write_text(SEGMENTS)
    return made


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    yesterday = time.time() // DAY_S * DAY_S - DAY_S / 2
    with contextlib.closing(Store.open(state_of(folder))) as store:
        people = People(store)
        for number in range(25):
            person = Person(
                person=f"p{number}",
                attributes={"tier": "gold" if number < 21 else "silver"},
                consents=(Consent(purpose="marketing", since=1.0),),
            )
            store.write(lambda conn, one=person: people.put(conn, one)).result()
        rows = [
            {
                "visit": f"v{number}", "person": f"p{number}", "subject": f"p{number}",
                "place": "shop", "enter_at": yesterday - DAY_S, "exit_at": yesterday,
            }
            for number in range(12)
        ]  # fmt: skip
        store.write(lambda conn: conn.execute(schema.visits.insert(), rows)).result()
    return folder


def test_segments_of_a_file_are_listed(file: Path) -> None:
    said = run("segment", "list", "--campaigns", file)
    assert (said.exit_code, said.stdout) == (
        0,
        (
            'gold: People whose tier is "gold".\n'
            'shoppers: People who visited "shop" in the last 10 days.\n'
        ),
    )
    listed = run("segment", "list", "--campaigns", file, "--json").stdout.splitlines()
    assert json.loads(listed[0])["id"] == "gold"


def test_a_size_is_said(file: Path, data: Path) -> None:
    said = run("segment", "size", "gold", "--data", data, "--campaigns", file)
    assert said.exit_code == 0
    assert said.stdout.splitlines()[:3] == [
        'People whose tier is "gold".',
        "at least 20 of at least 20 who are known",
        "  at least 20 of them agreed to marketing",
    ]
    found = run("segment", "size", "shoppers", "--data", data, "--campaigns", file, "--json")
    assert json.loads(found.stdout)["people"] == 10
    later = ("--at", time.time() + 20 * DAY_S)
    found = run("segment", "size", "shoppers", "--data", data, "--campaigns", file, *later)
    assert "fewer than ten of at least 20" in found.stdout


def test_a_person_is_in_or_not_and_why(file: Path, data: Path) -> None:
    words = ("segment", "explain", "shoppers", "--data", data, "--campaigns", file)
    inside = run(*words, "--person", "p1")
    assert (inside.exit_code, inside.stdout) == (
        0,
        'p1 is in shoppers\n  yes who visited "shop" in the last 10 days  [times: 1]\n',
    )
    outside = run(*words, "--person", "p20")
    assert (outside.exit_code, outside.stdout.splitlines()[0]) == (1, "p20 is not in shoppers")
    said = json.loads(run(*words, "--person", "p1", "--json").stdout)
    assert said["holds"] is True


def test_what_is_missing_or_wrong_is_said(file: Path, data: Path) -> None:
    for words, part in (
        (("segment", "size", "golds", "--data", data, "--campaigns", file), "did you mean 'gold'"),
        (("segment", "size", "gold", "--data", data), "--campaigns FILE is missing"),
        (("segment", "size", "gold", "--campaigns", file), "give either --data DIR, or --server"),
        (("segment", "list"), "--campaigns FILE is missing"),
        (("report", "visits"), "give either --data DIR, or --server"),
        (("report", "funel", "--data", data), "did you mean 'funnel'"),
        (("report", "visits", "--data", data, "--last", "0"), "not in the range"),
    ):
        said = run(*words)
        assert said.exit_code == 2
        assert part in said.stderr


def test_a_report_is_printed(data: Path) -> None:
    said = run("report", "visits", "--data", data, "--last", "3")
    assert said.exit_code == 0
    assert "  shop  people: 10  visits: 10" in said.stdout.splitlines()
    assert "  nothing of ten people or more" in said.stdout.splitlines()
    found = json.loads(run("report", "visits", "--data", data, "--json").stdout)
    assert (found["report"], found["least"], len(found["periods"])) == ("visits", 10, 7)
    week = run("report", "consents", "--data", data, "--last", "1")
    assert "  marketing  people: 20" in week.stdout.splitlines()
