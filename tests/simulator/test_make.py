"""``simulator make``: the files of a run, the same for the same seed, and each part as drawn."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from proximity.model import Fix, ProximityError, Sighting, parse_time
from proximity.people.people import read_people
from proximity.site.sitefile import load_site
from simulator import stories
from simulator.__main__ import main
from simulator.make import write
from simulator.scenario import Scenario, read_scenario
from simulator.stories import trace
from simulator.trace import read_trace

FILES = {"site.toml", "fences.geojson", "people.jsonl", "trace.jsonl", "truth.jsonl"}
HEAD = 'start = "2026-05-01T10:00:00Z"\norigin = [2.35, 48.85]\n'
SHOP = '[[fence]]\nid = "shop"\nbox = [0, 0, 20, 30]\n'
ANA = '[[walker]]\nsubject = "ana"\npath = [[-40, 15], [10, 15, 60], [-40, 15]]\n'
BEN = '[[walker]]\nsubject = "ben"\nphone = "town"\npath = [[-90, 15], [10, 15, 60]]\n'
UUID = 'uuid = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"\n'
TAG = f'[[beacon]]\n{UUID}major = 1\nminor = 7\nsubject = "tag"\n'
DOOR = '[[place]]\nid = "door"\nbox = [0, 0, 5, 5]\n'
GATEWAY = '[[gateway]]\nid = "gw"\nplace = "door"\nat = [2, 3]\n'
CARRIER = '[[walker]]\nsubject = "cleo"\nphone = "none"\ncarries = ["tag"]\npath = [[2, 2, 300]]\n'


def scenario(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "one.toml"
    path.write_text(text, "utf-8")
    return read_scenario(path)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_files_of_the_contract_are_written_and_read_back(tmp_path: Path) -> None:
    counts = write(scenario(tmp_path, HEAD + SHOP + ANA + BEN), 1, tmp_path / "out")
    assert set(contents(tmp_path / "out")) == set(counts) == FILES
    records = list(read_trace(tmp_path / "out" / "trace.jsonl"))
    assert {record.subject for record in records} == {"ana", "ben"}
    arrivals = [record.received_at for record in records]
    assert None not in arrivals
    assert arrivals == sorted(arrivals)
    truth = lines(tmp_path / "out" / "truth.jsonl")
    assert [one["kind"] for one in truth if one["subject"] == "ana"] == ["enter", "exit"]
    assert [one["at"] for one in truth] == sorted(one["at"] for one in truth)
    site = load_site(tmp_path / "out" / "site.toml")
    assert site.fences == "fences.geojson"
    people = read_people(tmp_path / "out" / "people.jsonl")
    assert [(person.person, person.consents[0].purpose) for person in people] == [
        ("ana", "service"), ("ben", "service"),
    ]  # fmt: skip


def test_the_same_seed_gives_the_same_bytes_and_another_others(tmp_path: Path) -> None:
    told = scenario(tmp_path, HEAD + SHOP + DOOR + GATEWAY + TAG + ANA + BEN + CARRIER)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(told, seed, tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    differing = {
        name
        for name, content in contents(tmp_path / "a").items()
        if content != (tmp_path / "c" / name).read_bytes()
    }
    assert differing == {"trace.jsonl", "truth.jsonl"}


def test_one_more_walker_changes_no_other(tmp_path: Path) -> None:
    alone = trace(scenario(tmp_path, HEAD + SHOP + ANA), 1)
    both = trace(scenario(tmp_path, HEAD + SHOP + BEN + ANA), 1)
    assert alone == [one for one in both if one.subject == "ana"]


def test_a_crowd_is_drawn_apart_and_calls_where_it_says(tmp_path: Path) -> None:
    crowd = """[[crowd]]
