"""The diagram and the table in docs/presence.md are those of the code.

`python -m tests.proximity.test_presence_docs` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

from proximity.engine.presence import TABLE, Action, State

PAGE = Path(__file__).resolve().parents[2] / "docs" / "presence.md"
BEGIN = "<!-- generated from proximity/engine/presence.py: python -m tests.proximity.test_presence_docs -->\n"
END = "<!-- end -->\n"


def generated() -> str:
    """Draw the table as a state diagram and as rows."""
    arrows: dict[tuple[State, State, Action], list[str]] = {}
    for (state, signal), (after, action) in TABLE.items():
        if action is not Action.NOTHING or state is not after:
            arrows.setdefault((state, after, action), []).append(signal.name)
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> OUTSIDE"]
    for (state, after, action), signals in arrows.items():
        told = "" if action is Action.NOTHING else f" / {action.name.lower()}"
        lines.append(f"    {state.name} --> {after.name}: {', '.join(signals)}{told}")
    lines += ["```", "", "| state | signal | next | does |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {state.name} | {signal.name} | {after.name} | {action.name.lower()} |"
        for (state, signal), (after, action) in TABLE.items()
    ]
    return "\n".join(lines) + "\n"


def renewed(page: str) -> str:
    """Put the generated part into the page."""
    head, rest = page.split(BEGIN)
    return head + BEGIN + generated() + END + rest.split(END)[1]


def test_the_page_shows_the_table() -> None:
    page = PAGE.read_text()
    assert renewed(page) == page


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
