"""Who is where, and what do we say to them? The engine's public face (contract 8)."""

from beacon_gateway.model import Beacon, Sighting
from proximity.engine import Engine
from proximity.model import Event, Fix, ProximityError, Transition
from proximity.registry import Site
from proximity.sitefile import load_site, parse_site

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
