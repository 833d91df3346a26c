"""What is kept of a fence among a million others, and which box of the earth holds it?

A fence is kept as bytes, a circle or an outline as a row of numbers besides; both are a fraction
of the objects they are read back as, and no burden to the garbage collector. Rows and boxes are
made for many fences at once: that is how a million are taken in within seconds.
This file knows fences and numbers, no R-tree and no cells.
"""

from __future__ import annotations

import pickle
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from geofences import geodesy
from geofences.model import Fence, Geometry
from geofences.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Box = tuple[float, float, float, float]

# What is packed for each fence that is one circle: earth-centred centre in metres, the squared
# chord within which a point is surely inside and beyond which it surely is not, longitude,
# latitude, radius in metres.
X, Y, Z, SURE_2, FAR_2, LON, LAT, RADIUS = range(8)
# And for each fence that is outlines off ±180° and the poles: its box in degrees, and where its
# vertices stand among those of all.
WEST, SOUTH, EAST, NORTH, FIRST, COUNT = range(6)
COLUMNS = 8
# In the place of the radius: what is no circle. Whatever is odd has a Shape alone.
OUTLINE, ODD = -1.0, -2.0
NO_CIRCLE = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, ODD)

AREAS = frozenset({"Polygon", "MultiPolygon"})

# What is packed of a fence as it is; its geometry, properties and extra members have their own way.
SAID = (
    "id", "name", "tags", "venue", "radius_m", "dwell_s", "priority", "floor", "min_altitude_m",
    "max_altitude_m", "active", "valid_from", "valid_until", "exclude", "exit_after_s",
    "silent_after_s", "exit_margin_m", "min_confidence", "on_foot",
)  # fmt: skip
_said = attrgetter(*SAID)

Kept = bytes | Fence
"""A fence packed; or as it is, where a property of its author's own making cannot be packed."""


def pack(fence: Fence, *, bare: bool = False) -> Kept:
    """Return what is kept of a fence: all of it, in some 130 bytes and 16 a position.

    ``bare`` leaves the positions out where they have no third coordinate: the vertices of an
    outline stand elsewhere already.
    """
    properties = dict(fence.properties) or None
    extra = dict(fence.extra) or None
    bare = bare and fence.geometry.coords.shape[1] == 2
    whole = (_said(fence), _flat(fence.geometry, bare=bare), properties, extra)
    try:
        return pickle.dumps(whole, protocol=5)
    except Exception:  # noqa: BLE001 - whatever a foreign object raises when it is copied
        return fence


def unpack(kept: Kept, vertices: Callable[[], Floats] | None = None) -> Fence:
    """Return the fence that was packed, equal to it in every field.

    ``vertices`` gives the positions of what was packed ``bare``.
    """
    if isinstance(kept, Fence):
        return kept
    said, drawn, properties, extra = pickle.loads(kept)  # noqa: S301 - packed above, never stored
    fields: dict[str, Any] = dict(zip(SAID, said, strict=True))
    if properties:
        fields["properties"] = properties
    if extra:
        fields["extra"] = extra
    if drawn[1] is None:
        assert vertices is not None
        drawn = (drawn[0], vertices().tobytes(), *drawn[2:])
    return Fence(geometry=_drawn(*drawn), **fields)


