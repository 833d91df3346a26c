"""How many candidates a second does ``decide`` judge on one core, all evidence kept?

200 campaigns as a chain of 50 shops may have them, 2,000 people with consents, zones, sends, and
some with purchases and preferences, who come into shops; judged in batches of 100, as the
dispatcher does. Gathering what a candidate is judged by (the store) is not counted.
"""

from __future__ import annotations

import random
import time

import msgspec
from msgspec.structs import replace

from benchmarks.timing import Check, Found, Row, Scale, rates, ratios
from proximity.campaigns.campaigns import Campaign, Campaigns, PlaceFacts
from proximity.campaigns.form import parse_campaigns
from proximity.gates import gates
from proximity.gates.candidates import Candidate, Send
from proximity.model import Consent, Hours, Person, Preference, Trigger, digest
from proximity.people.facts import Happened, Profile, Stay
from proximity.server.pauses import kept_short
from proximity.windows import parse_windows

SEED = 6
CAMPAIGNS = 200
PEOPLE = 2000
PLACES = 50
BATCH = 100
WARM_UP = 60  # batches: every campaign has been read in every language
BEGIN = 1_767_600_000.0  # 2026-01-05 08:00 UTC, a Monday
LEAST = 50_000.0
ZONES = ("Europe/Paris", "Europe/Lisbon", "America/St_Johns", "Asia/Tokyo")

TOP = """
holidays = "FR"
quiet_hours = [{ from = "22:00", to = "07:00" }, { days = ["sun"], from = "07:00", to = "10:00" }]
[contest]
winners = 1
least_value = 0.1
[[cap]]
purpose = "marketing"
count = 3
per = "day"
[[cap]]
count = 10
window_s = 604800
[[stock]]
id = "coupons"
count = 1000000
[[segment]]
id = "regulars"
all = [
    { visited = "store-1", within_s = 2592000 },
    { attribute = "tier", one_of = ["gold", "silver"] },
]
"""
ONE = """
[[campaign]]
id = "c{number}"
purpose = "marketing"
on = "enter"
places = ["store-{place}"]
channels = ["webhook", "console"]
max_age_s = 600
cooldown_s = 86400
priority = {priority}
link = "https://example.test/{{place}}"
topic = "food"
{more}
[campaign.text]
en = "Offer {number} at {{place}}"
fr = "Offre {number} chez {{place}}"
"""
MORE = (
    "",
    'hours = [{ days = ["mon", "tue", "wed"], from = "07:00", to = "20:00" }]',
    'dayparts = [{ from = "07:00", to = "11:00" }]\nmin_confidence = 0.6',
    'audience = "regulars"',
    'product = "club-sandwich"\ncontrary = ["meatballs"]',
    'stock = ["coupons"]\nplace_cooldown_s = 604800\nonce_per_visit = true',
    'caps = [{ count = 1, per = "week" }]\nvalid_until = 2026-12-31T23:00:00Z',
    'context = [{ tags = ["shop"] }, { event = "search", within_s = 3600 }]',
)


def campaigns() -> Campaigns:
    """Two hundred campaigns, an eighth of each kind."""
    written = [
        ONE.format(number=n, place=n % PLACES, priority=n % 5, more=MORE[n % len(MORE)])
        for n in range(CAMPAIGNS)
    ]
    return parse_campaigns(TOP + "".join(written), "benchmark")


class Street:
    """Who comes into which shop, batch after batch; the same seed gives the same people."""

    def __init__(self) -> None:
        self.dice = random.Random(SEED)
        self.rules = campaigns()
        self.places = [_place(number) for number in range(PLACES)]
        self.people = [_person(number, self.dice) for number in range(PEOPLE)]
        self.now = BEGIN
        self.at_place: dict[str, list[Campaign]] = {}
        for campaign in self.rules.campaigns.values():
            for place in campaign.places:
                self.at_place.setdefault(place, []).append(campaign)

    def batch(self) -> list[Candidate]:
        """Make the next candidates: somebody enters a shop, and all its campaigns are some."""
        self.now += 10.0
        made: list[Candidate] = []
        while len(made) < BATCH:
            place = self.places[self.dice.randrange(PLACES)]
            person, profile, sends = self.people[self.dice.randrange(PEOPLE)]
            moment = f"{self.now}-{len(made)}"
            age_s = self.dice.uniform(1.0, 700.0 if self.dice.random() < 0.05 else 30.0)
            sure = self.dice.uniform(0.5, 1.0)
            earlier = tuple(replace(send, at=self.now - send.at) for send in sends)
            for campaign in self.at_place[place.id]:
                trigger = Trigger(
                    id=digest(moment, campaign.id),
                    campaign=campaign.id,
                    version=1,
                    person=person.person,
                    subject=person.subjects[0],
                    place=place.id,
                    visit=moment,
                    kind="enter",
                    at=self.now - age_s,
                    decided_at=self.now - age_s + 1.0,
                    evidence_at=self.now - age_s,
                    confidence=sure,
                    moment=moment,
                )
                made.append(
                    Candidate(
                        trigger=trigger,
                        campaign=campaign,
                        rules=self.rules,
                        place=place,
                        person=person,
                        now=self.now,
                        sends=earlier,
                        profile=profile,
                        stock_left=dict.fromkeys(campaign.stock, 100),
                    )
                )
        return made


