"""The question: what does this site file say, and what must be mended in it.

Reads ``site.toml`` and the beacon list beside it into a ``Site``, or names every problem at once.
What the values mean is ``registry``'s business; whether a place exists, ``Site.check`` tells once
the fences are known.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from proximity.inputs import STANDARD, called, read_text
from proximity.model import ProximityError
from proximity.site.entries import (
    ID_CHECKS,
    SIXTEEN_BITS,
    read_beacon,
    read_gateway,
    read_place,
    rings,
)
from proximity.site.registry import Enrolled, Gateway, Key, Place, Site
from proximity.tomltable import TomlTable, parse_toml
from proximity.windows import load_zone

if TYPE_CHECKING:
    from collections.abc import Iterator

# A site of a thousand shops is under 1 MiB, a million enrolled beacons under 100 MiB: what is
# larger is a mistake or an attack, and is not even parsed.
MAX_SITE_BYTES = 16 * 1024 * 1024
MAX_BEACONS_BYTES = 128 * 1024 * 1024
_MEND = "split the site"
# More problems than a person mends in one go are not listed.
MAX_PROBLEMS = 100
FIRST_INSIDE: dict[str, Literal["enter", "quiet"]] = {"enter": "enter", "quiet": "quiet"}
"""What a subject's first fix of all may be that lies in a place."""


def load_site(path: str | Path) -> Site:
    """Read a site file, and the beacon list that it names; ProximityError lists every problem.

    ``-`` is standard input; what it names then lies in the current folder.
    """
    file = Path(path)
    text, beacons_csv = read_site(file)
    return parse_site(text, called(file), beacons_csv)


def read_site(path: Path) -> tuple[str, str | None]:
    """Read the texts of a site file and of the beacon list that it names (None: names none).

    Raises ProximityError where one cannot be read; what they say is ``parse_site``'s to judge.
    """
    name = called(path)
    text = read_text(path, MAX_SITE_BYTES, _MEND)
    beacons = parse_toml(text, name).get("beacons")
    if not isinstance(beacons, str):
        return text, None
    # Resolved, so that a list called "-" is a file and not standard input.
    beside = path.parent.resolve() / beacons
    listed = f"{name}: beacons: {beside.name}"
    return text, read_text(beside, MAX_BEACONS_BYTES, _MEND, listed)


def fences_beside(path: Path, site: Site) -> Path | None:
    """Find the fence file that a site names: beside its own file; None where it names none."""
    if site.fences is None:
        return None
    beside = path.parent / site.fences
    # A file called "-" stays a file, and is not standard input.
    return beside.resolve() if beside == STANDARD else beside


def parse_site(text: str, name: str, beacons_csv: str | None = None) -> Site:
    """Read the text of a site file called ``name``, and of the beacon list where it names one.

    Raises ProximityError with a line for each problem: the file, the table, the mend.
    """
    top = TomlTable(parse_toml(text, name), name)
    fences, listed = top.file_name("fences"), top.file_name("beacons")
    timezone = top.text("timezone")
    if timezone is not None and load_zone(timezone) is None:
        top.fault(f'timezone {timezone!r:.60} is not known: write one like "Europe/Paris"')
    first_inside = top.text("first_inside") or "enter"
    if first_inside not in FIRST_INSIDE:
        top.fault(f'first_inside {first_inside!r:.60} is not known: write "enter" or "quiet"')
    places: dict[str, Place] = {}
    for table in top.children("place"):
        read_place(table, places)
    gateways: dict[str, Gateway] = {}
    for table in top.children("gateway"):
        read_gateway(table, gateways)
    beacons: dict[Key, Enrolled] = {}
    for table in top.children("beacon"):
        read_beacon(table, beacons)
    if beacons_csv is not None:
        for line, table in read_rows(beacons_csv, listed or "beacons.csv", top.problems):
            read_beacon(table, beacons, line)
    elif listed is not None:
        top.fault(f"beacons names {listed!r:.60}, whose text was not given")
    names: set[str] = set()
    for one in beacons.values():
        if one.name in names:
            where = name if one.line is None else f"{listed}: line {one.line}"
            top.problems.append(
                f"{where}: beacon {one.name!r}: this id is used before; each needs its own"
            )
        names.add(one.name)
    for ring in rings(places):
        top.fault(f"place {ring}: none can be its own parent; leave one parent out")
    top.finish()
    if top.problems:
        more = [f"{name}: and more; mend these first"] if len(top.problems) > MAX_PROBLEMS else []
        raise ProximityError(*top.problems[:MAX_PROBLEMS], *more)
    return Site(
        name=name,
        fences=fences,
        listed=listed,
        timezone=timezone,
        first_inside=FIRST_INSIDE.get(first_inside, "enter"),
        places=places,
        gateways=gateways,
        beacons=tuple(beacons.values()),
    )


def read_rows(text: str, name: str, problems: list[str]) -> Iterator[tuple[int, TomlTable]]:
    """Give each row of a beacon list: its line, and its table; empty cells are left out.

    Faults of the list itself go to ``problems``, and those of the tables that are given.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        for column, count in Counter(columns).items():
            if column and count > 1:  # whose right cell nobody could tell
                problems.append(
                    f"{_line(name, 1)}: column {column!r:.60} is there {count} times: leave one"
                )
        if any(columns) and not _TELLING & set(columns):
            problems.append(
                f"{_line(name, 1)}: has no column that tells a beacon: begin with a line such as "
                "uuid,major,minor,subject"
            )
            return
        for row in reader:
            if len(problems) > MAX_PROBLEMS:
                return
            cells = zip(columns, (cell.strip() for cell in row), strict=False)
            entry = {key: _cell(key, cell) for key, cell in cells if cell}
            table = TomlTable(entry, _line(name, reader.line_num), problems)
            if len(row) > len(columns):
                table.fault(f"has {len(row)} cells, but there are {len(columns)} column names")
            elif entry:
                yield reader.line_num, table
    except csv.Error as error:
        problems.append(f"{_line(name, reader.line_num)}: is not CSV ({error}): save it anew")


def _line(name: str, line: int) -> str:
    """Name a line of a list; one that was sent has no name."""
    return f"{name}: line {line}" if name else f"line {line}"


def _cell(column: str, cell: str) -> Any:
    """Read a cell as TOML would: numbers are whole, and lists have semicolons between."""
    # Nine digits are far beyond 16 bits, and a longer number would take long to read; an epoch
    # has ten.
    if column in _NUMBERS and cell.isascii() and cell.isdigit() and len(cell) <= 10:
        return int(cell)
    if column in _LISTS:
        return [one.strip() for one in cell.split(";") if one.strip()]
    return cell


_NUMBERS = frozenset({*SIXTEEN_BITS, "exponent", "epoch"})
_TELLING = frozenset({*ID_CHECKS, "identity_key", "format"})
_LISTS = frozenset({"gateways", "consents"})