def _flat(geometry: Geometry, *, bare: bool = False) -> tuple[Any, ...]:
    coords = np.asarray(geometry.coords, np.float64)
    return (
        geometry.kind,
        None if bare else coords.tobytes(),
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


def rows(fences: Sequence[Fence]) -> tuple[Floats, Floats]:
    """Return a row of COLUMNS numbers for each fence, and the vertices of the outlines.

    Vertices have two columns, longitude and latitude; FIRST counts from the first of them. A row
    of NaN stands between the rings of an outline.
    """
    found = np.tile(NO_CIRCLE, (len(fences), 1))
    round_ones, areas = [], []
    for number, fence in enumerate(fences):
        if fence.geometry.kind == "Point":
            round_ones.append(number)
        elif fence.geometry.kind in AREAS:
            areas.append(number)
    if round_ones:
        coords = [fences[number].geometry.coords for number in round_ones]
        lons = np.array([float(each[0, 0]) for each in coords])
        lats = np.array([float(each[0, 1]) for each in coords])
        radii = [fences[number].radius_m or 0.0 for number in round_ones]
        sure = np.maximum(np.array([geodesy.sure_chord(radius) for radius in radii]), 0.0)
        far = np.array(radii) + geodesy.SLACK_M
        centres = geodesy.many_earth_centred(lons, lats)
        found[round_ones] = np.column_stack((*centres, sure * sure, far * far, lons, lats, radii))
    if not areas:
        return found, np.empty((0, 2))
    found[areas], vertices = _outlines([fences[number].geometry for number in areas])
    return found, vertices


def _outlines(drawn: Sequence[Geometry]) -> tuple[Floats, Floats]:
    """Return rows and vertices of polygons; those by ±180° or a pole, or not closed, are ODD.

    Where positions span less than half the earth and keep off ±180°, each edge runs the short
    way as it is drawn, and no ring goes round a pole.
    """
    counts = np.array([len(each.coords) for each in drawn])
    rings = np.array([len(each.rings) for each in drawn])
    lengths = np.fromiter(chain.from_iterable(each.rings for each in drawn), np.int64)
    coords = np.concatenate([each.coords[:, :2] for each in drawn])
    starts, firsts = np.cumsum(counts) - counts, np.cumsum(rings) - rings
    low, high = np.minimum.reduceat(coords, starts), np.maximum.reduceat(coords, starts)
    plain = (low > (-180.0, -90.0)).all(axis=1) & (high < (180.0, 90.0)).all(axis=1)
    plain &= high[:, 0] - low[:, 0] < 180.0
    begins = np.cumsum(lengths) - lengths
    closed = (coords[begins] == coords[begins + lengths - 1]).all(axis=1)
    plain &= np.logical_and.reduceat(closed, firsts)
    last = np.cumsum(rings)[plain] - 1
    breaks = np.repeat(plain, rings)
    breaks[last] = False  # after all rings but the last of each outline
    kept = np.repeat(plain, counts)
    after = np.cumsum(kept)[(begins + lengths - 1)[breaks]]
    vertices = coords[kept]
    if len(after):
        vertices = np.insert(vertices, after, np.nan, axis=0)
    found = np.tile(NO_CIRCLE, (len(drawn), 1))
    sizes = (counts + rings - 1)[plain]
    found[plain] = np.column_stack(
        (low[plain], high[plain], np.cumsum(sizes) - sizes, sizes, sizes * 0, sizes * 0 + OUTLINE)
    )
    return found, vertices


def boxes(fences: Sequence[Fence], rows: Floats) -> tuple[Ints, Floats]:
    """Return boxes that hold the fences, ``rows`` being theirs: (number, corners).

    ``number`` says whose box it is; ``corners`` has a row a box: west, south, east, north in
    degrees. The same to the last bit for one fence alone and among others: an R-tree forgets a box
    only where it is named exactly. The row of what is ODD is given its box; NaN where it has two.
    """
    found = np.full((len(fences), 4), np.nan)
    which = np.flatnonzero(rows[:, RADIUS] >= 0.0)
    if len(which):
        found[which] = geodesy.many_boxes_within(*rows[which][:, (LON, LAT, RADIUS)].T)
    which = np.flatnonzero(rows[:, RADIUS] == OUTLINE)
    found[which] = rows[which, :4]
    numbers = np.flatnonzero(~np.isnan(found[:, 0]))
    corners = found[numbers]
    # Corridors, collections, and whatever comes near ±180° or a pole.
    others: list[tuple[int, Box]] = []
    for number in np.flatnonzero(np.isnan(found[:, 0])).tolist():
        theirs = Shape(fences[number]).boxes()
        others += [(number, box) for box in theirs]
        if rows[number, RADIUS] == ODD:
            rows[number, :4] = theirs[0] if len(theirs) == 1 else np.nan
    if others:
        numbers = np.concatenate((numbers, [number for number, _ in others]))
        corners = np.vstack((corners, [box for _, box in others]))
    return numbers, corners
