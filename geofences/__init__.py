"""Where is this point? Fences from GeoJSON, and an exact index over them.

A name loads when it is first asked for: a command of a base installation, which lacks numpy and
GEOS, can then still start and say what to install.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geofences.geojson import Loaded, dumps, load, loads
    from geofences.index import FenceIndex
    from geofences.model import Fence, GeofenceError, Geometry, Problem, Window

__all__ = [
    "Fence",
    "FenceIndex",
    "GeofenceError",
    "Geometry",
    "Loaded",
    "Problem",
    "Window",
    "dumps",
    "load",
    "loads",
]

_HOMES = {
    "geofences.geojson": ("Loaded", "dumps", "load", "loads"),
    "geofences.index": ("FenceIndex",),
    "geofences.model": ("Fence", "GeofenceError", "Geometry", "Problem", "Window"),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        for module, names in _HOMES.items():
            if name in names:
                value = globals()[name] = getattr(import_module(module), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
