"""``proximity campaign backtest``: from a server's folder, and from what a replay wrote."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from proximity.__main__ import main
from proximity.commands.backtesting import written
from proximity.store import Store
from proximity.store.folder import state_of
from tests import days, street
from tests.proximity.test_backtest import PLAIN


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["campaign", "backtest", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Campaigns, site, fences, people and a trace, and what a replay made of it."""
    folder = tmp_path_factory.mktemp("week")
    drawn = {"type": "FeatureCollection", "features": list(street.STREET)}
    (folder / "fences.geojson").write_text(json.dumps(drawn))
    (folder / "site.toml").write_text('fences = "fences.geojson"\n')
    (folder / "campaigns.toml").write_text(PLAIN)
    persons = days.people(12)
    encode = msgspec.json.encode
    (folder / "people.jsonl").write_bytes(b"\n".join(map(encode, persons)) + b"\n")
    (folder / "trace.jsonl").write_bytes(b"\n".join(map(encode, days.walks(persons))) + b"\n")
    from simulator.__main__ import main as simulate

    told = ["replay", "trace.jsonl", "--site", "site.toml", "--campaigns", "campaigns.toml"]
    told += ["--people", "people.jsonl", "--out", "out", "--until", "+86400"]
    known = {one.name for one in folder.iterdir()} | {"out"}
    assert simulate([str(folder / word) if word in known else word for word in told]) == 0
    return folder


def sent(files: Path) -> int:
    lines = (files / "out" / "decisions.jsonl").read_text().splitlines()
    return sum(json.loads(line)["decision"] == "send" for line in lines)


def test_what_a_replay_wrote_is_decided_again(files: Path) -> None:
    given = ("--run", files / "out", "--site", files / "site.toml")
    given += ("--people", files / "people.jsonl")
    told = run(files / "campaigns.toml", *given, "--json", "--days", 30)
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["sent"] == sent(files) > 0
    assert "has no events" in told.stderr
    text = run(files / "campaigns.toml", *given, "--days", 30).stdout
    assert f"would have sent {sent(files)} offers to {found['people']} people" in text
    assert "stopped" in text
    assert "of them alone" in text


def test_a_folder_of_nothing_is_no(files: Path, tmp_path: Path) -> None:
    Store.open(state_of(tmp_path / "data")).close()
    told = run(files / "campaigns.toml", "--data", tmp_path / "data")
    assert told.exit_code == 1
    assert "nothing met it" in told.stdout
    assert "1970" not in told.stdout


@pytest.mark.parametrize(
    "words",
    [
        [], ["--data", "D", "--run", "R"], ["--data", "NONE"], ["--run", "NONE"],
        ["--data", "D", "--site", "S"], ["--data", "D", "--since", "noon"],
        ["--data", "D", "--since", "9", "--until", "8"], ["--data", "D", "--days", "0"],
        ["--run", "BAD"], ["--run", "WORSE"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_usage_is_one_line(files: Path, tmp_path: Path, words: list[str]) -> None:
    Store.open(state_of(tmp_path / "data")).close()
    for name, text in (("bad", "{"), ("worse", '{"kind":"enter","subject":3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "transitions.jsonl").write_text(text + "\n")
    named = {
        "D": tmp_path / "data", "R": files / "out", "S": files / "site.toml",
        "NONE": tmp_path / "none", "BAD": tmp_path / "bad", "WORSE": tmp_path / "worse",
    }  # fmt: skip
    told = run(files / "campaigns.toml", *(named.get(word, word) for word in words))
    assert (told.exit_code, told.stdout) == (2, "")
    assert len(told.stderr.splitlines()) == 1
    assert "fault of the program" not in told.stderr


def test_what_waits_and_what_failed_is_written(files: Path) -> None:
    from proximity.backtest.backtest import Backtest, Outcome

    one = Outcome(
        campaign="c", version=2, met=3, people_met=1, sent=0, people=0, waiting=1,
        stopped={"caps": 2}, alone={}, reasons={"capped": 2}, days={},
    )  # fmt: skip
    found = Backtest(
        since="a", until="b", transitions=1, events=0, sent=0, people=0, faults=1, campaigns=(one,)
    )
    text = written(found)
    assert "1 trigger could not be decided" in text
    assert "1 would still wait" in text
    assert "caps         stopped 2" in text
