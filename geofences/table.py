"""Which columns of a CSV table are the coordinates, and what do its rows say?

Points to locate, and circles to import. This file knows rows of text; it makes GeoJSON features
of them and leaves judging those to ``geojson``.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from geofences import properties
from geofences.model import GeofenceError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# How files in the wild spell the columns that matter, in lower case, the likeliest first.
SPELLINGS = {
    "lon": ("lon", "lng", "long", "longitude", "x"),
    "lat": ("lat", "latitude", "y"),
    "id": ("id",),
    "name": ("name",),
    "radius_m": ("radius_m", "radius"),
}

# Rows that are no points, named one by one: a table of millions may have another order of columns.
MOST_NAMED = 20

# A last line of our own: where it is part of a row, that row is not at its end.
END = "\0end of table"


class Point(NamedTuple):
    """A row of a table of points: its id, and longitude and latitude in degrees."""

    id: str
    lon: float
    lat: float


def points(lines: Iterable[str], file: str) -> Iterator[Point]:
    """Read points from CSV lines; where there is no ``id`` column they are numbered from 0.

    At the first row that is none it gives no more, and reads on to name the others, too: raises
    GeofenceError with line and mend of each, up to MOST_NAMED.
    """
    rows = _rows(lines, file)
    columns = _columns(next(rows)[1], file)
    problems: list[Problem] = []
    try:
        for number, (line, row) in enumerate(rows):
            faults, (lon, lat) = _position(row, columns, file, line)
            name = str(number)
            if "id" in columns:
                name = row[columns["id"]] if columns["id"] < len(row) else ""
                faults += _id_faults(name, file, line)
            problems += faults
            if len(problems) > MOST_NAMED:
                del problems[MOST_NAMED:]
                problems.append(_problem(file, "has more of these", line, "mend the first ones"))
                break
            if not problems:
                yield Point(name, lon, lat)
    except GeofenceError as error:
        raise GeofenceError(*problems, *error.problems) from None
    if problems:
        raise GeofenceError(*problems)


def circles(
    lines: Iterable[str], file: str, radius_m: float | None, bad: list[Problem] | None = None
) -> list[dict[str, Any]]:
    """Read a table of circles as GeoJSON features; ``radius_m`` where the table gives none.

    A feature's id is its ``id``, else its ``name`` where all names differ, else its number from
    0. All columns are kept as properties, empty cells left out. Raises GeofenceError that lists
    every bad row, unless ``bad`` takes those: then it gives the others.
    """
    rows = _rows(lines, file)
    header = next(rows)[1]
    columns = _columns(header, file)
    names = [name.strip() for name in header]
    _refuse_twice(names, file)
    features: list[dict[str, Any]] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    for number, (line, row) in enumerate(rows):
        faults, (lon, lat) = _position(row, columns, file, line)
        if faults:
            problems += faults
            continue
        numbers.append(number)
        skipped = {columns["lon"], columns["lat"], columns.get("radius_m")}
        given = {
            name: value(name, cell)
            for column, (name, cell) in enumerate(zip(names, row, strict=False))
            if column not in skipped and cell.strip()
        }
        cell = row[columns["radius_m"]] if columns.get("radius_m", len(row)) < len(row) else ""
        radius = value("radius_m", cell) if cell.strip() else radius_m
        if radius is not None:
            given["radius_m"] = radius
        geometry = {"type": "Point", "coordinates": [lon, lat]}
        features.append({"type": "Feature", "properties": given, "geometry": geometry})
    if problems and bad is None:
        raise GeofenceError(*problems)
    if bad is not None:
        bad += problems
    _name(features, numbers, [names[columns[key]] for key in ("id", "name") if key in columns])
    return features


def _name(features: list[dict[str, Any]], numbers: list[int], columns: list[str]) -> None:
    """Give each feature an id of its own, from the first column that does, else its row number."""
    for column in columns:
        ids = [each["properties"].get(column) for each in features]
        if None not in ids and len(set(map(str, ids))) == len(ids):
            break
    else:
        ids = [str(number) for number in numbers]
    for feature, found in zip(features, ids, strict=True):
        feature["id"] = str(found)


def value(name: str, cell: str) -> Any:
    """Read a cell: what fences give a meaning as such, all else as the text that it is."""
    text = cell.strip()
    if name not in properties.PROPERTIES or name in {"name", "venue"}:
        return text
    try:
        return json.loads(text.lower() if name in {"exclude", "on_foot"} else text)
    except (ValueError, RecursionError):
        return [tag.strip() for tag in text.split(";")] if name == "tags" else text


def _rows(lines: Iterable[str], file: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line numbers and rows that are not blank; the header first."""
    reader = csv.reader(chain(lines, (END,)), skipinitialspace=True)
    empty, line = True, 0
    try:
        for row in reader:  # pragma: no branch - it ends at a line of our own
            if row and row[-1].endswith(END):
                if row[-1] != END:  # it has taken all that follows into its last cell
                    raise _error(file, "has a quote that is never closed", line + 1, "close it")
                break
            line = reader.line_num
            if any(cell.strip() for cell in row):
                empty = False
                yield line, row
    except csv.Error as error:
        raise _error(file, f"is not CSV ({error})", line + 1, "mend it from there") from None
    except UnicodeDecodeError as error:
        # Text is decoded ahead of the lines: the bad byte lies some lines on in what was read.
        ahead = len((error.object[: error.start] + b".").splitlines())
        line = reader.line_num + ahead
        raise _error(file, "is not UTF-8 text", line, "save it as UTF-8") from None
    if empty:
        raise _error(file, "has no header", 1, "begin with a line such as lon,lat,radius_m")


