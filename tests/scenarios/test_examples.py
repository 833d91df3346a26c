"""The worked examples: each passes its checks, and its walk ends as its expectations say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from proximity.__main__ import main as proximity
from simulator.__main__ import main as simulator

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
WORKED = ("cafe", "dealership", "insurer", "mall")
UNTIL = "+86400"


def replay(name: str, out: Path, *words: str) -> int:
    folder = EXAMPLES / name
    told = ["replay", str(folder / "trace.jsonl"), "--until", UNTIL, "--out", str(out)]
    for option in ("site.toml", "campaigns.toml", "people.jsonl", "expect.jsonl"):
        told += [f"--{option.partition('.')[0]}", str(folder / option)]
    return simulator([*told, *words])


@pytest.mark.parametrize("name", WORKED)
def test_an_example_ends_as_it_says(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = replay(name, tmp_path)
    told = capsys.readouterr()
    assert status == 0, told.out + told.err
    assert json.loads((tmp_path / "deliveries.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize("name", WORKED)
def test_an_example_replayed_again_is_the_same_to_the_byte(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in ("one", "two"):
        assert replay(name, tmp_path / run) == 0
    for file in ("transitions", "decisions", "deliveries"):
        one, two = ((tmp_path / run / f"{file}.jsonl").read_bytes() for run in ("one", "two"))
        assert one == two


@pytest.mark.parametrize("name", WORKED)
def test_an_example_has_no_fault_that_lint_would_find(name: str) -> None:
    folder = EXAMPLES / name
    words = [
        "campaign",
        "lint",
        str(folder / "campaigns.toml"),
        "--site",
        str(folder / "site.toml"),
    ]
    told = CliRunner().invoke(proximity, words)
    assert told.exit_code == 0, told.output
    preview = CliRunner().invoke(
        proximity, ["campaign", "preview", words[2], "--site", words[4], "--json"]
    )
    assert preview.exit_code == 0, preview.output
    texts = [json.loads(line)["text"] for line in preview.stdout.splitlines()]
    assert texts
    assert all(texts)


def test_an_expectation_of_an_example_can_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"decision":"send","person":"cleo"}\n')
    assert replay("cafe", tmp_path, "--expect", str(wrong)) == 1
