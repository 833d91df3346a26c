"""Which columns of a CSV table are the coordinates, and what do its rows say?

Points to locate, and circles to import. This file knows rows of text; it makes GeoJSON features
of them and leaves judging those to ``geojson``.
"""

from __future__ import annotations

import csv
import json
import math
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


class Point(NamedTuple):
    """A row of a table of points: its id, and longitude and latitude in degrees."""

    id: str
    lon: float
    lat: float


def points(lines: Iterable[str], file: str) -> Iterator[Point]:
    """Read points from CSV lines; where there is no ``id`` column they are numbered from 0.

    Raises GeofenceError that names the line and the mend at the first row that is none.
    """
    rows = _rows(lines, file)
    columns = _columns(next(rows)[1], file)
    for number, (line, row) in enumerate(rows):
        lon, lat = _position(row, columns, file, line)
        yield Point(
            _id(row, columns["id"], file, line) if "id" in columns else str(number), lon, lat
        )


def circles(lines: Iterable[str], file: str, radius_m: float | None) -> list[dict[str, Any]]:
    """Read a table of circles as GeoJSON features; ``radius_m`` where the table gives none.

    A feature's id is its ``id``, else its ``name`` where all names differ, else its number from
    0. All columns are kept as properties, empty cells left out. Raises GeofenceError that lists
    every bad row.
    """
    rows = _rows(lines, file)
    header = next(rows)[1]
    columns = _columns(header, file)
    names = [name.strip() for name in header]
    features: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for line, row in rows:
        try:
            lon, lat = _position(row, columns, file, line)
        except GeofenceError as error:
            problems += error.problems
            continue
        skipped = {columns["lon"], columns["lat"], columns.get("radius_m")}
        given = {
            name: value(name, cell)
            for number, (name, cell) in enumerate(zip(names, row, strict=False))
            if number not in skipped and cell.strip()
        }
        cell = row[columns["radius_m"]] if columns.get("radius_m", len(row)) < len(row) else ""
        radius = value("radius_m", cell) if cell.strip() else radius_m
        if radius is not None:
            given["radius_m"] = radius
        geometry = {"type": "Point", "coordinates": [lon, lat]}
        features.append({"type": "Feature", "properties": given, "geometry": geometry})
    if problems:
        raise GeofenceError(*problems)
    _name(features, [names[columns[key]] for key in ("id", "name") if key in columns])
    return features


def _name(features: list[dict[str, Any]], columns: list[str]) -> None:
    """Give each feature an id of its own, from the first column that does, else its number."""
    for column in columns:
        ids = [each["properties"].get(column) for each in features]
        if None not in ids and len(set(map(str, ids))) == len(ids):
            break
    else:
        ids = [str(number) for number in range(len(features))]
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
    reader = csv.reader(lines, skipinitialspace=True)
    empty = True
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                empty = False
                yield reader.line_num, row
    except csv.Error as error:
        raise _error(file, f"is not CSV ({error})", reader.line_num, "mend the line") from None
    except UnicodeDecodeError:
        raise _error(file, "is not UTF-8 text", reader.line_num + 1, "save it so") from None
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
    for key in ("lon", "lat"):
        if key not in found:
            spelt = ", ".join(SPELLINGS[key])
            raise _error(file, f"has no column {key}", 1, f"name one of its columns {spelt}")
    return found


def _position(row: list[str], columns: dict[str, int], file: str, line: int) -> tuple[float, float]:
    """Return longitude and latitude of a row, or raise GeofenceError with the line."""
    found = []
    for key, most in (("lon", 180.0), ("lat", 90.0)):
        cell = row[columns[key]] if columns[key] < len(row) else ""
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not abs(number) <= most:
            mend = f"write degrees within ±{most:g}"
            raise _error(file, f"has {key} {cell[:40]!r}", line, mend)
        found.append(number)
    return found[0], found[1]


def _id(row: list[str], column: int, file: str, line: int) -> str:
    """Return the id of a row, or raise GeofenceError with the line."""
    name = row[column] if column < len(row) else ""
    if not name.strip() or len(name) > properties.MAX_ID:
        mend = f"write 1 to {properties.MAX_ID} characters, or leave the column out"
        raise _error(file, f"has id {name[:40]!r}", line, mend)
    return name


def _error(file: str, what: str, line: int, mend: str) -> GeofenceError:
    return GeofenceError(Problem(file, None, what, f"line {line}", mend))
