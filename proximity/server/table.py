"""The route table: every row of every resource, and nothing that is not in it is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proximity.server.alarms import ROUTES as ALARMS
from proximity.server.beacons import ROUTES as BEACONS
from proximity.server.campaigns import ROUTES as CAMPAIGNS
from proximity.server.consents import ROUTES as CONSENTS
from proximity.server.fences import ROUTES as FENCES
from proximity.server.gateways import ROUTES as GATEWAYS
from proximity.server.health import ROUTES as HEALTH
from proximity.server.ledger import ROUTES as LEDGER
from proximity.server.people import ROUTES as PEOPLE
from proximity.server.places import ROUTES as PLACES
from proximity.server.recording import ROUTES as RECORDING
from proximity.server.records import ROUTES as RECORDS
from proximity.server.stream import ROUTES as STREAM

if TYPE_CHECKING:
    from proximity.server.routes import Route

TABLE: tuple[Route, ...] = (
    *RECORDS,
    *RECORDING,
    *FENCES,
    *PLACES,
    *GATEWAYS,
    *BEACONS,
    *ALARMS,
    *CAMPAIGNS,
    *PEOPLE,
    *CONSENTS,
    *LEDGER,
    *STREAM,
    *HEALTH,
)
