"""What holds for every candidate: of the gates, their order, deferrals and caps."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from proximity.campaigns.calendars import Calendar
from proximity.campaigns.campaigns import (
    Age,
    Campaign,
    Campaigns,
    Cap,
    Circumstance,
    Contest,
    Daypart,
    PlaceFacts,
)
from proximity.campaigns.purposes import PURPOSES, presses
from proximity.gates.gates import GATES, Candidate, Rival, Send, ask, decide, make_offer
from proximity.model import Consent, Hours, Person, Preference, Verdict
from proximity.people.facts import Happened, Profile, Stay
from proximity.windows import Window, within
from tests.proximity.given import CAFE, COFFEE, trigger, when

# How long an example takes says nothing on a machine that others use too.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ZONES = [
    "Europe/Paris", "America/St_Johns", "Pacific/Kiritimati", "Asia/Tokyo", "Australia/Lord_Howe",
]  # fmt: skip
# The weeks in which clocks change, and any day of the years around.
BEGIN, END = when("2025-12-01 00:00", "UTC"), when("2027-01-31 00:00", "UTC")
CHANGES = [
    when(day, "UTC")
    for day in ("2026-03-08", "2026-03-29", "2026-04-04", "2026-10-03", "2026-10-25", "2026-11-01")
]
moments = st.one_of(
    st.integers(int(BEGIN), int(END)).map(float),
    st.tuples(st.sampled_from(CHANGES), st.integers(-2 * 86400, 2 * 86400)).map(
        lambda pair: pair[0] + pair[1]
    ),
)
minutes = st.integers(0, 1439).map(lambda minute: minute * 60)
a_window = st.builds(
    Window,
    days=st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days))),
    start_s=minutes,
    end_s=st.integers(1, 1440).map(lambda minute: minute * 60),
    holidays=st.sampled_from([None, None, None, True, False]),
)
some_windows = st.lists(a_window, max_size=3).map(tuple)
zones = st.sampled_from([*ZONES, None, "Mars/Olympus"])
purposes = st.sampled_from(["marketing", "marketing", *PURPOSES])
channels = st.sampled_from(["console", "webhook"])
seconds = st.integers(0, 7 * 86400).map(float)


calendars = st.sampled_from([Calendar(), Calendar("FR"), Calendar("US-NY", frozenset({739252}))])
preferences = st.lists(
    st.builds(
        Preference,
        allow=st.booleans(),
        topic=st.sampled_from([None, "food", "toys"]),
        channel=st.none() | channels,
        place=st.sampled_from([None, "cafe-1", "street", "cafe-2"]),
        hours=st.sampled_from([None, (Hours("12:00", "15:00"),), (Hours("22:00", "09:00"),)]),
    ),
    max_size=3,
).map(tuple)
caps = st.builds(
    Cap,
    count=st.integers(0, 3),
    window_s=seconds,
    purpose=st.none() | purposes,
    channel=st.none() | channels,
    place=st.sampled_from([None, None, "cafe-1", "cafe-2"]),
    foreign=st.booleans(),
) | st.builds(
    Cap,
    count=st.integers(0, 3),
    per=st.sampled_from(["hour", "day", "week", "month"]),
    purpose=st.none() | purposes,
)


def some_consents(now: float) -> st.SearchStrategy[tuple[Consent, ...]]:
    """Consents that begin and end around now, of any purpose and channel."""
    edge = st.none() | st.integers(-90_000, 90_000).map(lambda s: now + s)
    channel = st.none() | channels | st.just("*")
    one = st.builds(Consent, purpose=purposes, channel=channel, since=edge, until=edge)
    return st.lists(one, max_size=3).map(tuple)


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    """Any candidate: most fail somewhere, and few of the gates more often than the others."""
    now = draw(moments)
    near = st.integers(-90_000, 90_000).map(lambda s: now + s)
    campaign = Campaign(
        id="coffee",
        purpose=draw(purposes),
        channels=tuple(draw(st.lists(channels, unique=True, max_size=2))),
        text=draw(st.sampled_from([COFFEE.text, {"en": "Hello"}, {}])),
        hours=draw(some_windows),
        max_age_s=draw(seconds),
        ttl_s=draw(st.none() | seconds.filter(bool)),
        cooldown_s=draw(seconds),
        active=draw(st.sampled_from([True, True, True, False])),
        valid_from=draw(st.none() | near),
        valid_until=draw(st.none() | near),
        defer=draw(st.booleans()),
        dayparts=draw(
            st.lists(
                st.tuples(a_window, st.sampled_from(["both", "place", "person"])).map(
                    lambda pair: Daypart(*pair)
                ),
                max_size=2,
            ).map(tuple)
        ),
        caps=draw(st.lists(caps, max_size=2).map(tuple)),
        place_cooldown_s=draw(st.just(0.0) | seconds),
        once_per_visit=draw(st.booleans()),
        topic=draw(st.sampled_from([None, "food"])),
        product=draw(st.sampled_from([None, "tea"])),
        contrary=draw(st.sampled_from([(), ("club",)])),
        value=draw(st.sampled_from([1.0, 0.4])),
        least_value=draw(st.sampled_from([None, 0.3])),
        stock=draw(st.sampled_from([(), ("coupons",)])),
        context=draw(
            st.sampled_from([(), (Circumstance(tags=frozenset({"cafe"})),),
                             (Circumstance(event="purchase", within_s=86400.0),)])
        ),
        min_confidence=draw(st.sampled_from([None, 0.5])),
        priority=draw(st.sampled_from([0.0, 1.0])),
    )  # fmt: skip
    events = [
        Happened("purchase", draw(near), {"product": name})
        for name in draw(st.lists(st.sampled_from(["club", "tea"]), max_size=5))
    ]
    consents = draw(some_consents(now))
    earlier = draw(
        st.lists(
            st.builds(
                Send,
                st.uuids().map(str),
                st.sampled_from(["coffee", "tea"]),
                purposes,
                near,
                st.sampled_from(["cafe-1", "cafe-2"]),
                st.sampled_from(["v0", "v1"]),
                channels,
                st.sampled_from([None, "crm"]),
            ),
            max_size=5,
        )
    )
    return Candidate(
        trigger=trigger(
            kind=draw(st.sampled_from(["enter", "dwell"])), at=draw(near), evidence_at=draw(near),
            still=draw(st.booleans()), confidence=draw(st.sampled_from([None, 0.4, 0.9])),
            source=draw(st.sampled_from(["fix", "sighting", "event", "manual"])),
            due_at=draw(st.none() | near), until=draw(st.none() | near),
        ),
        campaign=campaign,
        rules=Campaigns(
            campaigns={"coffee": campaign}, caps=tuple(draw(st.lists(caps, max_size=2))),
            quiet_hours=draw(some_windows), holidays=draw(calendars),
            contest=draw(st.sampled_from([None, Contest(), Contest(least_value=0.5)])),
            age=draw(st.sampled_from([None, None, Age(), Age(least=18)])),
            location_consent=draw(st.sampled_from(["implied", "required"])),
        ),
        place=PlaceFacts(
            id="cafe-1", timezone=draw(zones), active=draw(some_windows), parents=("street",),
            venue_tags=draw(st.sampled_from([(), ("cafe",)])),
        ),
        person=Person(
            person="anna", consents=tuple(consents), timezone=draw(zones), languages=("fr",),
            preferences=draw(preferences),
            attributes=draw(st.sampled_from([{}, {"age_band": "18+", "jurisdiction": "FR"},
                                             {"age_band": "under-13"}])),
        ),
        now=now,
        sends=tuple(earlier),
        profile=Profile(tuple(sorted(events, key=lambda event: event.at)), (Stay("v0", "cafe-1", now - 9.0),)),
        objected=draw(st.sampled_from([False, False, True])),
        stock_left=draw(st.sampled_from([{}, {"coupons": 0}, {"coupons": 3}])),
        rivals=draw(st.sampled_from([(), (Rival(-1.0, -1.0, "tea", "t9"),)])),
        deferred_at=draw(st.none() | near),
        assumed=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def nearly_sent(draw: st.DrawFn) -> Candidate:
    """A candidate that quiet hours alone may stop."""
    now = draw(moments)
    ttl_s = draw(st.none() | seconds.filter(bool))
    purpose = draw(purposes.filter(lambda one: one != "opt-in"))
    campaign = replace(COFFEE, defer=True, purpose=purpose, ttl_s=ttl_s)
    return Candidate(
        trigger=trigger(at=now),
        campaign=campaign,
        rules=Campaigns(
            campaigns={"coffee": campaign},
            quiet_hours=draw(some_windows),
            holidays=draw(calendars),
        ),
        place=CAFE,
        person=Person(
            person="anna", consents=(Consent(purpose=campaign.purpose),), timezone=draw(zones)
        ),
        now=now,
    )


@unhurried
@given(candidates() | nearly_sent())
def test_a_decision_follows_from_its_own_record(one: Candidate) -> None:
    decision = decide(one)
    failed = [g.gate for g in decision.gates if not g.passed]
    reasons = {g.name: g.reason for g in GATES}
    assert [g.gate for g in decision.gates] == [g.name for g in GATES]
    assert decision.reason == (reasons[failed[0]] if failed else None)
    assert (decision.decision is Verdict.SEND) == (not failed)
    assert (decision.decision is Verdict.DEFER) == (decision.until is not None)
    assert decide(one) == decision


@unhurried
@given(st.lists(candidates() | nearly_sent(), min_size=1, max_size=4))
def test_what_is_kept_ready_changes_nothing(some: list[Candidate]) -> None:
    plain = [ask(one) for one in some]
    assert [decide(one) for one in some] == plain
    # A campaign under other rules, a person with other wishes, another moment: asked alike.
    mixed = [
        replace(one, rules=other.rules, person=other.person, now=one.now + 60.0)
        for one in some
        for other in some
    ]
    assert [decide(one) for one in mixed] == [ask(one) for one in mixed]
    assert [decide(one) for one in reversed(some)] == plain[::-1]


@unhurried
@given(candidates() | nearly_sent(), st.lists(candidates(), max_size=3), st.booleans())
def test_what_is_shared_in_a_moment_changes_nothing(
    first: Candidate, others: list[Candidate], assumed: bool
) -> None:
    # Campaigns that meet in one moment, most of one purpose, each after all others.
    same = [
        replace(
            first,
            campaign=replace(
                other.campaign, purpose=first.campaign.purpose, channels=first.campaign.channels
            ),
            trigger=replace(other.trigger, source=first.trigger.source),
        )
        for other in others
    ]
    moment = [first, *same, *(replace(first, campaign=one.campaign) for one in others)]
    # The same, but for one thing that gates look at.
    other_sends = [replace(one, sends=other.sends) for one in moment for other in others]
    moment += [
        *other_sends,
        *(replace(one, objected=not one.objected) for one in moment),
        *(replace(one, assumed=assumed) for one in moment),
        *(replace(one, trigger=replace(one.trigger, source="sighting")) for one in moment),
        *(replace(one, place=other.place) for one in moment for other in others),
    ]
    assert [decide(one) for one in moment] == [ask(one) for one in moment]
    assert [decide(one) for one in reversed(moment)] == [ask(one) for one in reversed(moment)]


@unhurried
@given(candidates() | nearly_sent())
def test_nothing_is_shared_across_what_a_trigger_s_freshness_hangs_on(drawn: Candidate) -> None:
    # Each right after the one from which it differs in one thing alone.
    one = replace(drawn, trigger=replace(drawn.trigger, kind="dwell"), deferred_at=None)
    trigger, now = one.trigger, one.now
    changed = [
        {"kind": "enter"}, {"still": not trigger.still}, {"evidence_at": trigger.evidence_at - 1.0},
        {"at": trigger.at - 1.0}, {"due_at": now - 7.0}, {"until": now + 7.0},
    ]  # fmt: skip
    twins = [
        *(replace(one, trigger=replace(trigger, **change)) for change in changed),
        replace(one, deferred_at=now - 7.0),
        replace(one, campaign=replace(one.campaign, max_age_s=one.campaign.max_age_s + 1.0)),
    ]
    for twin in twins:
        assert [decide(one), decide(twin)] == [ask(one), ask(twin)]


@unhurried
@given(candidates(), st.permutations(GATES))
def test_the_order_of_gates_changes_no_evidence(one: Candidate, order: list[Any]) -> None:
    def judged(table: Any) -> dict[str, Any]:
        return {gate.name: gate.judge(one) for gate in table}

    assert judged(order) == judged(GATES)


@unhurried
@given(candidates() | nearly_sent(), st.data())
def test_nothing_is_sent_without_consent(one: Candidate, data: st.DataObject) -> None:
    consents = data.draw(some_consents(one.now))
    wanted = tuple(data.draw(st.lists(channels, unique=True, min_size=1)))
    one = replace(
        one,
        person=replace(one.person, consents=consents),
        campaign=replace(one.campaign, channels=wanted),
    )
    if decide(one).decision is not Verdict.SEND or one.assumed:
        return
    channel = make_offer(one).channel
    assert channel in wanted
    purpose = one.campaign.purpose
    assert any(
        (purpose == "opt-in" or (c.purpose == purpose and c.channel in {None, "*", channel}))
        and (c.since is None or c.since <= one.now)
        and (c.until is None or one.now < c.until)
        for c in one.person.consents
    )


def quiet_zone(one: Candidate) -> str | None:
    return one.person.timezone if one.person.timezone is not None else one.place.timezone


@unhurried
@given(candidates() | nearly_sent())
def test_no_marketing_is_sent_or_still_good_in_quiet_hours(one: Candidate) -> None:
    if decide(one).decision is not Verdict.SEND or not presses(one.campaign.purpose):
        return
    quiet, calendar = one.rules.quiet_hours, one.rules.holidays
    if not quiet:
        return
    zone = quiet_zone(one)
    assert zone in ZONES
    offer = make_offer(one)
    # Every minute of the offer's life, and its last instant, is outside.
    tz = ZoneInfo(zone)
    minute = one.now
    while minute < min(offer.expires_at, one.now + 3 * 86400):
        assert not within(quiet, minute, tz, calendar)
        minute += 60.0
    if offer.expires_at > one.now:
        assert not within(quiet, max(one.now, offer.expires_at - 0.001), tz, calendar)


@unhurried
@given(nearly_sent())
def test_a_deferral_ends_outside_the_window_and_no_sooner_would(one: Candidate) -> None:
    decision = decide(one)
    if decision.until is None:
        return
    zone = ZoneInfo(str(quiet_zone(one)))
    quiet, calendar = one.rules.quiet_hours, one.rules.holidays
    assert decision.until > one.now
    assert not within(quiet, decision.until, zone, calendar)
    assert within(quiet, decision.until - 0.001, zone, calendar)
    minute = one.now
    while minute < decision.until:
        assert within(quiet, minute, zone, calendar)
        minute += 300.0
    again = decide(replace(one, now=decision.until, deferred_at=one.now))
    assert again.decision is not Verdict.DEFER
    assert again.decision is Verdict.SEND


@unhurried
@given(
    st.lists(
        st.tuples(st.integers(0, 900), st.sampled_from(["coffee", "tea"]), purposes), max_size=60
    ),
    st.lists(
        st.builds(
            Cap,
            count=st.integers(0, 4),
            window_s=st.integers(1, 4000).map(float),
            purpose=st.none() | purposes,
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_no_cap_is_ever_exceeded_in_any_window(
    arrivals: list[tuple[int, str, str]], caps: list[Cap]
) -> None:
    sent: list[Send] = []
    now = BEGIN
    for number, (wait_s, name, purpose) in enumerate(arrivals):
        now += wait_s
        campaign = replace(COFFEE, id=name, purpose=purpose)
        one = Candidate(
            trigger=trigger(id=f"t{number}", at=now),
            campaign=campaign,
            rules=Campaigns(campaigns={name: campaign}, caps=tuple(caps)),
            place=CAFE,
            person=Person(person="anna"),
            now=now,
            sends=tuple(sent),
            assumed=True,
        )
        if decide(one).decision is Verdict.SEND:
            sent.append(Send(f"t{number}", name, purpose, now))
    for cap in caps:
        times = [
            s.at
            for s in sent
            if cap.purpose in {None, s.purpose}
            or (cap.purpose == "marketing" and presses(s.purpose))
        ]
        for end in times:
            assert sum(end - cap.window_s < at <= end for at in times) <= cap.count
