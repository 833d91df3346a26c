"""What is kept of a fence among a million others, and which box of the earth holds it?

A fence is kept as bytes, a circle as a row of numbers besides; both are a fraction of the objects
they are read back as, and no burden to the garbage collector. Rows and boxes are made for many
fences at once: that is how a million are taken in within seconds.
This file knows fences and numbers, no R-tree and no cells.
"""

from __future__ import annotations

import pickle
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from geofences import geodesy
from geofences.model import Fence, Geometry
from geofences.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Box = tuple[float, float, float, float]

# What is packed for each fence that is one circle: earth-centred centre in metres, the squared
# chord within which a point is surely inside and beyond which it surely is not, longitude,
# latitude, radius in metres. A radius of -1 marks what is not a circle.
X, Y, Z, SURE_2, FAR_2, LON, LAT, RADIUS = range(8)
COLUMNS = 8
NO_CIRCLE = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0)

AREAS = frozenset({"Polygon", "MultiPolygon"})

# What is packed of a fence as it is; its geometry, properties and extra members have their own way.
SAID = (
    "id", "name", "tags", "venue", "radius_m", "dwell_s", "priority", "floor", "min_altitude_m",
    "max_altitude_m", "active", "valid_from", "valid_until", "exclude", "exit_after_s",
    "silent_after_s", "exit_margin_m", "min_confidence",
)  # fmt: skip
_said = attrgetter(*SAID)

Kept = bytes | Fence
"""A fence packed; or as it is, where a property of its author's own making cannot be packed."""


def pack(fence: Fence) -> Kept:
    """Return what is kept of a fence: all of it, in some 130 bytes and 16 a position."""
    properties = dict(fence.properties) or None
    extra = dict(fence.extra) or None
    whole = (_said(fence), _flat(fence.geometry), properties, extra)
    try:
        return pickle.dumps(whole, protocol=5)
    except Exception:  # noqa: BLE001 - whatever a foreign object raises when it is copied
        return fence


def unpack(kept: Kept) -> Fence:
    """Return the fence that was packed, equal to it in every field."""
    if isinstance(kept, Fence):
        return kept
    said, drawn, properties, extra = pickle.loads(kept)  # noqa: S301 - packed above, never stored
    fields: dict[str, Any] = dict(zip(SAID, said, strict=True))
    if properties:
        fields["properties"] = properties
    if extra:
        fields["extra"] = extra
    return Fence(geometry=_drawn(*drawn), **fields)


def _flat(geometry: Geometry) -> tuple[Any, ...]:
    coords = np.asarray(geometry.coords, np.float64)
    return (
        geometry.kind,
        coords.tobytes(),
        coords.shape[1],
        geometry.rings,
        geometry.parts,
        tuple(map(_flat, geometry.members)),
        dict(geometry.extra) or None,
    )


def _drawn(
    kind: str,
    coords: bytes,
    columns: int,
    rings: tuple[int, ...],
    parts: tuple[int, ...],
    members: tuple[Any, ...],
    extra: dict[str, Any] | None,
) -> Geometry:
    array = np.frombuffer(coords).reshape(-1, columns)
    inner = tuple(_drawn(*member) for member in members)
    if extra:
        return Geometry(kind, array, rings, parts, inner, extra)
    return Geometry(kind, array, rings, parts, inner)


def circles(fences: Sequence[Fence]) -> Floats:
    """Return a row of COLUMNS numbers for each fence; NO_CIRCLE for what is no single circle."""
    rows = np.tile(NO_CIRCLE, (len(fences), 1))
    which = [number for number, fence in enumerate(fences) if fence.geometry.kind == "Point"]
    if which:
        coords = [fences[number].geometry.coords for number in which]
        lons = np.array([float(each[0, 0]) for each in coords])
        lats = np.array([float(each[0, 1]) for each in coords])
        radii = [fences[number].radius_m or 0.0 for number in which]
        sure = np.maximum(np.array([geodesy.sure_chord(radius) for radius in radii]), 0.0)
        far = np.array(radii) + geodesy.SLACK_M
        centres = geodesy.many_earth_centred(lons, lats)
        rows[which] = np.column_stack((*centres, sure * sure, far * far, lons, lats, radii))
    return rows


def circle_of(fence: Fence) -> tuple[float, ...]:
    """Return the row of one fence, as ``circles`` does but for rounding."""
    if fence.geometry.kind != "Point":
        return NO_CIRCLE
    lon, lat = fence.geometry.coords[0, :2].tolist()
    radius = fence.radius_m or 0.0
    sure, far = max(geodesy.sure_chord(radius), 0.0), radius + geodesy.SLACK_M
    return (*geodesy.earth_centred(lon, lat), sure * sure, far * far, lon, lat, radius)


def boxes_of(fence: Fence) -> list[Box]:
    """Return the boxes of one fence, those of ``boxes`` to the last bit: west, south, east, north.

    An R-tree forgets a box only where it is named exactly.
    """
    if fence.geometry.kind == "Point":
        lon, lat = fence.geometry.coords[0, :2].tolist()
        return geodesy.boxes_within(lon, lat, fence.radius_m or 0.0)
    _, corners = boxes([fence], np.array([NO_CIRCLE]))
    return [(west, south, east, north) for west, south, east, north in corners.tolist()]


def boxes(fences: Sequence[Fence], rows: Floats) -> tuple[Ints, Floats]:
    """Return boxes that hold the fences, ``rows`` being their circles: (number, corners).

    ``number`` says whose box it is; ``corners`` has a row a box: west, south, east, north in
    degrees.
    """
    found = np.full((len(fences), 4), np.nan)
    which = np.flatnonzero(rows[:, RADIUS] >= 0.0)
    found[which] = geodesy.many_boxes_within(*rows[which][:, (LON, LAT, RADIUS)].T)
    areas = [n for n, fence in enumerate(fences) if fence.geometry.kind in AREAS]
    if areas:
        found[areas] = _bounds([fences[number].geometry.coords for number in areas])
    numbers = np.flatnonzero(~np.isnan(found[:, 0]))
    corners = found[numbers]
    # Corridors, collections, and whatever comes near ±180° or a pole.
    others = [
        (number, box)
        for number in np.flatnonzero(np.isnan(found[:, 0])).tolist()
        for box in Shape(fences[number]).boxes()
    ]
    if others:
        numbers = np.concatenate((numbers, [number for number, _ in others]))
        corners = np.vstack((corners, [box for _, box in others]))
    return numbers, corners


def _bounds(outlines: list[Floats]) -> Floats:
    """Return the box of each outline, a row each; NaN where ±180° or a pole may play a part.

    Where positions span less than half the earth and keep off ±180°, each edge runs the short
    way as it is drawn, and no ring goes round a pole.
    """
    coords = np.concatenate([outline[:, :2] for outline in outlines])
    ends = np.cumsum([len(outline) for outline in outlines])
    starts = np.concatenate(([0], ends[:-1]))
    low, high = np.minimum.reduceat(coords, starts), np.maximum.reduceat(coords, starts)
    plain = (low > (-180.0, -90.0)).all(axis=1) & (high < (180.0, 90.0)).all(axis=1)
    plain &= high[:, 0] - low[:, 0] < 180.0
    return np.where(plain[:, None], np.hstack((low, high)), np.nan)
