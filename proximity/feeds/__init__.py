"""The feeds: a file for each family of wire formats, and the table that names them all."""

from proximity.feeds import (
    aprilbrother,
    espresense,
    gpslogger,
    ingics,
    minew,
    native,
    osmand,
    overland,
    owntracks,
    raddec,
    ruuvi,
    theengs,
    transistor,
)
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
        minew.MINEW,
        aprilbrother.APRILBROTHER,
        ruuvi.RUUVI,
        ingics.INGICS,
        raddec.RADDEC,
        espresense.ESPRESENSE,
        theengs.THEENGS,
    )
}