def _place(number: int) -> PlaceFacts:
    opened, _ = parse_windows([{"from": "06:00", "to": "22:00"}], "active")
    return PlaceFacts(
        id=f"store-{number}",
        name=f"Store {number}",
        tags=("shop",),
        venue_tags=("mall", "shop"),
        parents=(f"mall-{number // 10}",),
        timezone=ZONES[number % len(ZONES)],
        active=opened,
    )


def _person(number: int, dice: random.Random) -> tuple[Person, Profile, list[Send]]:
    """A person, what they did, and their sends, whose times are still seconds ago."""
    wants: tuple[Preference, ...] = ()
    if number % 10 == 0:
        night = (Hours("21:00", "09:00"),)
        wants = (Preference(topic="toys", allow=False), Preference(hours=night, allow=False))
    person = Person(
        person=f"p{number}",
        subjects=(f"s{number}",),
        consents=(
            Consent(purpose="service"),
            Consent(purpose="marketing", channel="console", since=BEGIN - 1e6),
        ),
        timezone=ZONES[number % len(ZONES)] if number % 3 else None,
        languages=("fr", "en") if number % 2 else ("en",),
        attributes={"tier": dice.choice(("gold", "silver", "none")), "age_band": "18+"},
        preferences=wants,
    )
    events = tuple(
        Happened("purchase", BEGIN - 1000.0 * n, {"product": dice.choice(("club-sandwich", "tea"))})
        for n in range(dice.randrange(6), 0, -1)
    )
    visits = tuple(
        Stay(f"v{n}", f"store-{dice.randrange(3)}", BEGIN - 86400.0 * n, BEGIN - 86000.0 * n)
        for n in range(dice.randrange(6), 0, -1)
    )
    sends = [
        Send(
            digest(number, n),
            f"c{dice.randrange(CAMPAIGNS)}",
            "marketing",
            dice.uniform(0.0, 604800.0),
            "store-1",
            f"v{n}",
            "console",
        )
        for n in range(dice.randrange(4))
    ]
    return person, Profile(events, visits), sends


def decisions(scale: Scale) -> Found:
    """Judge batch after batch; beside it, what writing the same decisions down takes.

    Batches are made between the clock's runs, as a dispatcher gathers what it judges next. It is
    the processor's time that is taken: on a machine that others use too, waiting is not judging.
    """
    with kept_short():  # as in the server
        return _decisions(scale)


def _decisions(scale: Scale) -> Found:
    batches = max(scale.points // 5000, 40)
    street = Street()
    made = [one for _ in range(WARM_UP) for one in street.batch()]
    differences = sum(gates.decide(one) != gates.ask(one) for one in made)
    judging: list[float] = []
    writing: list[float] = []
    judged = sent = 0
    for _ in range(scale.rounds):
        judging.append(0.0)
        writing.append(0.0)
        judged = sent = 0
        for _ in range(batches):
            batch = street.batch()
            began = time.process_time()
            done = [gates.decide(one) for one in batch]
            between = time.process_time()
            for one in done:
                msgspec.json.encode(one.to_record())
            writing[-1] += time.process_time() - between
            judging[-1] += between - began
            judged += len(batch)
            sent += sum(one.reason is None for one in done)
    what = f"decide(): {CAMPAIGNS} campaigns, {len(gates.GATES)} gates, one core"
    note = f"{judged:,} candidates of {PEOPLE:,} people, {100 * sent / judged:.0f} % sent"
    return Found(
        rows=[
            Row(
                what=what,
                against="",
                unit="candidates a second",
                values=rates(judged, judging),
                least=LEAST,
                note=note,
            ),
            Row(
                what=what,
                against="writing the decisions as JSON",
                unit="times as fast",
                values=ratios(judging, writing),
            ),
        ],
        checks=[Check("decisions, against every gate asked anew", len(made), differences)],
    )
