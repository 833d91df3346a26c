"""What is wrong with traces is told at once, and what is said of a file names it."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from proximity.model import ProximityError, Record
from simulator.sources import MOST_SAID, read_small, records_of

if TYPE_CHECKING:
    from pathlib import Path

FIX = '{"type":"fix","subject":"s","at":%s,"lon":2.0,"lat":48.0}\n'
BAD = '{"type":"fix","subject":"s","at":1777629600,"lon":2.0,"lat":948.0}\n'


def taken(*paths: Path) -> tuple[list[Record], tuple[str, ...]]:
    """Read traces to their end; what came, and what was wrong."""
    found: list[Record] = []
    with ExitStack() as stack:
        try:
            found.extend(records_of(paths, stack, lambda _: None, Counter(), skip_bad=False))
        except ProximityError as error:
            return found, error.problems
    return found, ()


def test_every_bad_record_is_named_and_none_after_the_first_is_given(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(FIX % 1 + BAD + FIX % 2 + "{\n" + FIX % 3, "utf-8")
    found, problems = taken(path)
    assert [record.at for record in found] == [1.0]
    assert [problem.split(":")[0] for problem in problems] == [f"{path}, line 2", f"{path}, line 4"]


def test_the_bad_records_of_all_traces_are_named(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.csv"
    first.write_text(FIX % 1 + BAD, "utf-8")
    second.write_text("time,lon,lat\n2,2,48\n3,200,48\n", "utf-8")
    problems = taken(first, second)[1]
    assert [problem.split(":")[0] for problem in problems] == [
        f"{first}, line 2",
        f"{second}, line 3",
    ]


def test_of_many_bad_records_the_first_are_named(tmp_path: Path) -> None:
    path, other = tmp_path / "t.jsonl", tmp_path / "u.jsonl"
    path.write_text(BAD * 10_000, "utf-8")
    other.write_text(FIX % 1, "utf-8")
    for paths in ((path,), (path, other)):
        problems = taken(*paths)[1]
        assert len(problems) == MOST_SAID + 1
        assert problems[MOST_SAID - 1].startswith(f"{path}, line {MOST_SAID}: ")
        assert "--skip-bad" in problems[-1]


def test_bad_records_are_named_beside_what_ends_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes((BAD + "{").encode() + b"x" * 17_000_000)
    problems = taken(path)[1]
    assert len(problems) == 2
    assert "line 1: " in problems[0]
    assert "the line is longer than" in problems[1]


def test_every_trace_that_is_not_there_is_named(tmp_path: Path) -> None:
    problems = taken(tmp_path / "a", tmp_path / "b", tmp_path)[1]
    assert len(problems) == 3
    assert all("cannot be read" in problem and "check the name" in problem for problem in problems)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "expect.jsonl"
    path.write_text('{"kind":"enter"}\n', "utf-8-sig")
    assert read_small(path) == b'{"kind":"enter"}\n'


def test_what_cannot_be_read_has_its_name(tmp_path: Path) -> None:
    with pytest.raises(ProximityError, match=r"none: cannot be read: No such file.*: check"):
        read_small(tmp_path / "none")
