"""The route table: every row of every resource, and nothing that is not in it is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proximity.server.campaigns import ROUTES as CAMPAIGNS
from proximity.server.consents import ROUTES as CONSENTS
from proximity.server.fences import ROUTES as FENCES
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
    *CAMPAIGNS,
    *PEOPLE,
    *CONSENTS,
    *LEDGER,
    *STREAM,
    *HEALTH,
)
