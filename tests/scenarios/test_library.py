"""Every scenario of the library, made with its own seed, through the real engine: as it expects."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.__main__ import main
from simulator.make import write
from simulator.scenario import find, names, read_scenario

SURE = [name for name in names() if read_scenario(find(name)).expect is not None]


@pytest.mark.parametrize("name", SURE)
def test_library(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = read_scenario(find(name))
    write(scenario, scenario.seed, tmp_path)
    words = ["replay", str(tmp_path / "trace.jsonl"), "--site", str(tmp_path / "site.toml")]
    words += ["--people", str(tmp_path / "people.jsonl")]
    if scenario.campaigns_toml is not None:
        words += ["--campaigns", str(tmp_path / "campaigns.toml")]
    words += [*scenario.words, "--expect", str(tmp_path / "expect.jsonl")]
    status = main(words)
    told = capsys.readouterr()
    assert status == 0, told.out + told.err


def test_most_of_the_library_is_sure_of_what_must_come() -> None:
    assert len(SURE) >= 20
