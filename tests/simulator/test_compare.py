"""`simulator compare`: what is the same visit, what is the same decision, and what made it differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proximity.model import format_time
from simulator.__main__ import main
from simulator.differences import Comparison, compare_runs
from simulator.outcome import read_run

START = 1_777_629_600.0

Record = dict[str, Any]


def enter(visit: str, at: float, **more: Any) -> Record:
    return moment("enter", visit, at, **more)


def leave(visit: str, at: float, **more: Any) -> Record:
    return moment("exit", visit, at, **{"reason": "left", **more})


def moment(kind: str, visit: str, at: float, **more: Any) -> Record:
    told = format_time(START + at)
    return {
        "kind": kind, "subject": "s", "place": "cafe", "visit": visit, "at": told,
        "decided_at": told, "because": {"rule": "side"}, **more,
    }  # fmt: skip


def corrected(visit: str, enter_at: float | None, exit_at: float | None) -> Record:
    return {
        "kind": "corrected", "visit": visit, "subject": "s", "place": "cafe",
        "enter_at": None if enter_at is None else format_time(START + enter_at),
        "exit_at": None if exit_at is None else format_time(START + exit_at),
        "decided_at": format_time(START + 900.0), "because": {},
    }  # fmt: skip


def decision(name: str, visit: str, verdict: str = "send", **more: Any) -> Record:
    gates = more.pop("gates", {"caps": (True, {"sent": 0})})
    return {
        "id": name, "decision": verdict, "reason": None, "campaign": "coffee", "version": 1,
        "subject": "s", "person": "p", "place": "cafe", "visit": visit, "at": format_time(START),
        "until": None, "variant": None,
        "gates": [
            {"gate": gate, "passed": passed, "because": because}
            for gate, (passed, because) in gates.items()
        ],
        **more,
    }  # fmt: skip


def delivery(key: str, **more: Any) -> Record:
    return {
        "key": key, "channel": "console", "attempt": 1, "outcome": "accepted",
        "at": format_time(START), "campaign": "coffee", "person": "p", "subject": "s",
        "place": "cafe", "reason": None, "next_at": None, "reply": {},
        "handed": {"text": "Coffee!", "language": "en", "link": None}, **more,
    }  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> Any:
    """Write two runs and compare them; each is (transitions, decisions, deliveries)."""

    def compare(first: Any, second: Any, tolerance_s: float = 0.0) -> Comparison:
        for name, files in (("first", first), ("second", second)):
            write(tmp_path / name, *files)
        read = [read_run(tmp_path / name) for name in ("first", "second")]
        return compare_runs(*read, tolerance_s)

    return compare


def write(folder: Path, *files: list[Record]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, lines in zip(("transitions", "decisions", "deliveries"), files, strict=False):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def test_the_same_run_is_alike(runs: Any) -> None:
    run = [enter("v", 0), leave("v", 60)], [decision("d", "v")], [delivery("d")]
    found = runs(run, run)
    assert found.alike
    assert (found.visits.same, found.decisions.same, found.deliveries.same) == (1, 1, 1)


def test_a_visit_that_began_later_is_the_same_visit_told_otherwise(runs: Any) -> None:
    found = runs(
        ([enter("v", 0, because={"rule": "side", "distance_m": -3.0}), leave("v", 60)],),
        ([enter("w", 20, because={"rule": "deep", "distance_m": -3.0}), leave("w", 60)],),
    )
    (row,) = found.visits.differ
    (change,) = row["changes"]
    assert change["what"] == "enter at"
    assert (change["first"], change["second"]) == (format_time(START), format_time(START + 20))
    assert change["because"] == {"rule": ["side", "deep"]}
    assert runs(([enter("v", 0), leave("v", 60)],), ([enter("w", 20), leave("w", 60)],), 20.0).alike


def test_visits_pair_by_the_longest_overlap(runs: Any) -> None:
    """A visit torn in two is one that differs, and one without a pair."""
    found = runs(
        ([enter("v", 0), leave("v", 100)],),
        ([enter("a", 0), leave("a", 20), enter("b", 30), leave("b", 100)],),
    )
    assert [row["visit"] for row in found.visits.differ] == ["v"]
    assert found.visits.differ[0]["changes"][0]["what"] == "enter at"
    (alone,) = found.visits.only_second
    assert alone["visit"] == "a"
    assert alone["instead"].startswith("part of a visit from ")
    assert not found.visits.only_first


def test_visits_of_others_or_other_times_do_not_pair(runs: Any) -> None:
    found = runs(
        ([enter("v", 0), leave("v", 10)],),
        (
            [
                enter("w", 11),
                leave("w", 20),
                enter("x", 0, subject="t"),
                leave("x", 10, subject="t"),
            ],
        ),
    )
    assert len(found.visits.only_first) == 1
    assert [row["visit"] for row in found.visits.only_second] == ["x", "w"]
    assert found.visits.only_first[0]["instead"] == "nothing of this subject in this place then"


def test_a_pass_in_a_visit_s_stead_is_said(runs: Any) -> None:
    passed = moment("pass", "q", 5, because={"exit_at": format_time(START + 15)})
    found = runs(([enter("v", 0), leave("v", 20)],), ([passed],))
    assert found.visits.only_first[0]["instead"] == "a pass"
    assert found.passes.only_second[0]["instead"] == "a visit"


def test_reasons_dwells_and_when_it_was_sure_count(runs: Any) -> None:
    found = runs(
        ([enter("v", 0), moment("dwell", "v", 30, dwell_s=30.0), leave("v", 60)],),
        ([enter("v", 0, decided_at=format_time(START + 9)), leave("v", 60, reason="silent")],),
    )
    changes = {change["what"]: change for change in found.visits.differ[0]["changes"]}
    assert set(changes) == {"enter sure at", "exit reason", "dwell of 30 s"}
    assert changes["dwell of 30 s"]["second"] is None


def test_corrections_are_folded_in(runs: Any) -> None:
    told = [enter("v", 0), leave("v", 60), enter("w", 200), leave("w", 260)]
    found = runs(
        ([*told, corrected("v", 10, 60), corrected("w", None, None)],),
        ([enter("v", 10), leave("v", 60)],),
    )
    (row,) = found.visits.differ  # announced at another time, though it ended as the same visit
    assert [change["what"] for change in row["changes"]] == ["enter sure at"]
    assert not found.visits.only_first
    open_again = runs(
        ([enter("v", 0), leave("v", 60), corrected("v", 0, None)],), ([enter("v", 0)],)
    )
    assert open_again.alike


def test_decisions_of_the_same_visit_pair_though_their_ids_differ(runs: Any) -> None:
    found = runs(
        ([enter("v", 0)], [decision("d", "v", gates={"a": (True, {"n": 1}), "caps": (True, {})})]),
        (
            [enter("w", 9)],
            [
                decision(
                    "e", "w", "suppress", reason="capped",
                    gates={"a": (True, {"n": 2}), "caps": (False, {"sent": 3})},
                )
            ],
        ),
    )  # fmt: skip
    (row,) = found.decisions.differ
    assert (row["first"]["decision"], row["second"]["decision"]) == ("send", "suppress")
    # The gate that answered differently, before one that only saw other numbers.
    assert row["gate"] == {
        "gate": "caps", "first": True, "second": False, "because": {"sent": [None, 3]},
    }  # fmt: skip


def test_a_decision_put_off_differs_from_one_made_at_once(runs: Any) -> None:
    until = format_time(START + 100)
    put_off = decision("d", "v", "defer", reason="quiet_hours", until=until)
    found = runs(
        ([enter("v", 0)], [decision("d", "v")]), ([enter("v", 0)], [put_off, decision("d", "v")])
    )
    assert found.decisions.differ[0]["second"]["put_off_until"] == until


def test_a_decision_without_a_pair_says_why(runs: Any) -> None:
    other = enter("x", 500), decision("y", "x", campaign="tea")
    found = runs(
        (
            [enter("v", 0), leave("v", 60), enter("w", 500)],
            [decision("d", "v"), decision("e", "w")],
        ),
        ([other[0]], [other[1]]),
    )
    assert [row["why"] for row in found.decisions.only_first] == [
        "the other run has no such visit",
        "the other run has the visit and never decided anything for this campaign",
    ]
    assert found.decisions.only_second[0]["campaign"] == "tea"


def test_what_was_handed_over_counts(runs: Any) -> None:
    base = [enter("v", 0)], [decision("d", "v")]
    found = runs(
        (*base, [delivery("d")]),
        (*base, [delivery("d", handed={"text": "Tea!", "language": "en", "link": None})]),
    )
    assert found.deliveries.differ[0]["changes"] == {"text": ["Coffee!", "Tea!"]}
    found = runs((*base, [delivery("d")]), (*base, [delivery("d", channel="webhook")]))
    assert (len(found.deliveries.only_first), len(found.deliveries.only_second)) == (1, 1)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write(tmp_path / "a", [enter("v", 0)], [decision("d", "v")], [])
    second = write(tmp_path / "b", [enter("v", 0)], [], [])
    assert main(["compare", str(first), str(first)]) == 0
    assert "decided the same" in capsys.readouterr().out
    assert main(["compare", str(first), str(second)]) == 1
    out = capsys.readouterr().out
    assert "only in the first: p, coffee, for s in cafe: send" in out
    assert main(["compare", str(first), str(second), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["alike"] is False
    assert len(told["decisions"]["only_first"]) == 1


def test_many_differences_are_shown_in_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [line for n in range(60) for line in (enter(f"v{n}", n * 9), leave(f"v{n}", n * 9 + 5))]
    first, second = write(tmp_path / "a", many), write(tmp_path / "b", [])
    assert main(["compare", str(first), str(second)]) == 1
    out = capsys.readouterr().out
    assert out.count("only in the first: ") == 20
    assert "and 40 more: --json has all of them" in out


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "holds no transitions.jsonl: name a folder"),
        ("{", "transitions.jsonl, line 1: "),
        ('{"kind":"enter"}', "missing required field"),
        ('\n{"kind":"enter","subject":"s","place":"p","visit":"v","at":"noon"}', "line 2: 'noon'"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(
    tmp_path: Path, content: str | None, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "transitions.jsonl").write_text(content)
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert problem in told
    assert told.count("\n") == 1


def test_the_command_alone_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    told = capsys.readouterr().err
    assert "\n  compare " in told
    assert "\n  replay " in told


def test_a_delivery_that_only_one_run_decided_is_its_own(runs: Any) -> None:
    visits = [enter("v", 0), leave("v", 60)]
    found = runs((visits, [decision("d", "v")], [delivery("d")]), (visits, [], []))
    assert (len(found.deliveries.only_first), len(found.deliveries.only_second)) == (1, 0)
    found = runs((visits, [], []), (visits, [decision("d", "v")], [delivery("d")]))
    assert (len(found.deliveries.only_first), len(found.deliveries.only_second)) == (0, 1)
