"""`simulator replay`: the same every time, honest about what it left out, plain about bad input."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from geofences import FenceIndex, load
from proximity.campaigns.file import load_campaigns
from proximity.engine.engine import Engine
from proximity.model import Decision, Verdict
from proximity.site.places import Places
from proximity.site.sitefile import load_site
from proximity.store import Store
from simulator.__main__ import main
from simulator.offers import Offers, people_of
from simulator.replay import Replay
from simulator.scenario import read_scenario
from simulator.stories import trace
from simulator.summary import as_json
from simulator.trace import write_record

STREET = Path(__file__).resolve().parents[2] / "examples" / "street"
OUTPUTS = ("transitions", "decisions", "deliveries")
FIX = '{"type":"fix","subject":"s","at":1777629600,"lon":2.3701,"lat":48.870135,"accuracy_m":5}\n'


def records() -> list[Any]:
    """What the street's walkers send, at its own seed."""
    scenario = read_scenario(STREET / "walkers.toml")
    return trace(scenario, scenario.seed)


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the street's walk as a trace."""
    file = tmp_path_factory.mktemp("walk") / "street.jsonl"
    file.write_bytes(b"".join(map(write_record, records())))
    return file


def street(*words: str | Path) -> list[str]:
    return [
        *("replay", "--site", str(STREET / "site.toml")),
        *("--campaigns", str(STREET / "campaigns.toml")),
        *("--people", str(STREET / "people.jsonl")),
        *map(str, words),
    ]


def run(batch: int) -> tuple[list[tuple[str, dict[str, Any]]], Any]:
    """Replay the street's walk through the parts, `batch` records at a time."""
    site = load_site(STREET / "site.toml")
    index = FenceIndex(load(STREET / "fences.geojson"))
    store = Store.open(":memory:")
    people = people_of(store, STREET / "people.jsonl")
    campaigns = load_campaigns(STREET / "campaigns.toml")
    offers = Offers(store, campaigns, people, Places(index, site))
    written: list[tuple[str, dict[str, Any]]] = []
    replay = Replay(
        Engine(index, site),
        lambda name, record: written.append((name, record)),
        offers=offers,
        people=people,
        site=site,
    )
    replay.feed(records(), batch)
    counts = replay.finish(lambda last: last + 3600.0)
    offers.close()
    store.close()
    return written, counts


def test_batching_changes_nothing() -> None:
    one, counts = run(1)
    assert {name for name, _ in one} == set(OUTPUTS)
    assert counts.records == len(records())
    for batch in (2, 7, 10_000):
        other, other_counts = run(batch)
        assert other == one
        assert other_counts == counts


def test_twice_is_the_same_to_the_byte_in_other_processes(walk: Path, tmp_path: Path) -> None:
    found = []
    for name in ("once", "again"):
        out = tmp_path / name
        command = [sys.executable, "-m", "simulator", *street(walk, "--out", out)]
        told = subprocess.run(command, capture_output=True, check=True, text=True)
        assert told.stderr == ""
        found.append(
            [told.stdout.replace(name, ""), *((out / f"{o}.jsonl").read_bytes() for o in OUTPUTS)]
        )
        assert sorted(path.name for path in out.iterdir()) == sorted(f"{o}.jsonl" for o in OUTPUTS)
    assert found[0] == found[1]
    assert all(found[0])


