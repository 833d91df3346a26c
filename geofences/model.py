"""What is a fence, and what can be wrong with one?

Frozen values only. This file knows no file format, no distance and no index; it is what
``geojson`` makes and what ``index`` and the engine read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong (or unwise) in a fence file, in words for its author.

    ``feature`` is the fence's id, or its number from 0 where it has none, or None where the
    whole file is meant; ``where`` a place within it (coordinates, a line, a property), perhaps
    empty; ``mend`` says what to do. ``advice`` marks what is unwise but no fault.
    """

    file: str
    feature: str | int | None
    what: str
    where: str
    mend: str
    advice: bool = False

    def __str__(self) -> str:
        """Return the line that ``geofences check`` prints."""
        if self.feature is None:
            subject = self.file
        elif isinstance(self.feature, int):
            subject = f"{self.file}: feature number {self.feature}"
        else:
            subject = f"{self.file}: feature {self.feature!r}"
        place = f", {self.where}" if self.where else ""
        return f"{subject}: {'advice: ' if self.advice else ''}{self.what}{place}; {self.mend}"


class GeofenceError(Exception):
    """Fences that cannot be used; ``problems`` lists all that is wrong, ``str`` a line each."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class Window(NamedTuple):
    """Opening hours, local to the place.

    ``days`` holds names from DAYS; ``opens`` and ``closes`` are ``HH:MM`` (``24:00`` is the end
    of the day). Where ``closes`` is not later than ``opens``, the window runs past midnight.
    """

    days: tuple[str, ...]
    opens: str
    closes: str


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """A GeoJSON geometry as it was drawn, its positions packed in one array.

    ``coords`` has a row a position and two or more columns (degrees, degrees, perhaps metres);
    ``rings`` counts the positions of each line or ring, ``parts`` the rings of each polygon;
    ``members`` are those of a GeometryCollection, ``extra`` its foreign members.
    """

    kind: str
    coords: npt.NDArray[np.float64]
    rings: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()
    members: tuple[Geometry, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def lines(self) -> list[npt.NDArray[np.float64]]:
        """Return the positions of each line or ring as an array of its own."""
        found, start = [], 0
        for count in self.rings:
            found.append(self.coords[start : start + count])
            start += count
        return found

    def polygons(self) -> list[list[npt.NDArray[np.float64]]]:
        """Return the rings of each polygon, the outline first and its holes after it."""
        rings, found, start = self.lines(), [], 0
        for count in self.parts:
            found.append(rings[start : start + count])
            start += count
        return found

    def leaves(self) -> list[Geometry]:
        """Return the geometry, or what a collection is made of at any depth."""
        if self.kind != "GeometryCollection":
            return [self]
        return [leaf for member in self.members for leaf in member.leaves()]

    def to_object(self) -> dict[str, Any]:
        """Return the GeoJSON geometry object that this was read from."""
        if self.kind == "GeometryCollection":
            members = [member.to_object() for member in self.members]
            return {"type": self.kind, "geometries": members, **self.extra}
        value: Any
        if self.kind == "Point":
            value = self.coords[0].tolist()
        elif self.kind in {"MultiPoint", "LineString"}:
            value = self.coords.tolist()
        elif self.kind == "MultiPolygon":
            value = [[ring.tolist() for ring in rings] for rings in self.polygons()]
        else:  # Polygon and MultiLineString nest alike
            value = [ring.tolist() for ring in self.lines()]
        return {"type": self.kind, "coordinates": value, **self.extra}


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fence:
    """One drawn place and what its author said about it (see the reference page on fences).

    ``radius_m``, ``exit_margin_m``, ``min_altitude_m`` and ``max_altitude_m`` are metres,
    ``dwell_s``, ``exit_after_s`` and ``silent_after_s`` seconds, ``valid_from`` and
    ``valid_until`` Unix seconds; None where the file says nothing. ``properties`` and ``extra``
    keep every property and foreign member as it came.
    """

    id: str
    geometry: Geometry
    name: str
    tags: tuple[str, ...] = ()
    venue: str | None = None
    radius_m: float | None = None
    dwell_s: tuple[float, ...] = ()
    priority: float = 0.0
    floor: float | None = None
    min_altitude_m: float | None = None
    max_altitude_m: float | None = None
    active: tuple[Window, ...] | None = None
    valid_from: float | None = None
    valid_until: float | None = None
    exclude: bool = False
    on_foot: bool = False
    exit_after_s: float | None = None
    silent_after_s: float | None = None
    exit_margin_m: float | None = None
    min_confidence: float | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Fence(id={self.id!r}, geometry={self.geometry.kind!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fence):
            return NotImplemented
        return self.id == other.id and self.to_feature() == other.to_feature()

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def centre(self) -> tuple[float, float]:
        """A longitude and latitude in or near the fence: good enough to find its time zone."""
        first = self.geometry.leaves()[0]
        coords = first.coords[: first.rings[0]] if first.rings else first.coords
        # Longitudes are taken relative to the first one, so that the seam at ±180 does no harm.
        turns = (coords[:, 0] - coords[0, 0] + 180.0) % 360.0 - 180.0
        lon = coords[0, 0] + (turns.min() + turns.max()) / 2
        lat = (coords[:, 1].min() + coords[:, 1].max()) / 2
        return float((lon + 180.0) % 360.0 - 180.0), float(lat)

    def to_feature(self) -> dict[str, Any]:
        """Return the GeoJSON Feature, unknown properties and foreign members included."""
        return {
            "type": "Feature",
            "id": self.id,
            "properties": dict(self.properties),
            "geometry": self.geometry.to_object(),
            **self.extra,
        }
