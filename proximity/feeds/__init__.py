"""The feeds: a file for each family of wire formats, and the table that names them all."""

from proximity.feeds import gpslogger, native, osmand, overland, owntracks, transistor
from proximity.feeds.model import Answer, Decoded, Format, Incoming, Rejected

__all__ = ["FORMATS", "Answer", "Decoded", "Format", "Incoming", "Rejected"]

FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        native.FIXES,
        native.SIGHTINGS,
        native.EVENTS,
        owntracks.OWNTRACKS,
        overland.OVERLAND,
        transistor.TRANSISTOR,
        osmand.OSMAND,
        gpslogger.GPSLOGGER,
    )
}
