"""The question: where is this place, drawn: its outline among its neighbours, a scale and north.

An SVG of what the fences themselves say, so that a page needs no stranger's map, which would learn
who looks at it. Positions are laid flat round the middle of what is shown: over the few kilometres
of a venue that is off by less than a line is wide. Pure; it must not know who looks, nor why.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proximity.content.content import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from geofences import Fence

    Floats = npt.NDArray[np.float64]

__all__ = ["HEIGHT", "WIDTH", "draw", "reach_m"]

WIDTH, HEIGHT = 640, 400
"""Units of the drawing; a page shows it as wide as it is."""
MARGIN = 0.12
"""Of the drawing's height and width on either side of what it is about."""
LEAST_M = 60.0
"""Metres from side to side at least: a doorway alone would show nobody where it is."""
MOST_POINTS = 1500
"""Corners of one outline: what is nearer together than half a unit is one anyway."""
MOST_NEIGHBOURS = 60
MOST_CORNERS = 20_000
"""Corners of all neighbours together: some milliseconds, since whoever has the link may ask."""
MOST_LABELS = 8
_NO_RADIUS_M = 20.0  # a point without a radius is shown as a house would be
# Units that a letter of a neighbour's name takes, and one of the place's own, on average.
_LETTER, _BIG_LETTER = 7.6, 12.0
_EQUATOR_M = 6378137.0
_ECCENTRICITY_2 = 0.00669437999014


class _View(NamedTuple):
    """What part of the earth is shown: its middle in degrees, and units to a metre."""

    lon: float
    lat: float
    scale: float

    def points(self, coords: Floats) -> Floats:
        """Lay positions (degrees) onto the drawing."""
        east, north = _metres(coords, self.lon, self.lat)
        return np.column_stack((WIDTH / 2 + east * self.scale, HEIGHT / 2 - north * self.scale))


class _Box(NamedTuple):
    """Where a line of text stands, in units of the drawing."""

    west: float
    north: float
    east: float
    south: float

    @classmethod
    def about(cls, x: float, y: float, room: float) -> _Box:
        return cls(x - room / 2, y - 12.0, x + room / 2, y + 12.0)

    def meets(self, other: _Box) -> bool:
        across = self.west < other.east and other.west < self.east
        return across and self.north < other.south and other.north < self.south

    def is_shown(self) -> bool:
        return self.west > 0 and self.east < WIDTH and self.north > 0 and self.south < HEIGHT - 20


