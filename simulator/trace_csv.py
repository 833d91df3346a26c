"""CSV traces: columns by the names that are found in the wild, commas, semicolons, tabs or bars.

Also BLEBeacon's reports of carried beacons. A table says nothing of its time zone: a time without
one is UTC.
"""

from __future__ import annotations

import csv
import re
from itertools import chain
from typing import TYPE_CHECKING

from beacon_gateway.model import Beacon, Sighting
from proximity.feeds.units import (
    KMH_MPS,
    KNOT_MPS,
    flag,
    known,
    moment,
    motion,
    number,
    position,
    text,
)
from proximity.model import Fix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proximity.model import Record
    from simulator.reading import Reading

Row = dict[str, str]

#: What column holds what, by its name in lower-case letters and digits alone; the first
#: spelling that a file has is taken.
COLUMNS = {
    "time": (
        "at", "time", "timestamp", "datetime", "trackedat", "recordedat", "fixtime", "devicetime",
        "utc", "utctime", "timeutc", "datetimeutc", "tst", "t", "ts", "epoch", "unixtime", "date",
    ),
    "clock": ("clock", "timeofday", "hour"),
    "lon": ("lon", "longitude", "lng", "long", "londeg", "longitudedeg", "x"),
    "lat": ("lat", "latitude", "latdeg", "latitudedeg", "y"),
    "accuracy": ("accuracym", "accuracy", "acc", "hacc", "horizontalaccuracy", "haccuracy"),
    "altitude": ("altitudem", "altitude", "alt", "elevation", "ele", "height"),
    "speed": ("speedmps", "speed", "spd", "velocity", "speedms"),
    "kmh": ("speedkmh", "speedkph", "kmh", "kph"),
    "knots": ("speedknots", "knots"),
    "course": ("coursedeg", "course", "bearing", "heading", "direction", "cog"),
    "subject": (
        "subject", "user", "userid", "uid", "device", "deviceid", "tid", "trackid", "tracker",
        "vehicle", "vehicleid", "person", "personid",
    ),
    "id": ("id",),
    "floor": ("floor", "level"),
    "motion": ("motion", "activity"),
    "mock": ("mock",),
    "received": ("receivedat",),
}  # fmt: skip

BLEBEACON = {"beaconid", "rssi", "timestamp", "rpiid"}

#: BLEBeacon names its beacons by a number alone: it becomes the minor of an iBeacon of this UUID
#: and major 0, which a site then enrols.
BLEBEACON_UUID = "00000000-0000-0000-0000-000000000000"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: Rows looked at to tell whether a column ``id`` names subjects or rows.
SAMPLE_BYTES = 65536


