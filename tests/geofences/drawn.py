"""Fences as people draw them, for tests."""

from __future__ import annotations

import json
from typing import Any

import geofences


def feature(geometry: dict[str, Any], fence_id: str = "a", **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "id": fence_id, "properties": properties, "geometry": geometry}


def polygon(*rings: list[list[float]], fence_id: str = "a", **properties: Any) -> dict[str, Any]:
    return feature({"type": "Polygon", "coordinates": list(rings)}, fence_id, **properties)


def box(
    west: float, south: float, east: float, north: float, fence_id: str = "a", **properties: Any
) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return polygon(ring, fence_id=fence_id, **properties)


def circle(lon: float, lat: float, radius_m: float, fence_id: str = "a") -> dict[str, Any]:
    return feature({"type": "Point", "coordinates": [lon, lat]}, fence_id, radius_m=radius_m)


def line(coords: list[list[float]], radius_m: float, fence_id: str = "a") -> dict[str, Any]:
    return feature({"type": "LineString", "coordinates": coords}, fence_id, radius_m=radius_m)


def text(*features: Any) -> str:
    return json.dumps({"type": "FeatureCollection", "features": list(features)})


def fences(*features: Any) -> list[geofences.Fence]:
    return geofences.loads(text(*features)).fences


def index(*features: Any) -> geofences.FenceIndex:
    return geofences.FenceIndex(fences(*features))


def faults(*features: Any) -> list[str]:
    """The problems of features that must be refused, as `check` prints them."""
    try:
        geofences.loads(text(*features))
    except geofences.GeofenceError as error:
        return [str(problem) for problem in error.problems if not problem.advice]
    return []


def advice(*features: Any) -> list[str]:
    return [str(p) for p in geofences.loads(text(*features)).problems if p.advice]
