"""What holds for every candidate: of the gates, their order, deferrals and caps."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from proximity.campaigns import Campaign, Campaigns, Cap, PlaceFacts
from proximity.gates import GATES, Candidate, Send, decide, make_offer
from proximity.model import Consent, Person, Verdict
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
)
some_windows = st.lists(a_window, max_size=3).map(tuple)
zones = st.sampled_from([*ZONES, None, "Mars/Olympus"])
purposes = st.sampled_from(["marketing", "service"])
channels = st.sampled_from(["console", "webhook"])
seconds = st.integers(0, 7 * 86400).map(float)


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
    )
    caps = draw(
        st.lists(
            st.builds(Cap, count=st.integers(0, 3), window_s=seconds, purpose=st.none() | purposes),
            max_size=2,
        )
    )
    consents = draw(some_consents(now))
    earlier = draw(
        st.lists(
            st.builds(
                Send, st.uuids().map(str), st.sampled_from(["coffee", "tea"]), purposes, near
            ),
            max_size=5,
        )
    )
    return Candidate(
        trigger=trigger(
            kind=draw(st.sampled_from(["enter", "dwell"])), at=draw(near), evidence_at=draw(near),
            still=draw(st.booleans()),
        ),
        campaign=campaign,
        rules=Campaigns(
            campaigns={"coffee": campaign}, caps=tuple(caps), quiet_hours=draw(some_windows)
        ),
        place=PlaceFacts(id="cafe-1", timezone=draw(zones), active=draw(some_windows)),
        person=Person(
            person="anna", consents=tuple(consents), timezone=draw(zones), languages=("fr",)
        ),
        now=now,
        sends=tuple(earlier),
        deferred_at=draw(st.none() | near),
        assumed=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def nearly_sent(draw: st.DrawFn) -> Candidate:
    """A candidate that quiet hours alone may stop."""
    now = draw(moments)
    ttl_s = draw(st.none() | seconds.filter(bool))
    campaign = replace(COFFEE, defer=True, purpose=draw(purposes), ttl_s=ttl_s)
    return Candidate(
        trigger=trigger(at=now),
        campaign=campaign,
        rules=Campaigns(campaigns={"coffee": campaign}, quiet_hours=draw(some_windows)),
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
    assert any(
        c.purpose == one.campaign.purpose
        and c.channel in {None, "*", channel}
        and (c.since is None or c.since <= one.now)
        and (c.until is None or one.now < c.until)
        for c in one.person.consents
    )


def quiet_zone(one: Candidate) -> str | None:
    return one.person.timezone if one.person.timezone is not None else one.place.timezone


@unhurried
@given(candidates() | nearly_sent())
def test_no_marketing_is_sent_or_still_good_in_quiet_hours(one: Candidate) -> None:
    if decide(one).decision is not Verdict.SEND or one.campaign.purpose != "marketing":
        return
    quiet = one.rules.quiet_hours
    if not quiet:
        return
    zone = quiet_zone(one)
    assert zone in ZONES
    offer = make_offer(one)
    # Every minute of the offer's life, and its last instant, is outside.
    tz = ZoneInfo(zone)
    minute = one.now
    while minute < min(offer.expires_at, one.now + 3 * 86400):
        assert not within(quiet, minute, tz)
        minute += 60.0
    if offer.expires_at > one.now:
        assert not within(quiet, max(one.now, offer.expires_at - 0.001), tz)


@unhurried
@given(nearly_sent())
def test_a_deferral_ends_outside_the_window_and_no_sooner_would(one: Candidate) -> None:
    decision = decide(one)
    if decision.until is None:
        return
    zone = ZoneInfo(str(quiet_zone(one)))
    quiet = one.rules.quiet_hours
    assert decision.until > one.now
    assert not within(quiet, decision.until, zone)
    assert within(quiet, decision.until - 0.001, zone)
    minute = one.now
    while minute < decision.until:
        assert within(quiet, minute, zone)
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
        times = [s.at for s in sent if cap.purpose in {None, s.purpose}]
        for end in times:
            assert sum(end - cap.window_s < at <= end for at in times) <= cap.count
