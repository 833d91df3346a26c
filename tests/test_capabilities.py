"""The page of capabilities names a test for each, and each of those is there to be run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "capabilities.md"
# What is promised there, by the numbers of the list that the page begins with.
PROMISED = {
    "1", "2", "3", "4", "7", "13", "17", "20", "21", "23", "25", "26", "28", "29", "30", "31", "33", "34", "36", "37", "39", "40", "41", "44",
    "8", "9", "15", "16", "38", "46", "47", "48", "50", "51", "52", "54", "55", "57", "59", "60", "61", "63", "66", "68",
    "P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9",
    "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9",
    "D10", "D11", "D12", "D13",
}  # fmt: skip
ROW = re.compile(r"^\| *([PD]?\d+) *\|(?P<behaviour>[^|]+)\|(?P<tests>[^|]+)\|$", re.MULTILINE)
MENTIONED = re.compile(r"tests/\w")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)(?:::(\w+))?`")


def defined(path: Path) -> set[tuple[str, ...]]:
    """Names of the functions of a file, and of the methods of its classes."""
    found: set[tuple[str, ...]] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add((node.name,))
        elif isinstance(node, ast.ClassDef):
            found.add((node.name,))
            found |= {
                (node.name, inner.name)
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        elif isinstance(node, ast.Assign):
            found |= {(one.id,) for one in node.targets if isinstance(one, ast.Name)}
    return found


def test_every_capability_names_its_behaviour_and_a_test_that_is_there() -> None:
    rows = {row[1]: row for row in ROW.finditer(PAGE.read_text())}
    assert set(rows) == PROMISED
    missing = []
    for number, row in rows.items():
        tests = NAMED.findall(row["tests"])
        assert tests, f"row {number} names no test"
        assert len(tests) == len(MENTIONED.findall(row["tests"])), (
            f"row {number}: a file is no test"
        )
        assert row["behaviour"].strip()
        for path, first, second in tests:
            name = (first, second) if second else (first,)
            if name not in defined(ROOT / path) or not name[-1].startswith(("test_", "Test")):
                missing.append(f"{number}: {path}::{'::'.join(name)}")
    assert missing == []