subject = "w"
count = 30
phone = { accuracy_m = [4, 8], every_s = 30 }
path = [[-100, 0], [100, 0]]
starts_s = [0, 3600]
spread_m = 2
calls = [[10, 15], [10, 20]]
calls_each = [1, 1]
stay_s = [100, 200]
"""
    write(scenario(tmp_path, HEAD + SHOP + crowd), 1, tmp_path / "out")
    records = list(read_trace(tmp_path / "out" / "trace.jsonl"))
    assert len({record.subject for record in records}) == 30
    assert {record.subject for record in records} >= {"w-01", "w-30"}
    starts = sorted(min(r.at for r in records if r.subject == f"w-{n:02d}") for n in range(1, 31))
    assert starts[-1] - starts[0] > 1800.0
    truth = lines(tmp_path / "out" / "truth.jsonl")
    visits: Counter[str] = Counter(one["subject"] for one in truth if one["kind"] == "enter")
    assert set(visits.values()) == {1}
    assert len(visits) == 30
    for subject in visits:
        begins, ends = (parse_time(one["at"]) for one in truth if one["subject"] == subject)
        assert 100.0 < ends - begins < 260.0


def test_gateways_hear_tags_thinned_and_as_their_clocks_say(tmp_path: Path) -> None:
    text = HEAD + DOOR + GATEWAY + "report_s = 2\nskew_s = 30\n" + TAG + CARRIER
    records = trace(scenario(tmp_path, text), 1)
    assert all(isinstance(one, Sighting) and one.gateway == "gw" for one in records)
    assert 100 < len(records) <= 151
    levels = sorted(one.rssi_dbm for one in records if isinstance(one, Sighting))
    assert -80.0 < levels[len(levels) // 2] < -45.0
    assert all(one.received_at is not None and one.at - one.received_at > 25.0 for one in records)


def test_an_outage_loses_and_a_spool_delays(tmp_path: Path) -> None:
    lost = trace(
        scenario(tmp_path, HEAD + DOOR + GATEWAY + "down = [[60, 180]]\n" + TAG + CARRIER), 1
    )
    seconds = [one.at - 1777629600.0 for one in lost]
    assert not [one for one in seconds if 60.0 <= one < 180.0]
    assert [one for one in seconds if one >= 180.0]
    late = trace(
        scenario(tmp_path, HEAD + DOOR + GATEWAY + "offline = [[60, 180]]\n" + TAG + CARRIER), 1
    )
    waited = [one for one in late if 60.0 <= one.at - 1777629600.0 < 180.0]
    assert len(waited) > 50
    assert all((one.received_at or 0.0) >= 1777629780.0 for one in waited)


def test_scans_have_windows_and_steps(tmp_path: Path) -> None:
    windows = HEAD + DOOR + GATEWAY + "window_s = [10, 5]\n" + TAG + CARRIER
    seconds = [one.at - 1777629600.0 for one in trace(scenario(tmp_path, windows), 1)]
    assert len(seconds) > 150
    assert max(second % 15.0 for second in seconds) < 10.0
    steps = trace(scenario(tmp_path, HEAD + DOOR + GATEWAY + "step_db = 8\n" + TAG + CARRIER), 1)
    levels = [one.rssi_dbm for one in steps if isinstance(one, Sighting)]
    assert 5 < len(levels) < 150
    assert min(abs(a - b) for a, b in pairwise(levels)) >= 8.0


def test_phones_hear_fixed_beacons(tmp_path: Path) -> None:
    text = HEAD + DOOR + f'[[beacon]]\n{UUID}place = "door"\nat = [2, 2]\n' + ANA + "hears = true\n"
    write(scenario(tmp_path, text), 1, tmp_path / "out")
    records = list(read_trace(tmp_path / "out" / "trace.jsonl"))
    heard = [one for one in records if isinstance(one, Sighting)]
    assert len(heard) > 30
    assert {one.subject for one in heard} == {"ana"}
    assert [one for one in records if isinstance(one, Fix)]


def test_truth_is_of_places_that_a_subject_can_be_seen_in(tmp_path: Path) -> None:
    zone = '[[place]]\nid = "zone"\nparent = "shop"\nbox = [0, 0, 20, 30]\n'
    gateway = '[[gateway]]\nid = "gw"\nplace = "zone"\nat = [10, 15]\n'
    walker = ANA.replace('"ana"\n', '"ana"\ncarries = ["tag"]\n')
    write(scenario(tmp_path, HEAD + SHOP + zone + gateway + TAG + walker), 1, tmp_path / "out")
    truth = lines(tmp_path / "out" / "truth.jsonl")
    places = {(one["subject"], one["place"]) for one in truth}
    assert places == {("ana", "shop"), ("tag", "zone"), ("tag", "shop")}


def test_more_than_can_be_held_is_refused_before_it_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = '[[crowd]]\nsubject = "w"\ncount = 100000\npath = [[0, 0, 5000000]]\n'
    with pytest.raises(ProximityError, match="fewer walkers"):
        trace(scenario(tmp_path, HEAD + crowd), 1)
    idle = '[[crowd]]\nsubject = "w"\ncount = 100000\nphone = "none"\npath = [[0, 0, 5000000]]\n'
    with pytest.raises(ProximityError, match="a shorter time"):
        trace(scenario(tmp_path, HEAD + idle), 1)
    monkeypatch.setattr(stories, "OFTEN", 100)
    with pytest.raises(ProximityError, match="fewer tags"):
        trace(scenario(tmp_path, HEAD + DOOR + GATEWAY + TAG + CARRIER), 1)


def test_the_command_makes_what_replay_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["make", "walk-in", "--seed", "4", "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "written to" in said
    command = said.splitlines()[-1].removeprefix("replay it: simulator ")
    assert main(command.split()) == 0
    assert "3 of 3 expectations met" in capsys.readouterr().out


def test_the_command_lists_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make", "--list"]) == 0
    said = capsys.readouterr().out
    assert "walk-in" in said
    assert len(said.splitlines()) >= 20


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], "name a scenario"),
        (["walk-in"], "--out DIR"),
        (["walkin", "--out", "x"], "'walk-in' meant"),
        (["walk-in", "--out", "/dev/null/x"], "can be written"),
        (["walk-in", "--seed", "-1", "--out", "x"], "--seed"),
    ],
)
def test_bad_usage_is_a_line_and_status_2(
    words: list[str], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["make", *words]) == 2
    said = capsys.readouterr().err
    assert wanted in said
    assert len(said.splitlines()) == 1
