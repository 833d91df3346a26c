"""The question: what does this site file say, and what must be mended in it.

Reads ``site.toml`` and the beacon list beside it into a ``Site``, or names every problem at once.
What the values mean is ``registry``'s business; whether a place exists, ``Site.check`` tells once
the fences are known.
"""

from __future__ import annotations

import csv
import io
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from beacon_gateway.adverts import format_uuid
from proximity.inputs import STANDARD, called, open_input
from proximity.model import ProximityError
from proximity.registry import ID_FIELDS, Enrolled, Gateway, Key, Place, Site, spell
from proximity.tomltable import TomlTable
from proximity.windows import load_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# A site of a thousand shops is under 1 MiB, a million enrolled beacons under 100 MiB: what is
# larger is a mistake or an attack, and is not even parsed.
MAX_SITE_BYTES = 16 * 1024 * 1024
MAX_BEACONS_BYTES = 128 * 1024 * 1024
# More problems than a person mends in one go are not listed.
MAX_PROBLEMS = 100
FIRST_INSIDE: dict[str, Literal["enter", "quiet"]] = {"enter": "enter", "quiet": "quiet"}
"""What a subject's first fix of all may be that lies in a place."""
# Longer than this nobody waits for a beacon: a slip of the pen, 30 days in seconds.
MAX_SECONDS = 30 * 86400.0
MAX_DWELLS = 16
# More than this is another antenna or another tag, not a difference of receivers, dB.
MAX_OFFSET_DB = 60.0


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
    text = _read(path, name, MAX_SITE_BYTES)
    beacons = _parse_toml(text, name).get("beacons")
    if not isinstance(beacons, str):
        return text, None
    # Resolved, so that a list called "-" is a file and not standard input.
    beside = path.parent.resolve() / beacons
    return text, _read(beside, f"{name}: beacons: {beside.name}", MAX_BEACONS_BYTES)


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
    top = TomlTable(_parse_toml(text, name), name)
    fences, listed = top.text("fences"), top.text("beacons")
    timezone = top.text("timezone")
    if timezone is not None and load_zone(timezone) is None:
        top.fault(f'timezone {timezone!r:.60} is not known: write one like "Europe/Paris"')
    first_inside = top.text("first_inside") or "enter"
    if first_inside not in FIRST_INSIDE:
        top.fault(f'first_inside {first_inside!r:.60} is not known: write "enter" or "quiet"')
    places: dict[str, Place] = {}
    for table in top.children("place"):
        _place(table, places)
    gateways: dict[str, Gateway] = {}
    for table in top.children("gateway"):
        _gateway(table, gateways)
    beacons: dict[Key, Enrolled] = {}
    for table in top.children("beacon"):
        _beacon(table, beacons)
    if beacons_csv is not None:
        for table in _rows(beacons_csv, listed or "beacons.csv", top.problems):
            _beacon(table, beacons)
    elif listed is not None:
        top.fault(f"beacons names {listed!r:.60}, whose text was not given")
    for ring in _rings(places):
        top.fault(f"place {ring}: none can be its own parent; leave one parent out")
    top.finish()
    if top.problems:
        more = [f"{name}: and more; mend these first"] if len(top.problems) > MAX_PROBLEMS else []
        raise ProximityError(*top.problems[:MAX_PROBLEMS], *more)
    return Site(
        name=name,
        fences=fences,
        timezone=timezone,
        first_inside=FIRST_INSIDE.get(first_inside, "enter"),
        places=places,
        gateways=gateways,
        beacons=tuple(beacons.values()),
    )


def _read(path: Path, name: str, most: int) -> str:
    try:
        with open_input(path) as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ProximityError(
            f"{name}: cannot be read ({reason}): check the name and the rights"
        ) from None
    if len(content) > most:
        raise ProximityError(f"{name}: is larger than {most} bytes: split the site")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ProximityError(f"{name}: line {line} is not UTF-8: save the file as UTF-8") from None


def _parse_toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ProximityError(f"{name}: is nested too deeply: a site has tables of values") from None
    except ValueError as error:
        raise ProximityError(f"{name}: is not TOML: {error}") from None


