"""Scenario files that somebody has spoilt are refused in words, or still say something."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proximity.model import ProximityError
from simulator.make import write
from simulator.scenario import LIBRARY, read_scenario

TEXTS = sorted(
    path.read_text() for path in LIBRARY.glob("*.toml") if "count = 1000" not in path.read_text()
)
HUGE = "0x" + "f" * 5000
VALUES = [
    "-1", "0", "1e400", "nan", '"x"', '""', "[]", "{}", "[[]]", "true", HUGE, "1979-05-27", "07:32:00",
    "[1, 2, 3, 4]", "[1e300, 1e300]", "{ at = [0, 0] }", '["a", 1]', "a.b" + ".c" * 500 + " = 1",
]  # fmt: skip
TABLES = [
    "fence",
    "walker",
    "sky",
    "place",
    "gateway",
    "beacon",
    "crowd",
    "person",
    "wall",
    "campaign",
]


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    lines = draw(st.sampled_from(TEXTS)).split("\n")
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                lines[place] = ""
            case 1:
                lines.insert(place, lines[draw(st.integers(0, len(lines) - 1))])
            case 2:
                lines.insert(place, f"[[{draw(st.sampled_from(TABLES))}]]")
            case _:
                key = re.match(r"\w+", lines[place])
                lines[place] = f"{key[0] if key else 'path'} = {draw(st.sampled_from(VALUES))}"
    return "\n".join(lines)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(spoilt())
def test_a_spoilt_scenario_is_refused_in_words_or_made(text: str) -> None:
    problems: tuple[str, ...] = ("made",)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.toml"
        path.write_text(text)
        try:
            write(read_scenario(path), 1, Path(folder) / "out")
        except ProximityError as error:
            problems = error.problems
    assert problems
    assert all(0 < len(problem) < 1000 for problem in problems)
