"""What `geofences check` says of two public sets of faulty GeoJSON, as a page of the docs.

Run ``python -m tests.geofences.verdicts DATA`` to write ``docs/fence-verdicts.md`` anew; a test
compares the page with a run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from geofences import GeofenceError, geojson

PAGE = Path(__file__).resolve().parents[2] / "docs" / "fence-verdicts.md"
SETS = ("geojson-invalid-and-problematic", "turf-fixtures")

HEAD = """\
# Verdicts on faulty GeoJSON

What `geofences check` says of two public sets of small GeoJSON files, each of which shows one
fault, one oddity or nothing wrong. *Refused* means that the file holds a fault (exit status 1);
*accepted* that it holds none, perhaps with advice. The page is generated:
`python -m tests.geofences.verdicts DATA`, and a test compares it with a run.

Where a verdict differs from what the file's folder suggests:

- Points and lines are refused without `radius_m`, however valid: a fence is an area.
- A feature without a geometry is refused: a fence is a place.
- Winding is no fault, positions may have more than three numbers, a collection may hold
  collections, an outline across ±180° may be drawn unsplit, and a file may hold no features.
"""


def verdict(path: Path, name: str) -> tuple[str, str]:
    """Return the verdict on a file and the reasons for it."""
    try:
        problems = geojson.loads(path.read_bytes(), name).problems
    except GeofenceError as error:
        problems = error.problems
    faults = [problem for problem in problems if not problem.advice]
    lines = [str(problem).removeprefix(f"{name}: ") for problem in faults or problems]
    return "refused" if faults else "accepted", "<br>".join(lines)


def page(data: Path) -> str:
    """Return the whole page, from the sets below ``data``."""
    out = [HEAD]
    for each in SETS:
        files = sorted((data / each).rglob("*json"))
        rows = []
        for path in files:
            name = path.relative_to(data / each).as_posix()
            said, why = verdict(path, path.name)
            rows.append((name, said, why.replace("|", "\\|")))
        refused = sum(said == "refused" for _, said, _ in rows)
        out.append(f"\n## {each}\n\n{len(rows)} files, {refused} refused.\n\n")
        out.append("| file | verdict | reason |\n| --- | --- | --- |\n")
        out += [f"| `{name}` | {said} | {why} |\n" for name, said, why in rows]
    return "".join(out)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(Path(sys.argv[1])), encoding="utf-8")