def _rows(text: str, name: str, problems: list[str]) -> Iterator[TomlTable]:
    """Give each row of a beacon list as the table that it stands for; empty cells are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        for row in reader:
            if len(problems) > MAX_PROBLEMS:
                return
            cells = zip(columns, (cell.strip() for cell in row), strict=False)
            entry = {key: _cell(key, cell) for key, cell in cells if cell}
            table = TomlTable(entry, f"{name}: line {reader.line_num}", problems)
            if len(row) > len(columns):
                table.fault(f"has {len(row)} cells, but there are {len(columns)} column names")
            elif entry:
                yield table
    except csv.Error as error:
        problems.append(f"{name}: line {reader.line_num}: is not CSV ({error}): save it anew")


def _cell(column: str, cell: str) -> str | int:
    """Read a cell as TOML would: the columns of 16-bit ids hold whole numbers."""
    # Nine digits are far beyond 16 bits, and a longer number would take long to read.
    if column in SIXTEEN_BITS and cell.isascii() and cell.isdigit() and len(cell) < 10:
        return int(cell)
    return cell


def _place(table: TomlTable, places: dict[str, Place]) -> None:
    name = _own_id(table, places)
    place = Place(
        id=name,
        parent=table.identity("parent"),
        exit_after_s=_number(table, "exit_after_s", 0.001, MAX_SECONDS),
        near_dbm=_number(table, "near_dbm", -120.0, 0.0),
        dwell_s=_dwell(table),
    )
    table.finish()
    places[name] = place


def _gateway(table: TomlTable, gateways: dict[str, Gateway]) -> None:
    name = _own_id(table, gateways)
    gateway = Gateway(
        id=name,
        place=_needed(table, "place"),
        offset_db=_number(table, "offset_db", -MAX_OFFSET_DB, MAX_OFFSET_DB) or 0.0,
        lon=_number(table, "lon", -180.0, 180.0),
        lat=_number(table, "lat", -90.0, 90.0),
        x_m=_number(table, "x_m", -1e6, 1e6),
        y_m=_number(table, "y_m", -1e6, 1e6),
        floor=_number(table, "floor", -1e3, 1e3),
    )
    table.finish()
    gateways[name] = gateway


def _beacon(table: TomlTable, beacons: dict[Key, Enrolled]) -> None:
    """Enrol a beacon by the ids of its format; it is either carried or fixed."""
    form = table.choice("format", ID_FIELDS) if table.has("format") else "ibeacon"
    if form is None:
        return  # which ids it wants is not known
    first, *others = ID_FIELDS[form]
    if not table.has(first):
        table.fault(f'lacks {first}: add {first} = "…", which {form} needs')
    key = (form, *(ID_CHECKS[name](table, name) for name in (first, *others)))
    subject, place = table.identity("subject"), table.identity("place")
    if table.has("subject") == table.has("place"):
        table.fault("needs either subject (who carries it) or place (where it is fixed)")
    if key in beacons:
        table.fault(f"{spell(key)} is enrolled before; each beacon once")
    table.finish()
    beacons[key] = Enrolled(key=key, subject=subject, place=place)


def _rings(places: Mapping[str, Place]) -> Iterator[str]:
    """Tell of places that are, over their parents, their own parent; once for each ring."""
    settled: set[str] = set()
    for start in places:
        path: dict[str, None] = {}
        step: str | None = start
        while step is not None and step in places and step not in settled and step not in path:
            path[step] = None
            step = places[step].parent
        if step is not None and step in path:
            along = list(path)
            yield " in ".join(repr(place) for place in [*along[along.index(step) :], step])
        settled.update(path)


def _own_id(table: TomlTable, known: Mapping[str, object]) -> str:
    name = _needed(table, "id")
    if name and name in known:
        table.fault("this id is used before; each needs its own")
    return name


def _needed(table: TomlTable, key: str) -> str:
    if not table.has(key):
        table.fault(f'lacks {key}: add {key} = "…"')
    return table.identity(key) or ""


def _number(table: TomlTable, key: str, least: float, most: float) -> float | None:
    return table.number(key, 0.0, least=least, most=most) if table.has(key) else None


def _dwell(table: TomlTable) -> tuple[float, ...]:
    """Read a number of seconds, or a list of them."""
    if not table.has("dwell_s"):
        return ()
    value = table.table["dwell_s"]
    many = value if isinstance(value, list) else [value]
    if len(many) > MAX_DWELLS:
        table.fault(f"dwell_s has {len(many)} entries; write at most {MAX_DWELLS}")
        return ()
    each = (TomlTable({"dwell_s": one}, table.where, table.problems) for one in many)
    return tuple(
        sorted({one.number("dwell_s", 1.0, least=0.001, most=MAX_SECONDS) for one in each})
    )


def _sixteen_bits(table: TomlTable, key: str) -> int | None:
    return table.whole(key, 0, least=0, most=0xFFFF) if table.has(key) else None


def _uuid(table: TomlTable, key: str) -> str | None:
    """Read a UUID in either case, with or without dashes, as beacons are decoded."""
    value = table.text(key)
    digits = None if value is None else value.replace("-", "")
    if digits is None or not _is_hex(digits, 16):
        if value is not None:
            table.fault(f"{key} must be a UUID such as f7826da6-4fa2-4e98-8024-bc5b71e0893e")
        return None
    return format_uuid(bytes.fromhex(digits))


def _hex(octets: int) -> Callable[[TomlTable, str], str | None]:
    def read(table: TomlTable, key: str) -> str | None:
        value = table.text(key)
        if value is not None and not _is_hex(value, octets):
            table.fault(f"{key} must be {2 * octets} hex digits")
        return None if value is None else value.lower()

    return read


def _is_hex(text: str, octets: int) -> bool:
    return len(text) == 2 * octets and set(text.lower()) <= set("0123456789abcdef")


SIXTEEN_BITS = ("major", "minor", "id2", "id3")
ID_CHECKS: dict[str, Callable[[TomlTable, str], str | int | None]] = {
    "uuid": _uuid,
    "id1": _uuid,
    "namespace": _hex(10),
    "instance": _hex(6),
    "eid": _hex(8),
    "url": TomlTable.text,
    **dict.fromkeys(SIXTEEN_BITS, _sixteen_bits),
}
