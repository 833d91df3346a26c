"""What would anyone use instead? Each peer as good as plain use of its library makes it.

``contains_xy`` does not count boundary points and is what people reach for: it is what is timed.
``intersects_xy`` counts them, as the index does: answers are compared with that.
"""

from __future__ import annotations

from collections.abc import Iterable

import geopandas
import numpy as np
import numpy.typing as npt
import rtree.index
import shapely

from benchmarks.workloads import Floats
from proximity import Fix

Ints = npt.NDArray[np.int64]
Pairs = tuple[Ints, Ints]


class Tree:
    """shapely: STRtree for candidates, prepared polygons, one vectorised test of all of them."""

    def __init__(self, polygons: npt.NDArray[np.object_]) -> None:
        self.polygons = polygons
        shapely.prepare(polygons)
        self.tree = shapely.STRtree(polygons)

    def locate_many(self, lons: Floats, lats: Floats) -> Pairs:
        return self.locate_points(shapely.points(lons, lats), lons, lats)

    def locate_points(self, made: npt.NDArray[np.object_], lons: Floats, lats: Floats) -> Pairs:
        """The same where somebody has made the point objects already."""
        points, found = self.tree.query(made)
        kept = shapely.contains_xy(self.polygons[found], lons[points], lats[points])
        return points[kept], found[kept]

    def holding(self, lons: Floats, lats: Floats) -> Pairs:
        """The same with boundary points, to compare answers with."""
        points, found = self.tree.query(shapely.points(lons, lats))
        kept = shapely.intersects_xy(self.polygons[found], lons[points], lats[points])
        return points[kept], found[kept]


class Join:
    """geopandas: a spatial join of a table of points with a table of fences."""

    def __init__(self, polygons: npt.NDArray[np.object_]) -> None:
        self.fences = geopandas.GeoDataFrame(geometry=polygons)

    def locate_many(self, lons: Floats, lats: Floats) -> object:
        points = geopandas.GeoDataFrame(geometry=geopandas.points_from_xy(lons, lats))
        return geopandas.sjoin(points, self.fences, predicate="within")


class Loop:
    """The obvious loop: an R-tree of boxes, a prepared test for each candidate, who was where."""

    def __init__(self, polygons: npt.NDArray[np.object_]) -> None:
        self.polygons = list(polygons)
        shapely.prepare(polygons)
        west, south, east, north = shapely.bounds(polygons).T
        corners = np.column_stack([west, south]), np.column_stack([east, north])
        self.tree = rtree.index.Index((np.arange(len(polygons)), *corners))
        self.where: dict[str, frozenset[int]] = {}

    def locate(self, lon: float, lat: float) -> list[int]:
        near = self.tree.intersection((lon, lat, lon, lat))
        return [n for n in near if shapely.contains_xy(self.polygons[n], lon, lat)]

    def on_fixes(self, fixes: Iterable[Fix]) -> list[tuple[str, str, int, float]]:
        """Give (kind, subject, fence, time) of everyone who came or went."""
        out = []
        for fix in fixes:
            now = frozenset(self.locate(fix.lon, fix.lat))
            before = self.where.get(fix.subject, frozenset())
            if now != before:
                self.where[fix.subject] = now
                out += [("exit", fix.subject, n, fix.at) for n in before - now]
                out += [("enter", fix.subject, n, fix.at) for n in now - before]
        return out
