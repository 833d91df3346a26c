"""What the pages say of a provider's codes is the table of verdicts, row by row.

A page holds a table between ``<!-- verdicts: PROVIDER -->`` and ``<!-- end of verdicts -->``. Where
one has changed, the failure prints the lines that belong there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proximity.channels.verdicts import ROWS

PAGES = sorted((Path(__file__).parents[3] / "docs").glob("*.md"))
TABLE = re.compile(
    r"<!-- verdicts: (?P<provider>[\w-]+) -->\n\n(?P<table>.*?)\n\n<!-- end of verdicts -->",
    re.DOTALL,
)
SAID = {
    "ok": "accepted",
    "retry": "try again",
    "fatal_message": "not this message",
    "dead_endpoint": "**the endpoint is gone**",
    "config_error": "somebody must mend it",
}
WRITTEN = [
    pytest.param(page, found["provider"], found["table"], id=f"{page.stem}-{found['provider']}")
    for page in PAGES
    for found in TABLE.finditer(page.read_text())
]


def written(provider: str) -> str:
    """Write a provider's rows as a page shows them, codes that mean the same in one line."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for row in ROWS:
        if row.provider == provider:
            wait = "" if row.wait_s is None else f" after {row.wait_s:g} s, or as it asks"
            code = "anything else" if row.code == "*" else f"`{row.code}`"
            lines.setdefault((f"{SAID[row.means]}{wait}", row.what, row.source), []).append(code)
    said = [
        f"| {', '.join(codes)} | {verdict} | {what} | {source} |"
        for (verdict, what, source), codes in lines.items()
    ]
    return "\n".join(
        ["| code | verdict | what it says | source |", "| --- | --- | --- | --- |", *said]
    )


@pytest.mark.parametrize(("page", "provider", "table"), WRITTEN)
def test_the_page_says_what_the_table_says(page: Path, provider: str, table: str) -> None:
    expected = written(provider)
    assert table == expected, f"{page.name} should hold:\n{expected}"


def test_the_providers_of_mobile_push_have_their_tables() -> None:
    assert {"fcm", "oauth", "apns"} <= {one.values[1] for one in WRITTEN}
    for page in PAGES:
        begun = page.read_text().count("<!-- verdicts:")
        assert begun == len(TABLE.findall(page.read_text())), f"{page.name}: a table does not end"
