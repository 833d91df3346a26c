"""What does a fence's author say about it?

Reads the properties of a GeoJSON feature that mean something here, and its id. A value of the
wrong type or range is a fault with its mend; what is not named here is kept and never read.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from geofences.model import DAYS, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_ID = 128
# A circle over a quarter of the earth is no shop: beyond it the far side comes nearer again.
MAX_RADIUS_M = 10_000_000.0
# Nobody is offered anything after a month in one place.
MAX_SECONDS = 31 * 86_400.0
HOURS = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00")


class Fault(NamedTuple):
    """What is wrong with a property, and the mend."""

    what: str
    mend: str


class Rejected(ValueError):  # noqa: N818 - it is caught by its one caller and names no error
    """A value that does not fit; its text is the mend."""


def _text(value: object) -> str:
    """Accept text or a number, which becomes text."""
    if isinstance(value, str):
        found = value
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        found = str(int(value)) if value == int(value) else repr(value)
    else:
        raise Rejected("write text in quotes")
    if not found.isprintable():
        if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in found):
            raise Rejected("take out the control characters")
        if any(0xD800 <= ord(c) < 0xE000 for c in found):
            raise Rejected("take out the broken character (half of a surrogate pair)")
    return found


def _id(value: object) -> str:
    found = _text(value)
    if not 1 <= len(found) <= MAX_ID:
        raise Rejected(f"an id has 1 to {MAX_ID} characters")
    return found


def _number(low: float, high: float, unit: str) -> Callable[[object], float]:
    """Make a reader of finite numbers from low to high."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Rejected(f"write a number{unit}, without quotes")
        if not low <= value <= high:  # also refuses NaN
            raise Rejected(f"write a number{unit} from {low:g} to {high:g}")
        return float(value)

    return read


def _radius(value: object) -> float:
    radius = _number(0.0, MAX_RADIUS_M, " of metres")(value)
    if radius == 0.0:
        raise Rejected("write a radius above 0 metres")
    return radius


def _dwell(value: object) -> tuple[float, ...]:
    read = _number(0.0, MAX_SECONDS, " of seconds")
    values = value if isinstance(value, list) else [value]
    if len(values) > 100:
        raise Rejected("write at most 100 dwell times")
    return tuple(sorted({read(each) for each in values}))


def _tags(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Rejected('write a list of texts, as in ["cafe", "city"]')
    return tuple(_id(each) for each in value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Rejected("write true or false, without quotes")
    return value


def _time(value: object) -> float:
    """Read Unix seconds or RFC 3339 text; text without an offset is refused as ambiguous."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise Rejected("write a time with its zone, as 2026-05-01T10:00:00Z")
        return moment.astimezone(UTC).timestamp()
    # The year 9999: what is beyond are milliseconds.
    return _number(0.0, 253_402_300_799.0, " of Unix seconds")(value)


def _windows(value: object) -> tuple[Window, ...]:
    mend = 'write [{"days": ["mon"], "from": "09:00", "to": "18:30"}], times as HH:MM'
    if not isinstance(value, list) or len(value) > 100:
        raise Rejected(mend)
    found = []
    for each in value:
        if not isinstance(each, dict) or not set(each) <= {"days", "from", "to"}:
            raise Rejected(mend)
        days = each.get("days", list(DAYS))
        if not isinstance(days, list) or not days or not all(day in DAYS for day in days):
            raise Rejected(f"write days from {', '.join(DAYS)}")
        opens, closes = each.get("from"), each.get("to")
        if not isinstance(opens, str) or not isinstance(closes, str):
            raise Rejected(mend)
        if not HOURS.fullmatch(opens) or not HOURS.fullmatch(closes):
            raise Rejected(mend)
        if opens == "24:00":
            raise Rejected("begin a day at 00:00; only its end may be 24:00")
        found.append(Window(tuple(day for day in DAYS if day in days), opens, closes))
    return tuple(found)


def _reserved(value: object) -> None:
    del value
    raise Rejected("take it out: the name is kept for fences that move")


# Property -> how it is read. The names are the fields of a Fence as well.
PROPERTIES: dict[str, Callable[[object], Any]] = {
    "name": _text,
    "tags": _tags,
    "venue": _id,
    "radius_m": _radius,
    "dwell_s": _dwell,
    "priority": _number(-1e9, 1e9, ""),
    "floor": _number(-1000, 1000, ""),
    "min_altitude_m": _number(-12_000, 100_000, " of metres"),
    "max_altitude_m": _number(-12_000, 100_000, " of metres"),
    "active": _windows,
    "valid_from": _time,
    "valid_until": _time,
    "exclude": _flag,
    "on_foot": _flag,
    "exit_after_s": _number(0, MAX_SECONDS, " of seconds"),
    "silent_after_s": _number(0, MAX_SECONDS, " of seconds"),
    "exit_margin_m": _number(0, 100_000, " of metres"),
    "min_confidence": _number(0, 1, ""),
    "carried_by": _reserved,
}

# Pairs that bound a range: the first may not exceed the second.
RANGES = (("min_altitude_m", "max_altitude_m"), ("valid_from", "valid_until"))


def read(properties: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the fields of a Fence that the properties give, and all their faults."""
    fields: dict[str, Any] = {}
    faults: list[Fault] = []
    if not properties:
        return fields, faults
    for name, reader in PROPERTIES.items():
        value = properties.get(name)
        if value is None:
            continue
        try:
            fields[name] = reader(value)
        except Rejected as error:
            shown = repr(value)
            shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
            faults.append(Fault(f"property {name} cannot be {shown}", str(error)))
    for low, high in RANGES:
        if low in fields and high in fields and fields[low] >= fields[high]:
            faults.append(Fault(f"property {low} is not below {high}", "swap or mend them"))
    return fields, faults


def feature_id(feature: Mapping[str, Any], number: int) -> tuple[str, Fault | None]:
    """Return a feature's id: ``id``, else ``id``, ``name`` or ``fid`` of its properties in any
    case, else its number; and what is wrong with it (then the id is its number).
    """  # noqa: D205 - one sentence, too long for a line
    for name, value in _candidates(feature):
        if value is None or (value == "" and name != "id"):
            continue
        try:
            return _id(value), None
        except Rejected as error:
            shown = repr(value)
            shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
            return str(number), Fault(f"its id ({name}) cannot be {shown}", str(error))
    return str(number), None


def _candidates(feature: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give what may be a feature's id, the likeliest first: nearly always that is enough."""
    yield "id", feature.get("id")
    properties = feature.get("properties")
    if isinstance(properties, dict):
        for wanted in ("id", "name", "fid"):
            # The exact spelling first, then any case in the order of the file.
            names = [name for name in properties if name.lower() == wanted]
            names.sort(key=wanted.__ne__)
            for name in names:
                yield f"properties.{name}", properties[name]