def read_csv(reading: Reading) -> Iterator[Sequence[Record]]:
    """Read the rows of a table with a header line, in order. Raises TraceError."""
    head = reading.head(SAMPLE_BYTES)[:SAMPLE_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    sample = head.decode("utf-8", "replace").splitlines()
    separator = max(",;\t|", key=sample[0].count)
    names = [_plain(name) for name in next(csv.reader(sample[:1], delimiter=separator))]
    read = _row_reader(reading, names, [line.split(separator) for line in sample[1:-1]])
    rows = csv.reader(chain(_lines(reading), (END,)), delimiter=separator)
    line = 0
    while True:
        try:
            values = next(rows)
        except csv.Error as problem:
            raise reading.refusal(line + 1, f"no row of CSV ({problem})", "mend it") from None
        if values and values[-1].endswith(END):
            if values[-1] != END:  # it has taken all that follows into its last cell
                raise reading.refusal(line + 1, "a quote is never closed", "close it")
            return
        first, line = not line, reading.line
        if first or not values:
            continue
        if separator == ";":  # where the comma is the decimal point
            values = [_DECIMAL.sub(r"\1.\2", value) for value in values]
        try:
            record = read(dict(zip(names, values, strict=False)))
        except ValueError as problem:
            reading.bad(reading.line, str(problem))
            continue
        yield reading.keep(record)


#: A last line of our own: where it is part of a row, that row is not at its end.
END = "\0end of table"

_DECIMAL = re.compile(r"^(-?\d+),(\d+)$")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _lines(reading: Reading) -> Iterator[str]:
    for number_, line in reading.lines():
        try:
            yield line.removeprefix(b"\xef\xbb\xbf").decode()
        except UnicodeDecodeError:
            raise reading.refusal(number_, "it is no UTF-8 text", "save it as UTF-8") from None


def _row_reader(
    reading: Reading, names: list[str], sample: list[list[str]]
) -> Callable[[Row], Record | None]:
    if set(names) >= BLEBEACON:
        return _sighting
    found = {
        what: next((name for name in spellings if name in names), None)
        for what, spellings in COLUMNS.items()
    }
    if found["time"] == "time" and "date" in names:
        found["time"], found["clock"] = "date", "time"
    missing = [what for what in ("time", "lon", "lat") if found[what] is None]
    if missing:
        raise reading.refusal(
            1,
            f"no column tells {', '.join(missing)}",
            "begin with a header line such as time,lon,lat,accuracy_m,subject",
        )
    for what in ("time", "lon", "lat"):
        if names.count(str(found[what])) > 1:
            raise reading.refusal(1, f"two columns tell {what}", "keep the one that is meant")
    if found["subject"] is None and found["id"] is not None:
        # An id that comes again names who moves; one that never does names the row.
        column = names.index("id")
        ids = [row[column] for row in sample if len(row) > column]
        if len(set(ids)) < len(ids):
            found["subject"], found["id"] = "id", None
    return lambda row: _fix(found, row, reading.stem)


def _fix(found: dict[str, str | None], row: Row, stem: str) -> Fix | None:
    def cell(what: str) -> str | None:
        name = found[what]
        return None if name is None else text(row.get(name))

    place = position(cell("lon"), cell("lat"))
    if place is None:
        return None
    clock = cell("clock")
    at = moment(cell("time") if clock is None else f"{cell('time')} {clock}")
    if at is None:
        raise ValueError("the row has no time")
    speed = known(cell("speed"))
    if speed is None:
        speed = known(cell("kmh"), KMH_MPS)
    if speed is None:
        speed = known(cell("knots"), KNOT_MPS)
    return Fix(
        subject=cell("subject") or stem,
        at=at,
        lon=place[0],
        lat=place[1],
        accuracy_m=known(cell("accuracy")),
        altitude_m=number(cell("altitude")),
        floor=number(cell("floor")),
        speed_mps=speed,
        course_deg=known(cell("course")),
        motion=motion(cell("motion")),
        mock=flag(cell("mock")),
        id=cell("id"),
        received_at=moment(cell("received")),
    )


def _sighting(row: Row) -> Sighting:
    at, level, named = (
        moment(row.get("timestamp")),
        number(row.get("rssi")),
        row.get("beaconid", ""),
    )
    if at is None or level is None:
        raise ValueError(f"the row has no {'Timestamp' if at is None else 'RSSI'}")
    named = named.strip().lower()
    if _UUID.fullmatch(named):
        beacon = Beacon(format="ibeacon", uuid=named)
    elif named.isascii() and named.isdigit() and len(named) < 6 and int(named) < 65536:
        beacon = Beacon(format="ibeacon", uuid=BLEBEACON_UUID, major=0, minor=int(named))
    else:
        raise ValueError(f"Beacon_id {named[:40]!r} is neither a number of 0 to 65535 nor a UUID")
    gateway = text(row.get("rpiid"))
    if gateway is None:
        raise ValueError("the row has no RPi_id")
    return Sighting(
        beacon=beacon,
        at=at,
        rssi_dbm=level,
        gateway=gateway,
        id=text(row.get("entryid")),
    )