def test_the_summary_reads_well(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(street(walk)) == 0
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    assert lines[0].endswith("records of 3 subjects, 2026-05-01T10:00:00.154Z to "
                             f"{lines[0].rsplit(' ', 1)[1]}")  # fmt: skip
    assert lines[1:] == [
        "transitions        5   dwell 1, enter 3, exit 1",
        "decisions          2   send 1, suppress 1",
        "nothing sent because",
        "         1  no_consent  the person did not agree to this purpose on this channel",
        "sent               1   second-cup 1",
        "deliveries         1   accepted 1",
    ]


def test_the_summary_as_json(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(street(walk, "--json")) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["subjects"] == 3
    assert summary["transitions"] == {"dwell": 1, "enter": 3, "exit": 1}
    assert summary["nothing_sent_because"] == {"no_consent": 1}
    assert summary["sent"] == {"second-cup": 1}
    assert summary["never_asked_for"] == []


def test_expectations_met_and_not(
    walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expect, junit = tmp_path / "expect.jsonl", tmp_path / "junit.xml"
    expect.write_text(
        '{"decision":"send","person":"ana"}\n{"none":{"decision":"send","person":"ben"}}\n'
    )
    assert main(street(walk, "--expect", expect, "--junit", junit)) == 0
    assert capsys.readouterr().out.endswith("2 of 2 expectations met\n")
    suite = ET.parse(junit).getroot()[0]
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "0")

    expect.write_text(
        '{"decision":"send","person":"ben"}\n{"none":{"decision":"send","person":"ana"}}\n'
    )
    assert main(street(walk, "--expect", expect, "--junit", junit, "--json")) == 1
    summary = json.loads(capsys.readouterr().out)
    assert summary["expectations"] == 2
    assert "but decisions.jsonl:" in summary["unmet"][1]
    assert [len(case) for case in ET.parse(junit).getroot()[0]] == [1, 1]


def test_fences_alone_serve(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(walk), "--fences", str(STREET / "fences.geojson")]) == 0
    out = capsys.readouterr().out
    assert "enter 3" in out
    assert "no campaigns were given" in out


def test_standard_input_and_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(FIX.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    expect = tmp_path / "e.jsonl"
    expect.write_text('{"kind":"enter"}\n')
    words = ["replay", "-", "--fences", str(STREET / "fences.geojson")]
    assert main([*words, "--expect", str(expect), "--junit", "-", "--json"]) == 0
    assert b'<testsuite name="simulator replay" tests="1"' in capfdbinary.readouterr().out


def test_several_traces_merge_by_time(tmp_path: Path) -> None:
    lines = [FIX.replace('"s"', f'"{name}"').replace("1777629600", str(1777629600 + at))
             for name, at in (("a", 0), ("b", 1), ("a", 2), ("b", 3))]  # fmt: skip
    for name in ("a", "b"):
        text = "".join(line for line in lines if f'"{name}"' in line)
        (tmp_path / f"{name}.jsonl").write_text(text)
    (tmp_path / "both.jsonl").write_text("".join(lines))
    fences = ["--fences", str(STREET / "fences.geojson"), "--decide", "point"]
    pair = [str(tmp_path / "b.jsonl"), str(tmp_path / "a.jsonl")]
    assert main(["replay", *pair, *fences, "--out", str(tmp_path / "1")]) == 0
    assert (
        main(["replay", str(tmp_path / "both.jsonl"), *fences, "--out", str(tmp_path / "2")]) == 0
    )
    found = [(tmp_path / n / "transitions.jsonl").read_bytes() for n in "12"]
    assert found[0] == found[1]
    assert [json.loads(line)["subject"] for line in found[0].splitlines()] == ["a", "b"]


@pytest.mark.parametrize("until", ["+60", "2026-05-01T10:01:00Z", "1777629660"])
def test_until_lets_the_clock_run_on(
    tmp_path: Path, until: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(FIX.replace("2.3701", "2.3706"))
    words = ["replay", str(file), "--site", str(STREET / "site.toml"), "--until", until]
    assert main(words) == 0
    assert "dwell 1, enter 1" in capsys.readouterr().out


def test_an_until_in_the_past_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(FIX)
    words = ["replay", str(file), "--site", str(STREET / "site.toml"), "--until", "1000"]
    assert main(words) == 0
    assert "2026-05-01T10:00:00.000Z to 2026-05-01T10:00:00.000Z" in capsys.readouterr().out


def test_an_empty_trace_is_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text("")
    assert main([*street(file, "--until", "+60", "--out", tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("0 records of 0 subjects\n")
    assert [(tmp_path / "out" / f"{o}.jsonl").read_bytes() for o in OUTPUTS] == [b"", b"", b""]


def test_a_poisoned_line_is_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "transitions.jsonl").write_text("of an earlier run\n")
    file = tmp_path / "t.jsonl"
    file.write_text(FIX + "\n" + FIX.replace("48.87", "948.87") + FIX)
    assert main(street(file, "--out", out)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert f"{file}, line 3: " in told.err
    assert "lat" in told.err
    assert [path.name for path in out.iterdir()] == ["transitions.jsonl"]
    assert (out / "transitions.jsonl").read_text() == "of an earlier run\n"

    assert main(street(file, "--out", out, "--skip-bad")) == 0
    told = capsys.readouterr()
    assert told.err.startswith(f"left out: {file}, line 3: ")
    assert "         1  bad" in told.out


def test_bad_fences_are_refused_or_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, fences = tmp_path / "t.jsonl", tmp_path / "f.geojson"
    file.write_text(FIX)
    text = json.loads((STREET / "fences.geojson").read_text("utf-8"))
    knot = [[2.37, 48.87], [2.371, 48.871], [2.371, 48.87], [2.37, 48.871], [2.37, 48.87]]
    text["features"][0]["geometry"]["coordinates"] = [knot]
    fences.write_text(json.dumps(text))
    assert main(["replay", str(file), "--fences", str(fences)]) == 2
    refused = capsys.readouterr().err
    assert refused.count("\n") == 1
    assert "cafe" in refused
    assert "cross" in refused
    assert main(["replay", str(file), "--fences", str(fences), "--skip-bad"]) == 0
    told = capsys.readouterr()
    assert "left out: " in told.err
    assert "cafe" in told.err
    assert "enter 1" in told.out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["replay"], "Missing argument 'TRACE...'"),
        (["replay", "{trace}"], "say what is where"),
        (["replay", "nowhere.jsonl", "--site", "{site}"], "nowhere.jsonl: cannot be read: No such"),
        (["replay", "{trace}", "--site", "nowhere.toml"], "nowhere.toml"),
        (["replay", "{trace}", "--fences", "nowhere.geojson"], "nowhere.geojson: cannot be read"),
        (["replay", "{trace}", "--site", "{site}", "--until", "soon"], "--until: 'soon'"),
        (["replay", "{trace}", "--site", "{site}", "--until", "+-1"], "--until: "),
        (["replay", "{trace}", "--site", "{site}", "--until", "+1e99"], "--until: "),
        (["replay", "{trace}", "--site", "{site}", "--late", "-1"], "--late"),
        (["replay", "{trace}", "--site", "{site}", "--late", "nan"], "--late"),
        (["replay", "{trace}", "--site", "{site}", "--late", "inf"], "--late"),
        (["replay", "-", "--fences", "-"], "only one can be standard input: TRACE and --fences"),
        (["replay", "-", "-", "--site", "{site}"], "only one can be standard input"),
        (["replay", "{trace}", "--site", "{site}", "--decide", "x"], "--decide"),
        (["replay", "{trace}", "--site", "{site}", "--people", "{site}"], "site.toml, line 1"),
        (["replay", "{trace}", "--site", "{site}", "--campaigns", "{trace}"], "t.jsonl"),
        (["replay", "{trace}", "--site", "{site}", "--expect", "{trace}"], "t.jsonl:1: no output"),
        (["replay", "{trace}", "--site", "{site}", "--out", "{trace}"], "t.jsonl: "),
        (["replay", "{trace}", "--site", "{site}", "--junit", "/nowhere/x"], "cannot be written"),
        (["replay", "{trace}", "--site", "{site}", "--speed", "3"], "--speed goes with --server"),
        (["replay", "{site}", "--site", "{site}"], "site.toml, line 1: no column"),
        (["replay", "{trace}", "--server", "http://x", "--out", "o"], "--out does not go with"),
        (["replay", "{trace}", "--server", "http://x"], "needs a token"),
        (["draw", "street"], "No such command 'draw'"),
        (["replay", "--nonsense"], "--nonsense"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    words: list[str],
    problem: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PROXIMITY_TOKEN", raising=False)
    file = tmp_path / "t.jsonl"
    file.write_text(FIX)
    named = {"trace": str(file), "site": str(STREET / "site.toml")}
    assert main([word.format(**named) for word in words]) == 2
    told = capsys.readouterr().err
    assert problem in told
    assert all(line.startswith("simulator: ") for line in told.splitlines())
    assert "Traceback" not in told


def test_help_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "replay" in capsys.readouterr().out
    assert main(["replay", "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("--site", "--fences", "--campaigns", "--people", "--decide", "--skip-bad",
                   "--out", "--expect", "--junit", "--until", "--late", "--server", "--speed"):  # fmt: skip
        assert option in out


@pytest.mark.parametrize("option", ["--site", "--campaigns", "--people"])
def test_every_file_may_be_standard_input(
    option: str,
    walk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(STREET)  # what a site on standard input names lies in the current folder
    words = street(walk)
    place = words.index(option) + 1
    content = Path(words[place]).read_bytes()
    words[place] = "-"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert main(words) == 0
    assert "decisions          2   send 1, suppress 1" in capsys.readouterr().out


def test_what_was_put_off_and_then_sent_has_no_reason_left() -> None:
    site = load_site(STREET / "site.toml")
    replay = Replay(Engine(FenceIndex([]), site), lambda _name, _record: None)

    def decided(name: str, verdict: Verdict, reason: str | None) -> None:
        replay._count(
            Decision(
                id=name, decision=verdict, reason=reason, campaign="c", version=1,
                subject="s", person="p", place="x", visit="v", at=1.0,
            )
        )  # fmt: skip

    decided("a", Verdict.DEFER, "quiet_hours")
    decided("b", Verdict.DEFER, "quiet_hours")
    decided("a", Verdict.SEND, None)
    summary = as_json(replay.finish(), {}, 0, None)
    assert summary["nothing_sent_because"] == {"quiet_hours": 1}
    decided("b", Verdict.SEND, None)
    assert as_json(replay.counts, {}, 0, None)["nothing_sent_because"] == {}


def test_a_trace_of_which_nothing_is_taken_has_no_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(FIX)  # of a subject that nobody knows, who has agreed to nothing
    for until in ([], ["--until", "+60"]):
        assert main([*street(file), *until]) == 0
        assert "1970" not in capsys.readouterr().out


def test_consent_counts_from_when_until_when_it_was_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on the server: from its first instant, and no longer than to its end."""
    trace, people = tmp_path / "t.jsonl", tmp_path / "p.jsonl"
    trace.write_text("".join(FIX.replace("1777629600", str(1777629600 + n)) for n in range(6)))
    consents = [
        {"purpose": "service", "from": "2026-05-01T10:00:01Z", "until": "2026-05-01T10:00:03Z"},
        {"purpose": "marketing", "from": 1777629604, "until": None},
    ]
    people.write_text(json.dumps({"person": "p", "subjects": ["s"], "consents": consents}))
    words = ["replay", str(trace), "--fences", str(STREET / "fences.geojson"), "--json"]
    assert main([*words, "--people", str(people)]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"]["unconsented"] == 2  # at 0 s and 3 s
