"""What is heard here? Beacons, sightings of them, and how loud they really are."""

from beacon_gateway.adverts import decode_line, decode_manufacturer, decode_payload, decode_service
from beacon_gateway.model import Beacon, GatewayError, Sighting

__all__ = [
    "Beacon",
    "GatewayError",
    "Sighting",
    "decode_line",
    "decode_manufacturer",
    "decode_payload",
    "decode_service",
]
