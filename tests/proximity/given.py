"""Named, ordinary things that the tests of the way out start from: a café, a person, a trigger."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from proximity.campaigns.campaigns import Campaign, Campaigns, PlaceFacts
from proximity.campaigns.form import parse_campaigns
from proximity.gates.gates import Candidate
from proximity.model import Consent, Offer, Person, Trigger
from proximity.windows import Window, parse_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

PARIS = "Europe/Paris"


def when(text: str, zone: str = PARIS, fold: int = 0) -> float:
    """Unix seconds of what a clock on the wall of ``zone`` shows."""
    naive = datetime.fromisoformat(text)
    return naive.replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


NOON = when("2026-01-06 12:00")  # a Tuesday


def windows(*spans: str, days: Sequence[str] | None = None) -> tuple[Window, ...]:
    """Windows from spans such as ``22:00-07:00``, on all days unless named."""
    tables = []
    for span in spans:
        start, _, end = span.partition("-")
        tables.append({"from": start, "to": end} | ({"days": list(days)} if days else {}))
    found, problems = parse_windows(tables, "windows")
    assert problems == []
    return found


CAFE = PlaceFacts(id="cafe-1", name="Café du Nord", tags=("cafe",), timezone=PARIS)

COFFEE = Campaign(
    id="coffee",
    on="enter",
    purpose="marketing",
    places=frozenset({"cafe-1"}),
    channels=("console",),
    max_age_s=120.0,
    link="https://example.test/coffee",
    text={"en": "Coffee at {place}", "fr": "Un café au {place}"},
)

ANNA = Person(
    person="anna",
    subjects=("phone-a",),
    consents=(Consent(purpose="marketing"),),
    timezone=PARIS,
    languages=("fr",),
)


def trigger(**changes: Any) -> Trigger:
    fields: dict[str, Any] = {
        "id": "t1", "campaign": "coffee", "version": 1, "person": "anna", "subject": "phone-a",
        "place": "cafe-1", "visit": "v1", "kind": "enter", "at": NOON, "decided_at": NOON,
        "evidence_at": NOON,
    }  # fmt: skip
    return Trigger(**fields | changes)


def rules(*campaigns: Campaign, **changes: Any) -> Campaigns:
    return Campaigns(campaigns={c.id: c for c in campaigns or (COFFEE,)}, **changes)


def candidate(**changes: Any) -> Candidate:
    """A candidate that every gate lets pass, but for the changes."""
    fields: dict[str, Any] = {
        "trigger": trigger(), "campaign": COFFEE, "rules": rules(), "place": CAFE, "person": ANNA,
        "now": NOON,
    }  # fmt: skip
    return Candidate(**fields | changes)


def offer(**changes: Any) -> Offer:
    fields: dict[str, Any] = {
        "key": "k1", "campaign": "coffee", "person": "anna", "subject": "phone-a",
        "place": "cafe-1", "purpose": "marketing", "channel": "console",
        "text": "Un café au Café du Nord", "language": "fr", "link": "https://example.test/coffee",
        "created_at": NOON, "expires_at": NOON + 120.0,
    }  # fmt: skip
    return Offer(**fields | changes)


LEAST = """
[[campaign]]
id = "coffee"
purpose = "marketing"                # or "service"
on = "enter"                         # enter | dwell | exit | pass
places = ["store-7"]                 # or tags = ["cafe"]
hours = [{ days = ["mon", "tue"], from = "08:00", to = "11:00" }]   # local to the place
max_age_s = 120                      # older triggers send nothing
cooldown_s = 86400
link = "https://example.test/coffee"
channels = ["console"]
[campaign.text]
en = "Coffee, half price until eleven."
"""
"""The least form of the contract, as it stands there."""

FULL = """
link_hosts = ["example.test"]

[quiet_hours]
from = "22:00"
to = "07:00"

[[cap]]
purpose = "marketing"
count = 2
window_s = 86400

[[cap]]
count = 5
window_s = 604800

[channel.webhook]
url = "https://hooks.example.test/offers"
secret_env = "OFFER_SECRET"

[[campaign]]
id = "linger"
purpose = "service"
on = "dwell"
dwell_s = 60
tags = ["cafe", "bar"]
version = 3
active = false
valid_from = 2026-01-01T00:00:00Z
valid_until = "2026-12-31T23:59:59+01:00"
ttl_s = 600
defer = true
priority = 2
channels = ["webhook", "console"]
link = "https://example.test/{place}"
text = { en = "Stay at {place}: {link}", "pt-BR" = "Fique" }
"""
"""Every key there is."""


def coffee() -> Campaigns:
    return parse_campaigns(LEAST, "campaigns.toml")
