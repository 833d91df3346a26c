"""``simulator score``: its JSON, its set-aside, and what it says of broken files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proximity.model import format_time
from simulator.__main__ import main

SITE = """
[[place]]
id = "till"
[[gateway]]
id = "gw"
place = "till"
[[beacon]]
uuid = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
subject = "tag"
"""


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def true(kind: str, at: float, subject: str = "s", **more: object) -> dict[str, Any]:
    return {"kind": kind, "subject": subject, "place": "p", "visit": "v", "at": at, **more}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A run that enters 20 s late, leaves on time and comes back once too often."""
    truth = lines(tmp_path / "truth.jsonl", true("enter", 1000), true("exit", 4600))
    run = lines(
        tmp_path / "transitions.jsonl",
        true("enter", 1010, decided_at=1020, because={"rule": "side"}),
        true("exit", 4600, decided_at=format_time(4660.0), reason="left"),
        true("enter", 4650, visit="w", decided_at=4650),
    )
    return run, truth


def scored(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    assert main(["score", *map(str, words)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_contract_s_keys(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = scored(capsys, *files)
    assert (found["true"], found["found"], found["matched"], found["false"]) == (2, 3, 2, 1)
    assert found["precision"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["recall"] == 1.0
    assert found["f1"] == 0.8
    assert found["delay_p50_s"] == 40.0
    assert found["delay_p95_s"] == 58.0
    # From the first change to the last: an hour and 50 seconds.
    assert found["false_per_hour"] == pytest.approx(3600 / 3650, abs=1e-6)
    assert found["flaps_per_visit"] == 1.0
    assert found["by_kind"]["enter"]["found"] == 2
    assert found["by_place"]["p"]["f1"] == 0.8
    assert found["set_aside"] == {"true": 0, "found": 0, "because": {}}


def test_json_is_the_same_on_one_line(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = scored(capsys, *files)
    assert main(["score", "--json", *map(str, files)]) == 0
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert json.loads(text) == whole


def test_tolerance(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert scored(capsys, *files, "--tolerance", "5")["matched"] == 1
    assert scored(capsys, *files, "--within", "30")["matched"] == 1


def test_nothing_at_all_divides_by_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = lines(tmp_path / "empty.jsonl")
    found = scored(capsys, empty, empty)
    for key in ("precision", "recall", "f1", "delay_p50_s", "false_per_hour", "flaps_per_visit"):
        assert found[key] is None
    missed = scored(capsys, empty, lines(tmp_path / "truth.jsonl", true("enter", 1000)))
    assert (missed["precision"], missed["recall"], missed["f1"]) == (None, 0.0, 0.0)


def test_a_trace_says_what_could_be_seen(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, truth = files
    fixes = [
        {"type": "fix", "subject": "s", "at": at, "lon": 2.0, "lat": 48.0}
        for at in [*range(500, 4500, 10), *range(4700, 5000, 10)]
    ]
    found = scored(capsys, run, truth, "--trace", lines(tmp_path / "trace.jsonl", *fixes))
    assert found["set_aside"] == {"true": 1, "found": 1, "because": {"gap": 1}}
    assert found["true"] == 1
    assert found["hours"] == pytest.approx((4990 - 500) / 3600, abs=1e-6)


def test_a_site_says_who_carries_a_beacon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beacon = {"format": "ibeacon", "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e"}
    heard = [
        {"type": "sighting", "beacon": beacon, "at": at, "rssi_dbm": -60, "gateway": "gw"}
        for at in range(1000, 2000, 5)
    ]
    trace = lines(tmp_path / "trace.jsonl", *heard)
    (tmp_path / "site.toml").write_text(SITE, "utf-8")
    truth = lines(tmp_path / "truth.jsonl", true("enter", 1500, "tag"), true("exit", 1520, "tag"))
    words = [truth, truth, "--trace", trace]
    assert scored(capsys, *words)["true"] == 2
    found = scored(capsys, *words, "--site", tmp_path / "site.toml")
    assert found["true"] == 0
    assert found["set_aside"]["because"] == {"short visit": 2}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "t.jsonl:2: no JSON"),
        ("[]", "t.jsonl:2: Expected `object`"),
        ('{"kind":"arrive","subject":"s","place":"p","at":1}', "Invalid enum value 'arrive'"),
        ('{"kind":"enter","subject":"s","at":1}', "missing required field `place`"),
        ('{"kind":"enter","subject":"s","place":"p"}', "t.jsonl:2: enter lacks at"),
        ('{"kind":"enter","subject":"s","place":"p","at":"noon"}', "at: 'noon' is no RFC 3339"),
        ('{"kind":"enter","subject":"s","place":"p","at":-1}', "outside the years 1970 to 9999"),
        ('{"kind":"exit","subject":7,"place":"p","at":1}', "Expected `str`, got `int`"),
        ('{"kind":"corrected","subject":"s","place":"p","visit":"v"}', "lacks visit or decided_at"),
        (
            '{"kind":"corrected","subject":"s","place":"p","visit":"v","decided_at":9,"exit_at":5}',
            "name both, or neither",
        ),
        ('{"kind":"dwell","subject":"s","place":"p","at":1,"dwell_s":-4}', "no number of seconds"),
        ('{"because":' + "[" * 100_000, "t.jsonl:2: no JSON"),
        ("\udcff", "t.jsonl:2: no JSON"),
        ("x" * 1_100_000, "t.jsonl:2: over 1048576 bytes"),
    ],
)
def test_bad_lines_are_named_with_their_mend(
    line: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = json.dumps(true("enter", 1000))
    bad = tmp_path / "t.jsonl"
    bad.write_bytes(f"{good}\n{line}\n".encode("utf-8", "surrogateescape"))
    fine = lines(tmp_path / "fine.jsonl", true("enter", 1000))
    for words in ([bad, fine], [fine, bad]):
        assert main(["score", *map(str, words)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert says in err
        assert err.count("\n") == 1
        assert "Traceback" not in err


def test_of_many_bad_lines_the_first_are_named_and_the_rest_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "t.jsonl"
    bad.write_text("{\n" * 1000, "utf-8")
    assert main(["score", str(bad), str(bad)]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 21
    assert "980 more such lines" in err[-1]


def test_files_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fine = lines(tmp_path / "fine.jsonl", true("enter", 1000))
    assert main(["score", str(fine), str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl: cannot be read" in capsys.readouterr().err
    assert main(["score", "-", "-"]) == 2
    assert "only one file can be standard input" in capsys.readouterr().err
    assert main(["score", str(fine), str(fine), "--site", "site.toml"]) == 2
    assert "--site goes with --trace" in capsys.readouterr().err
    assert main(["score", str(fine), str(fine), "--tolerance", "nan"]) == 2
