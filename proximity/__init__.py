"""Who is where, and what do we say to them? The engine's public face (contract 8).

A name loads when it is first asked for: a command of a base installation, which lacks numpy and
GEOS, can then still start and say what to install.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beacon_gateway.model import Beacon, Sighting
    from proximity.engine.engine import Engine
    from proximity.model import Event, Fix, ProximityError, Transition
    from proximity.site.registry import Site
    from proximity.site.sitefile import load_site, parse_site

__all__ = [
    "Beacon",
    "Engine",
    "Event",
    "Fix",
    "ProximityError",
    "Sighting",
    "Site",
    "Transition",
    "load_site",
    "parse_site",
]

_HOMES = {
    "beacon_gateway.model": ("Beacon", "Sighting"),
    "proximity.engine.engine": ("Engine",),
    "proximity.model": ("Event", "Fix", "ProximityError", "Transition"),
    "proximity.site.registry": ("Site",),
    "proximity.site.sitefile": ("load_site", "parse_site"),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        for module, names in _HOMES.items():
            if name in names:
                value = globals()[name] = getattr(import_module(module), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