def _columns(header: list[str], file: str) -> dict[str, int]:
    """Find the columns that matter by their usual spellings, in any case."""
    cells = [cell.strip().lstrip("\ufeff").lower() for cell in header]
    found = {
        key: next(cells.index(spelling) for spelling in spellings if spelling in cells)
        for key, spellings in SPELLINGS.items()
        if any(spelling in cells for spelling in spellings)
    }
    if len(header) == 1 and (apart := next((c for c in ";\t|" if c in header[0]), None)):
        what = f"has its columns apart by {apart!r}"
        raise _error(file, what, 1, "write commas between them, and points in numbers")
    for key in ("lon", "lat"):
        if key not in found:
            spelt = ", ".join(SPELLINGS[key])
            raise _error(file, f"has no column {key}", 1, f"name one of its columns {spelt}")
    _refuse_twice([header[number].strip() for number in found.values()], file, header)
    return found


def _position(
    row: list[str], columns: dict[str, int], file: str, line: int
) -> tuple[list[Problem], tuple[float, float]]:
    """Return what is wrong with longitude and latitude of a row, and both."""
    problems, found = [], []
    for key, most in (("lon", 180.0), ("lat", 90.0)):
        cell = row[columns[key]] if columns[key] < len(row) else ""
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not abs(number) <= most:
            mend = f"write degrees within ±{most:g}"
            problems.append(_problem(file, f"has {key} {cell[:40]!r}", line, mend))
        found.append(number)
    return problems, (found[0], found[1])


def _id_faults(name: str, file: str, line: int) -> list[Problem]:
    """Return what is wrong with the id of a row."""
    if not name.strip() or len(name) > properties.MAX_ID:
        mend = f"write 1 to {properties.MAX_ID} characters, or leave the column out"
    elif not name.isprintable() and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name):
        mend = "take out the control characters"
    else:
        return []
    return [_problem(file, f"has id {name[:40]!r}", line, mend)]


def _refuse_twice(names: list[str], file: str, header: list[str] | None = None) -> None:
    """Refuse a name that two columns have (of ``header``, else all): which is meant is a guess."""
    cells = Counter(names if header is None else (cell.strip() for cell in header))
    for name in names:
        if name and cells[name] > 1:
            raise _error(file, f"has two columns {name[:40]!r}", 1, "keep the one that is meant")


def _problem(file: str, what: str, line: int, mend: str) -> Problem:
    return Problem(file, None, what, f"line {line}", mend)


def _error(file: str, what: str, line: int, mend: str) -> GeofenceError:
    return GeofenceError(_problem(file, what, line, mend))
