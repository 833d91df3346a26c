"""Where was somebody, on a map: fences, fixes, the way with its times, what was decided where.

One part of a picture of ``drawing``: degrees become points by a plane about the way, in which some
kilometres are as good as on any map.
"""

from __future__ import annotations

from math import ceil, cos, floor, log10, radians
from typing import TYPE_CHECKING

from simulator.ink import (
    BLUE,
    GREY,
    MARGIN,
    MOST_NAMED,
    ORANGE,
    WIDTH,
    clock,
    shape,
    step_of,
    text,
    thinned,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geofences import Fence
    from simulator.drawing import Picture

__all__ = ["draw_map"]

LEAST_MAP, MOST_MAP = 240.0, 560.0
METRES_PER_DEGREE = 111_195.0


class _View:
    """Degrees to points of the drawing: metres east and north about the middle, one scale."""

    def __init__(self, points: Sequence[tuple[float, float]], top: float) -> None:
        self.lon0, self.lat0 = points[0]
        self._east = METRES_PER_DEGREE * max(cos(radians(self.lat0)), 1e-3)
        flat = [self.metres(lon, lat) for lon, lat in points]
        west, east = min(x for x, _ in flat), max(x for x, _ in flat)
        south, north = min(y for _, y in flat), max(y for _, y in flat)
        room = 0.06 * max(east - west, north - south, 40.0)
        wide, high = east - west + 2.0 * room, north - south + 2.0 * room
        self.width = WIDTH - 2.0 * MARGIN
        self.height = min(max(self.width * high / wide, LEAST_MAP), MOST_MAP)
        self.scale = min(self.width / wide, self.height / high)
        self._middle = (west + east) / 2.0, (south + north) / 2.0
        self.top = top

    def metres(self, lon: float, lat: float) -> tuple[float, float]:
        """Give metres east and north of the first point, the short way round."""
        east = (lon - self.lon0 + 180.0) % 360.0 - 180.0
        return east * self._east, (lat - self.lat0) * METRES_PER_DEGREE

    def point(self, lon: float, lat: float) -> tuple[float, float]:
        """Give the point of the drawing."""
        x, y = self.metres(lon, lat)
        return (
            MARGIN + self.width / 2.0 + (x - self._middle[0]) * self.scale,
            self.top + self.height / 2.0 - (y - self._middle[1]) * self.scale,
        )

    def shows(self, x: float, y: float, reach: float = 0.0) -> bool:
        """Whether a point of the drawing lies on the map, or within ``reach`` of it."""
        return (
            MARGIN - reach <= x <= MARGIN + self.width + reach
            and self.top - reach <= y <= self.top + self.height + reach
        )


def draw_map(out: list[str], picture: Picture, top: float) -> float:
    """Draw the map with its upper edge at ``top``; give its height."""
    places = {panel.place for panel in picture.panels}
    shown = [(lon, lat) for _, lon, lat in (*picture.way, *picture.fixes)]
    for fence in picture.fences:
        if fence.id in places:
            shown += _extent(fence)
    view = _View(shown, top)
    out.append(
        f'<clipPath id="map"><rect x="{MARGIN:g}" y="{top:g}" width="{view.width:g}" '
        f'height="{view.height:.1f}"/></clipPath>'
    )
    out.append(
        f'<rect x="{MARGIN:g}" y="{top:g}" width="{view.width:g}" height="{view.height:.1f}" '
        f'fill="#F7F7F5" stroke="#BBB"/>\n<g clip-path="url(#map)">'
    )
    names = _fences(out, picture.fences, view)
    for _, lon, lat in thinned(picture.fixes):
        x, y = view.point(lon, lat)
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8" fill="{GREY}" fill-opacity="0.6"/>')
    line = " ".join(
        f"{x:.1f},{y:.1f}" for x, y in (view.point(*at) for _, *at in thinned(picture.way))
    )
    out.append(
        f'<polyline points="{line}" fill="none" stroke="{BLUE}" stroke-width="1.8" '
        'stroke-linejoin="round"/>'
    )
    _clock_on_way(out, picture, view)
    out += names
    for mark in picture.marks:
        if mark.lon is not None and mark.lat is not None:
            out.append(shape(mark, *view.point(mark.lon, mark.lat)))
    out.append("</g>")
    _scale_bar(out, view)
    return view.height


def _fences(out: list[str], fences: Sequence[Fence], view: _View) -> list[str]:
    """Draw the outlines; give the names, to be laid over everything else."""
    names: list[str] = []
    for fence in fences:
        for leaf in fence.geometry.leaves():
            radius = (fence.radius_m or 0.0) * view.scale
            style = f'fill="{ORANGE}" fill-opacity="0.16" stroke="#8A5A00" stroke-width="1.2"'
            if fence.exclude:
                style += ' stroke-dasharray="5 3"'
            if leaf.kind in {"Point", "MultiPoint"}:
                for lon, lat, *_ in leaf.coords.tolist():
                    x, y = view.point(lon, lat)
                    out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" {style}/>')
                continue
            lines = [
                [view.point(lon, lat) for lon, lat, *_ in line.tolist()] for line in leaf.lines()
            ]
            path = " ".join("M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in line) for line in lines)
            if leaf.kind in {"LineString", "MultiLineString"}:
                out.append(
                    f'<path d="{path}" fill="none" stroke="{ORANGE}" stroke-opacity="0.3" '
                    f'stroke-width="{2.0 * radius:.1f}" stroke-linecap="round" '
                    'stroke-linejoin="round"/>'
                )
            else:
                out.append(f'<path d="{path} Z" fill-rule="evenodd" {style}/>')
        x, y = view.point(*fence.centre)
        if len(names) < MOST_NAMED and view.shows(x, y):
            # By the upper edge: the middle is where people are.
            heights = [view.point(lon, lat)[1] for lon, lat in _extent(fence)]
            small = max(heights) - min(heights) < 50.0
            y = max(min(heights), view.top) + (-5.0 if small else 14.0)
            names.append(text(x, y, fence.name or fence.id, anchor="middle", halo=True))
    return names


def _extent(fence: Fence) -> list[tuple[float, float]]:
    """Give points that a view of a fence must hold."""
    found: list[tuple[float, float]] = []
    for leaf in fence.geometry.leaves():
        rows = leaf.coords.tolist()
        for lon, lat, *_ in rows:
            reach = (fence.radius_m or 0.0) / METRES_PER_DEGREE
            found += [(lon, lat - reach), (lon, lat + reach)]
            wide = reach / max(cos(radians(lat)), 1e-3)
            found += [(lon - wide, lat), (lon + wide, lat)]
    return found


def _clock_on_way(out: list[str], picture: Picture, view: _View) -> None:
    """Write the time beside the way now and then, where the last one is far enough."""
    step, form = step_of(picture.begins, picture.ends)
    due = ceil(picture.begins / step) * step
    written: list[tuple[float, float]] = []
    for at, lon, lat in picture.way:
        if at < due:
            continue
        due = (floor(at / step) + 1.0) * step
        x, y = view.point(lon, lat)
        if all(abs(x - a) > 60.0 or abs(y - b) > 16.0 for a, b in written):
            written.append((x, y))
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{BLUE}" stroke="#fff"/>')
            out.append(text(x + 6.0, y - 5.0, clock(at, form), size=10, colour=BLUE, halo=True))


def _scale_bar(out: list[str], view: _View) -> None:
    most = 160.0 / view.scale
    ten = 10.0 ** floor(log10(most))
    metres = next(ten * part for part in (5.0, 2.0, 1.0) if ten * part <= most)
    long = metres * view.scale
    x, y = MARGIN + 14.0, view.top + view.height - 14.0
    words = f"{metres:g} m" if metres < 1000.0 else f"{metres / 1000.0:g} km"
    out.append(
        f'<path d="M{x:.1f},{y - 5:.1f} V{y:.1f} H{x + long:.1f} V{y - 5:.1f}" fill="none" '
        'stroke="#000" stroke-width="1.5"/>'
    )
    out.append(text(x + long / 2.0, y - 6.0, words, anchor="middle", halo=True))
    x, y = MARGIN + view.width - 18.0, view.top + 16.0
    out.append(f'<path d="M{x:.1f},{y:.1f} l5,15 l-5,-4 l-5,4 Z" fill="#000"/>')
    out.append(text(x, y + 28.0, "N", anchor="middle", halo=True))
