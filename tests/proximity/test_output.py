"""What becomes of an answer that cannot be written: one line and the status of the contract."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WORDS = ("privacy map", "privacy map --help", "--help")


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        line, shell=True, executable="/bin/bash", capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("words", WORDS)
def test_a_reader_that_went_away_is_no_no(words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "proximity", *words.split()],
        stdout=writing, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to write to")
@pytest.mark.parametrize("words", WORDS)
def test_output_that_cannot_be_written_is_one_line(words: str) -> None:
    done = shell(f"{sys.executable} -m proximity {words} > /dev/full")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("proximity: standard output cannot be written (No space left")


def test_a_closed_input_is_an_empty_one(tmp_path: Path) -> None:
    words = f"person import --data {tmp_path} - <&-"
    done = shell(f"{sys.executable} -m proximity {words}")
    assert "fault of the program" not in done.stderr
