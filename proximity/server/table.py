"""The route table: every row of every resource, and nothing that is not in it is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proximity.server.alarms import ROUTES as ALARMS
from proximity.server.beacons import ROUTES as BEACONS
from proximity.server.campaigns import ROUTES as CAMPAIGNS
from proximity.server.changes import ROUTES as CHANGES
from proximity.server.consents import ROUTES as CONSENTS
from proximity.server.endpoints import ROUTES as ENDPOINTS
from proximity.server.erasures import ROUTES as ERASURES
from proximity.server.events import ROUTES as EVENTS
from proximity.server.explaining import ROUTES as EXPLAINING
from proximity.server.fences import ROUTES as FENCES
from proximity.server.gateways import ROUTES as GATEWAYS
from proximity.server.health import ROUTES as HEALTH
from proximity.server.inbox import ROUTES as INBOX
from proximity.server.inboxlink import ROUTES as INBOX_LINK
from proximity.server.inboxstream import ROUTES as INBOX_STREAM
from proximity.server.ledger import ROUTES as LEDGER
from proximity.server.objections import ROUTES as OBJECTIONS
from proximity.server.onsite import ROUTES as ON_SITE
from proximity.server.opening import ROUTES as OPENING
from proximity.server.optins import ROUTES as OPTINS
from proximity.server.people import ROUTES as PEOPLE
from proximity.server.places import ROUTES as PLACES
from proximity.server.preferencepage import ROUTES as PREFERENCE_PAGE
from proximity.server.preferences import ROUTES as PREFERENCES
from proximity.server.privacy import ROUTES as PRIVACY
from proximity.server.reaching import ROUTES as REACHING
from proximity.server.receipts import ROUTES as RECEIPTS
from proximity.server.recording import ROUTES as RECORDING
from proximity.server.records import ROUTES as RECORDS
from proximity.server.reports import ROUTES as REPORTS
from proximity.server.segments import ROUTES as SEGMENTS
from proximity.server.sending import ROUTES as SENDING
from proximity.server.standing import ROUTES as STANDING
from proximity.server.stream import ROUTES as STREAM
from proximity.server.webclient import ROUTES as WEB_CLIENT
from proximity.server.withdrawal import ROUTES as WITHDRAWAL

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
    *SEGMENTS,
    *REPORTS,
    *SENDING,
    *PEOPLE,
    *CHANGES,
    *REACHING,
    *PREFERENCES,
    *PREFERENCE_PAGE,
    *ENDPOINTS,
    *EVENTS,
    *ERASURES,
    *PRIVACY,
    *CONSENTS,
    *OBJECTIONS,
    *OPTINS,
    *INBOX,
    *INBOX_LINK,
    *INBOX_STREAM,
    *ON_SITE,
    *WITHDRAWAL,
    *OPENING,
    *RECEIPTS,
    *STANDING,
    *LEDGER,
    *EXPLAINING,
    *STREAM,
    *WEB_CLIENT,
    *HEALTH,
)
