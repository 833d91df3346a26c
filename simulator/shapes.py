"""How does a scenario give points and shapes?

Where it names an ``origin`` [longitude, latitude], in metres east and north of that; else in
degrees. Either way what comes out is GeoJSON in degrees, and points in metres on one flat plan.
Knows TOML tables and geometry objects, nothing of fences or walkers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from simulator.walk import Ground

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from proximity.tomltable import TomlTable

__all__ = ["Plan", "numbers", "pairs_of", "spells"]

MAX_POINTS = 10_000
"""Points of one path or outline: a day's walk has hundreds."""
FARTHEST_M = 100_000.0
"""From the origin: farther out a flat plan is no longer right, and nobody walks there."""

MAX_SPELLS = 1000
MAX_SECONDS = 400 * 86400.0
"""A year and some days: longer stories are told in several scenarios."""

Drawn = tuple[dict[str, Any], dict[str, Any]]
"""A geometry, and the properties that go with it (``radius_m``)."""


class Plan:
    """Where points of the file lie. ``origin`` None: the file speaks in degrees."""

    KEYS = ("box", "circle", "outline", "holes", "corridor", "radius_m")
    """What shapes are given by; the last two go with an outline or box, and with a corridor."""

    def __init__(self, origin: Ground | None) -> None:
        self.origin = origin
        self._ground = origin

    @classmethod
    def read(cls, top: TomlTable) -> Plan:
        """Read ``origin`` of the file's top table."""
        if not top.has("origin"):
            return cls(None)
        value = numbers(top.table["origin"], 2, 2)
        # A plan near a pole would need another projection.
        if value is None or abs(value[0]) > 180.0 or abs(value[1]) > 85.0:
            top.fault("origin must be [longitude, latitude], within 180 and 85 degrees")
            return cls(Ground(0.0, 0.0))
        return cls(Ground(*value))

    def degrees(self, x: float, y: float) -> tuple[float, float]:
        """Give longitude and latitude of a point in metres on the plan."""
        return (self._ground or Ground(0.0, 0.0)).degrees(x, y)

    def metres(
        self, lons: NDArray[np.float64], lats: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give positions as metres on the plan."""
        return (self._ground or Ground(0.0, 0.0)).metres(lons, lats)

    def place(self, table: TomlTable, pair: Sequence[float], key: str) -> tuple[float, float]:
        """Give longitude and latitude of a point as the file gives it; notes what is too far."""
        x, y = pair
        if self.origin is not None:
            if max(abs(x), abs(y)) <= FARTHEST_M:
                lon, lat = self.origin.degrees(x, y)
                return round(lon, 9), round(lat, 9)
            table.fault(f"{key}: [{x:g}, {y:g}] is farther than {FARTHEST_M:g} m from the origin")
        elif abs(x) <= 180.0 and abs(y) <= 90.0:
            return x, y
        else:
            table.fault(
                f"{key}: [{x:g}, {y:g}] is no [longitude, latitude]; name an origin = "
                "[longitude, latitude] to write metres"
            )
        return 0.0, 0.0

    def point(self, table: TomlTable, key: str) -> tuple[float, float]:
        """Read a needed point as metres on the plan."""
        value = numbers(table.table[key], 2, 2) if table.has(key) else None
        if value is None:
            table.fault(f"needs {key} = [x, y]: where it truly is")
            return 0.0, 0.0
        lon, lat = self.place(table, value, key)
        if self._ground is None:
            self._ground = Ground(lon, lat)  # any point near will do
        import numpy as np

        x, y = self._ground.metres(np.array([lon]), np.array([lat]))
        return float(x[0]), float(y[0])

    def points(
        self, table: TomlTable, key: str, *, least: int, most: int = MAX_POINTS
    ) -> list[tuple[float, float]]:
        """Read a needed list of points as metres on the plan; empty where it is at fault."""
        value = table.table[key] if table.has(key) else None
        pairs = pairs_of(value)
        if pairs is None or not least <= len(pairs) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            table.fault(f"{key} must be a list of {count} points [x, y]")
            return []
        if self.origin is not None:
            return pairs
        import numpy as np

        lons, lats = np.array(pairs).T
        if self._ground is None:
            self._ground = Ground(float(lons[0]), float(lats[0]))
        x, y = self._ground.metres(lons, lats)
        return list(zip(x.tolist(), y.tolist(), strict=True))

    def shape(self, table: TomlTable) -> Drawn | None:
        """Read the shape of a table: one of box, circle, outline and corridor; None: none given."""
        given = [key for key in ("box", "circle", "outline", "corridor") if table.has(key)]
        for key in ("holes", "radius_m"):
            table.has(key)
        if len(given) > 1:
            table.fault(f"has {' and '.join(given)}: one shape each")
        if not given:
            return None
        key = given[0]
        return {"circle": self._circle, "corridor": self._corridor}.get(key, self._area)(table, key)

    def needed_shape(self, table: TomlTable) -> Drawn:
        """Read a shape that must be there."""
        drawn = self.shape(table)
        if drawn is None:
            table.fault("has no shape: give it box, circle, outline or corridor")
            return {"type": "Point", "coordinates": [0.0, 0.0]}, {"radius_m": 1.0}
        return drawn

    def _circle(self, table: TomlTable, key: str) -> Drawn:
        value = numbers(table.table[key], 3, 3)
        if value is None or value[2] <= 0.0:
            table.fault("circle must be [x, y, radius in metres]")
            value = [0.0, 0.0, 1.0]
        middle = self.place(table, value[:2], key)
        return {"type": "Point", "coordinates": list(middle)}, {"radius_m": value[2]}

    def _corridor(self, table: TomlTable, key: str) -> Drawn:
        pairs = pairs_of(table.table[key])
        radius = table.number("radius_m", 1.0, least=0.1, most=FARTHEST_M)
        if pairs is None or not 2 <= len(pairs) <= MAX_POINTS or "radius_m" not in table.table:
            table.fault("corridor must be a list of points [x, y], with radius_m beside it")
            pairs = [(0.0, 0.0), (0.0, 0.0)]
        line = [list(self.place(table, pair, key)) for pair in pairs]
        return {"type": "LineString", "coordinates": line}, {"radius_m": radius}

    def _area(self, table: TomlTable, key: str) -> Drawn:
        """Read a box [west, south, east, north] or an outline, with its holes."""
        value = table.table[key]
        if key == "box":
            box = numbers(value, 4, 4)
            if box is None or not (box[0] < box[2] and box[1] < box[3]):
                table.fault("box must be [west, south, east, north], west and south the smaller")
                box = [0.0, 0.0, 1.0, 1.0]
            west, south, east, north = box
            rings = [[(west, south), (east, south), (east, north), (west, north)]]
        else:
            outline = pairs_of(value)
            if outline is None or not 3 <= len(outline) <= MAX_POINTS:
                table.fault("outline must be a list of three points [x, y] or more")
                outline = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)]
            rings = [outline]
        holes = table.table.get("holes", [])
        for hole in holes if isinstance(holes, list) else [None]:
            ring = pairs_of(hole)
            if ring is None or not 3 <= len(ring) <= MAX_POINTS:
                table.fault("holes must be a list of outlines, each of three points or more")
            else:
                rings.append(ring)
        closed = [[list(self.place(table, p, key)) for p in (*ring, ring[0])] for ring in rings]
        return {"type": "Polygon", "coordinates": closed}, {}


def numbers(value: object, least: int, most: int) -> list[float] | None:
    """Read a list of finite numbers; None where it is none, or has too few or too many."""
    if not isinstance(value, list) or not least <= len(value) <= most:
        return None
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in value):
        return None
    try:
        found = [float(one) for one in value]
    except OverflowError:  # whole numbers of TOML have no end
        return None
    return found if all(map(math.isfinite, found)) else None


def pairs_of(value: object) -> list[tuple[float, float]] | None:
    """Read a list of points; None where it is none."""
    if not isinstance(value, list) or len(value) > MAX_POINTS:
        return None
    pairs = [numbers(one, 2, 2) for one in value]
    return [(one[0], one[1]) for one in pairs if one] if all(pairs) else None


def spells(table: TomlTable, key: str) -> tuple[tuple[float, float], ...]:
    """Read a list of spells, each [from, to] in seconds; they must not run backwards."""
    value = table.table[key] if table.has(key) else []
    found: list[tuple[float, float]] = []
    if not isinstance(value, list) or len(value) > MAX_SPELLS:
        table.fault(f"{key} must be a list of at most {MAX_SPELLS} pairs of seconds")
        return ()
    for number, one in enumerate(value, 1):
        pair = numbers(one, 2, 2)
        if pair is None or not 0.0 <= pair[0] < pair[1] <= MAX_SECONDS:
            table.fault(f"{key}: entry {number} must be [from, to] in seconds, rising")
        else:
            found.append((pair[0], pair[1]))
    return tuple(found)
