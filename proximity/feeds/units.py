"""What a phone's numbers, times and names mean.

Clients write one quantity in four units and "unknown" in six ways. Here each becomes the engine's
own: metres, metres a second, Unix seconds, degrees, or None. Knows no client.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

KNOT_MPS = 1852.0 / 3600.0
"""One knot in metres a second: a nautical mile (1852 m) an hour."""

KMH_MPS = 1.0 / 3.6
"""One kilometre an hour in metres a second."""

HDOP_M = 5.0
"""Metres of error for each unit of horizontal dilution of precision.

A dilution is no length; times the ranging error of a satellite receiver, some 5 m in the open, it
is the 68 % radius. Too cautious for apps that put metres there, and that is the safe side.
"""

#: Seconds reach this in the year 5138, milliseconds passed it in 1973: above it a number counts
#: milliseconds (or micro-, or nanoseconds), as no client sends fixes from before 1973.
MOST_SECONDS = 1e11

#: What the clients' platforms call a motion, in the five words that Overland uses.
MOTIONS = {
    "automotive": "driving",
    "cycling": "cycling",
    "driving": "driving",
    "in_vehicle": "driving",
    "on_bicycle": "cycling",
    "on_foot": "walking",
    "running": "running",
    "stationary": "stationary",
    "still": "stationary",
    "walking": "walking",
}

_ABSENT = {"", "null", "none", "nil", "undefined", "nan"}

_LOOSE_ZONE = re.compile(r"(T[0-9:.,]+) (?=\d\d:?\d\d$)")


def number(value: Any) -> float | None:
    """Read a finite number that came as a number or as text; None where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > 40:  # no client writes a longer one
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def known(value: Any, scale: float = 1.0) -> float | None:
    """Read a number that cannot be negative, times ``scale``; below 0 (often -1) means unknown."""
    found = number(value)
    return None if found is None or found < 0.0 else found * scale


def flag(value: Any) -> bool:
    """Read a yes that came as a boolean, a number or a word."""
    return value is True or str(value).strip().lower() in {"1", "true", "yes"}


def text(value: Any) -> str | None:
    """Read a name or id; blank, ``null`` and their like are None, whole numbers become text.

    Raises ValueError where it cannot be written as UTF-8 (bytes of a header or a query that were
    no text).
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**30 else None
    if not isinstance(value, str):
        return None
    found = value.strip()
    found.encode()
    return None if found.lower() in _ABSENT else found


def motion(value: Any) -> str | None:
    """Read a motion, or a list of them, in the words of ``MOTIONS``; None where none is known.

    Of several the moving one counts: a car at a red light is ``driving`` and ``stationary``.
    """
    if isinstance(value, dict):
        value = value.get("type")
    words = value if isinstance(value, list) else [value]
    names = [word.lower() for word in words if isinstance(word, str)]
    found = [MOTIONS[name] for name in names if name in MOTIONS]
    moving = [word for word in found if word != "stationary"]
    return next(iter(moving or found), None)


def moment(value: Any) -> float | None:
    """Read a time as Unix seconds: seconds, milli-, micro- or nanoseconds, or ISO 8601 text.

    Text without a zone is UTC: what the sender's own clock showed cannot be known here. None where
    the value is absent. Raises ValueError where it is there and is no time.
    """
    if isinstance(value, str):
        value = text(value)
    if value is None:
        return None
    found = number(value)
    if found is not None:
        while found >= MOST_SECONDS:
            found /= 1000.0
        return found
    if isinstance(value, str) and len(value) <= 40:
        # "+02:00" whose plus came unencoded in a query arrives as a space.
        try:
            when = datetime.fromisoformat(_LOOSE_ZONE.sub(r"\1+", value))
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"{str(value)[:40]!r} is no time: send Unix seconds or ISO 8601")


def fields_of(value: Any) -> dict[str, Any]:
    """Give a JSON object as it is, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def position(lon: Any, lat: Any) -> tuple[float, float] | None:
    """Read longitude and latitude in degrees; None where the client had no position to send.

    Raises ValueError where one is there and the other is not, or is no number.
    """
    absent = [v is None or (isinstance(v, str) and text(v) is None) for v in (lon, lat)]
    if all(absent):
        return None
    east, north = number(lon), number(lat)
    if east is None or north is None:
        raise ValueError(f"longitude {lon!r} and latitude {lat!r} are no position in degrees")
    return east, north
