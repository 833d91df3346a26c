"""Golden replays: a file of `golden/` is one behaviour, with what must come of it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from simulator.__main__ import main

HERE = Path(__file__).resolve().parent
STREET = HERE.parents[1] / "examples" / "street"
CASES = sorted((HERE / "golden").glob("*.toml"))
OUTPUTS = ("transitions.jsonl", "decisions.jsonl", "deliveries.jsonl")


def written(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def command(case: dict[str, Any], folder: Path) -> list[str]:
    """Lay the case's files out and give the command line that replays it."""
    words = ["replay"]
    for name, text in case["trace"].items():
        (folder / name).write_text(text, "utf-8")
        words.append(str(folder / name))
    for option, name in (
        ("site", "site.toml"),
        ("fences", "fences.geojson"),
        ("campaigns", "campaigns.toml"),
        ("people", "people.jsonl"),
        ("expect", "expect.jsonl"),
    ):
        text = case.get(option)
        if text == "street":
            words += [f"--{option}", str(STREET / name)]
        elif text is not None:
            (folder / name).write_text(text, "utf-8")
            words += [f"--{option}", str(folder / name)]
    return words + case.get("words", [])


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = tomllib.loads(path.read_text("utf-8"))
    words = command(case, tmp_path)
    status = main([*words, "--out", str(tmp_path / "once")])
    told = capsys.readouterr()
    assert status == 0, told.out + told.err
    for line in case.get("says", []):
        assert line in told.out
    kinds = {name: content.count(b"\n") for name, content in written(tmp_path / "once").items()}
    assert kinds == {name: case["lines"][name.removesuffix(".jsonl")] for name in OUTPUTS}

    assert main([*words, "--out", str(tmp_path / "again")]) == 0
    assert written(tmp_path / "once") == written(tmp_path / "again")


def test_there_are_cases() -> None:
    assert len(CASES) >= 8