def draw(place: Fence, venue: Fence | None, around: Iterable[Fence], title: str) -> str:
    """Draw a place, the venue that it lies in, and its neighbours; ``title`` says what it shows.

    Gives an ``svg`` element that is styled by the page: its parts have classes.
    """
    view = _view([place] if venue is None else [place, venue])
    parts = [f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>']
    if venue is not None:
        parts += _shape(venue, view, "venue")
    x, y = _middle(place, view)
    below = _below(place, view, y)
    taken = [_Box.about(x, below - 5.0, len(_short(place.name)) * _BIG_LETTER)]
    labels: list[str] = []
    left = MOST_CORNERS
    for neighbour in list(around)[:MOST_NEIGHBOURS]:
        left -= sum(len(leaf.coords) for leaf in neighbour.geometry.leaves())
        if left < 0:
            break
        parts += _shape(neighbour, view, "near")
        if len(labels) < MOST_LABELS:
            labels += _label(neighbour, view, taken)
    parts += _shape(place, view, "place")
    parts += labels
    parts.append(f'<circle class="pin" cx="{x:.1f}" cy="{y:.1f}" r="7"/>')
    name = escape(_short(place.name))
    parts.append(f'<text class="name" x="{x:.1f}" y="{below:.1f}">{name}</text>')
    parts += _scale_bar(view)
    parts.append(
        f'<g class="north"><path d="M{WIDTH - 36} 58l10 -34 10 34 -10 -8z"/>'
        f'<text x="{WIDTH - 26}" y="76">N</text></g>'
    )
    return (
        f'<svg class="map" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def reach_m(place: Fence, venue: Fence | None) -> float:
    """Tell how far from the place's middle a drawing of it shows anything, in metres."""
    view = _view([place] if venue is None else [place, venue])
    return math.hypot(WIDTH, HEIGHT) / view.scale


def _view(fences: Sequence[Fence]) -> _View:
    """Choose what is shown: all of these fences, and some room about them."""
    lon, lat = fences[0].centre
    boxes = [_box(fence, lon, lat) for fence in fences]
    west, south = (min(box[side] for box in boxes) for side in (0, 1))
    east, north = (max(box[side] for box in boxes) for side in (2, 3))
    room = 1.0 - 2 * MARGIN
    scale = min(
        WIDTH * room / max(east - west, LEAST_M), HEIGHT * room / max(north - south, LEAST_M)
    )
    per_east, per_north = _per_degree(lat)
    middle_lat = min(max(lat + (south + north) / 2 / per_north, -89.9), 89.9)
    middle_lon = lon + (west + east) / 2 / per_east
    return _View((middle_lon + 180.0) % 360.0 - 180.0, middle_lat, scale)


def _box(fence: Fence, lon: float, lat: float) -> tuple[float, float, float, float]:
    """Give west, south, east and north of a fence in metres from a position."""
    radius = _radius(fence)
    found = [_metres(leaf.coords, lon, lat) for leaf in fence.geometry.leaves()]
    east = np.concatenate([one[0] for one in found])
    north = np.concatenate([one[1] for one in found])
    return (
        float(east.min()) - radius,
        float(north.min()) - radius,
        float(east.max()) + radius,
        float(north.max()) + radius,
    )


def _radius(fence: Fence) -> float:
    """Give what is added to a fence's geometry on every side, in metres."""
    areal = any("Polygon" in leaf.kind for leaf in fence.geometry.leaves())
    return fence.radius_m or (0.0 if areal else _NO_RADIUS_M)


def _per_degree(lat: float) -> tuple[float, float]:
    """Give the metres of a degree of longitude and of latitude there, on WGS 84."""
    bent = 1.0 - _ECCENTRICITY_2 * math.sin(math.radians(lat)) ** 2
    across = _EQUATOR_M / math.sqrt(bent)
    along = across * (1.0 - _ECCENTRICITY_2) / bent
    degree = math.pi / 180.0
    # At a pole a degree of longitude has no width; a thousandth of a metre keeps numbers finite.
    return max(across * math.cos(math.radians(lat)) * degree, 1e-3), along * degree


def _metres(coords: Floats, lon: float, lat: float) -> tuple[Floats, Floats]:
    """Give how far east and north of a position others lie, in metres, the short way round."""
    per_east, per_north = _per_degree(lat)
    turns = (coords[:, 0] - lon + 180.0) % 360.0 - 180.0
    return turns * per_east, (coords[:, 1] - lat) * per_north


def _shape(fence: Fence, view: _View, kind: str) -> Iterator[str]:
    """Write a fence's parts: areas as paths, points as circles, corridors as wide lines."""
    radius = _radius(fence) * view.scale
    for leaf in fence.geometry.leaves():
        if "Polygon" in leaf.kind:
            for rings in leaf.polygons():
                path = "".join(f"{_path(ring, view)}z" for ring in rings)
                yield f'<path class="{kind}" fill-rule="evenodd" d="{path}"/>'
        elif "Point" in leaf.kind:
            for x, y in view.points(leaf.coords)[:MOST_POINTS]:
                yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{max(radius, 3):.1f}"/>'
        else:
            for line in leaf.lines():
                yield (
                    f'<path class="{kind} way" stroke-width="{max(2 * radius, 3):.1f}" '
                    f'd="{_path(line, view)}"/>'
                )


def _path(coords: Floats, view: _View) -> str:
    """Write corners as a path, without those that nobody could tell apart."""
    points = np.round(view.points(coords) * 2.0) / 2.0
    moved = np.any(np.diff(points, axis=0, prepend=points[:1] - 1.0) != 0.0, axis=1)
    points = points[moved]
    points = points[:: max(1, math.ceil(len(points) / MOST_POINTS))]
    # What lies far outside is not seen: bounded numbers, whatever a neighbour's outline is.
    points = np.clip(points, -1e5, 1e5)
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _middle(fence: Fence, view: _View) -> tuple[float, float]:
    ((x, y),) = view.points(np.array([fence.centre]))
    return float(x), float(y)


def _below(fence: Fence, view: _View, y: float) -> float:
    """Tell where the name of a place stands: under its outline, else under its middle."""
    south = HEIGHT / 2 - _box(fence, view.lon, view.lat)[1] * view.scale
    return south + 22.0 if south - y < 0.25 * HEIGHT else y + 30.0


def _label(fence: Fence, view: _View, taken: list[_Box]) -> Iterator[str]:
    """Write a neighbour's name where it fits into its outline and the drawing, and is alone."""
    name = _short(fence.name)
    west, _, east, _ = _box(fence, view.lon, view.lat)
    x, y = _middle(fence, view)
    room = len(name) * _LETTER
    box = _Box.about(x, y, room)
    fits = name and room < (east - west) * view.scale
    if fits and box.is_shown() and not any(box.meets(other) for other in taken):
        taken.append(box)
        yield f'<text class="beside" x="{x:.1f}" y="{y + 5:.1f}">{escape(name)}</text>'


def _short(name: str) -> str:
    name = plain(name)
    return name if len(name) <= 32 else f"{name[:31]}…"


def _scale_bar(view: _View) -> Iterator[str]:
    """Draw a bar of a round number of metres, at most three tenths of the drawing long."""
    most = 0.3 * WIDTH / view.scale
    power = 10.0 ** math.floor(math.log10(most))
    metres = next(step * power for step in (5.0, 2.0, 1.0) if step * power <= most)
    length = metres * view.scale
    said = f"{metres:g} m" if metres < 1000.0 else f"{metres / 1000.0:g} km"
    y = HEIGHT - 22
    yield f'<path class="scale" d="M20 {y - 6}v6h{length:.1f}v-6"/>'
    yield f'<text class="metres" x="20" y="{y - 12}">{said}</text>'
