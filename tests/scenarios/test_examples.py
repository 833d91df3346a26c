"""The worked examples: each passes its checks, and its walk ends as its expectations say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from proximity.__main__ import main as proximity
from proximity.campaigns.form import parse_campaigns
from proximity.campaigns.lint import Finding, lint
from proximity.model import ProximityError
from simulator.__main__ import main as simulator
from tests.test_docs import PAGES, blocks

if TYPE_CHECKING:
    from tests.test_docs import Block

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
WORKED = ("cafe", "dealership", "insurer", "mall")
CAMPAIGNS = sorted(EXAMPLES.glob("*/campaigns.toml"))
WRITTEN = [
    block
    for page in PAGES
    for block in blocks(page)
    if block.language == "toml" and "[[campaign]]" in block.text and "[[walker]]" not in block.text
]
"""Blocks of the documentation that are campaigns files, or pieces of one; a scenario is another."""
WRONG = {"broken.toml", "all_users.toml"}
"""Those of them that show what is found."""
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


@pytest.mark.parametrize("file", CAMPAIGNS, ids=lambda file: file.parent.name)
def test_an_example_has_no_fault_that_lint_would_find(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "example"
    shutil.copytree(file.parent, folder)
    if "push.pem" in file.read_text():  # as its page says: the key is made before anything runs
        made = CliRunner().invoke(proximity, ["push", "keys", "--out", str(folder / "push.pem")])
        assert made.exit_code == 0, made.output
    words = [str(folder / file.name), "--site", str(folder / "site.toml")]
    told = CliRunner().invoke(proximity, ["campaign", "lint", *words])
    assert told.exit_code == 0, told.output
    preview = CliRunner().invoke(proximity, ["campaign", "preview", *words, "--json"])
    assert preview.exit_code == 0, preview.output
    texts = [json.loads(line)["text"] for line in preview.stdout.splitlines()]
    assert texts
    assert all(texts)


@pytest.mark.parametrize("block", WRITTEN, ids=lambda block: block.at)
def test_what_the_documentation_writes_has_no_fault_that_lint_would_find(block: Block) -> None:
    faults = [one for one in _findings(block) if one.level == "fault"]
    assert bool(faults) is (block.note in WRONG), [one.to_line() for one in faults]


def _findings(block: Block) -> list[Finding]:
    try:
        return lint(parse_campaigns(block.text, block.at))
    except ProximityError as error:
        return [Finding("check", "fault", None, problem) for problem in error.problems]


def test_an_expectation_of_an_example_can_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"decision":"send","person":"cleo"}\n')
    assert replay("cafe", tmp_path, "--expect", str(wrong)) == 1
