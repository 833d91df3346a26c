"""Which channel an offer takes, and where it goes when that one fails: cost, wishes, addresses."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from proximity.campaigns.campaigns import Campaign, Campaigns
from proximity.campaigns.form import parse_campaigns
from proximity.campaigns.reach import KINDS, PLAIN, Terms, addresses, cheapest_first
from proximity.gates.gates import consented_channel, decide, make_offer
from proximity.gates.permission import routes
from proximity.model import Consent, Endpoint, GateResult, Person, Preference, ProximityError
from proximity.people.endpoints import Gone, Reach, reachability
from tests.proximity.given import ANNA, COFFEE, candidate

FILE = """
[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["cafe-1"]
channels = ["apns", "web-push", "inbox", "email"]
[campaign.text]
en = "Coffee"
"""
PHONE = Endpoint(channel="apns", address="ab" * 32)
MAIL = Endpoint(channel="email", address="anna@example.test")
EVERY = replace(COFFEE, channels=("apns", "web-push", "inbox", "email"))


def read(more: str = "") -> Campaigns:
    return parse_campaigns(FILE + more, "c.toml")


def problems(more: str) -> list[str]:
    with pytest.raises(ProximityError) as caught:
        read(more)
    return list(caught.value.problems)


def reach(person: Person, campaign: Campaign = EVERY, **more: Any) -> GateResult:
    decided = decide(candidate(person=person, campaign=campaign, **more))
    return next(one for one in decided.gates if one.gate == "reach")


def test_an_offer_takes_the_first_channel_on_which_somebody_can_be_reached() -> None:
    one = candidate(person=replace(ANNA, endpoints=(PHONE, MAIL)), campaign=EVERY)
    assert consented_channel(one)[0] == "apns"
    offer = make_offer(one)
    assert (offer.channel, offer.route) == ("apns", ("inbox", "email"))
    without = candidate(person=ANNA, campaign=EVERY)
    assert consented_channel(without)[0] == "inbox"
    assert routes(without) == ("inbox",)


def test_only_what_somebody_agreed_to_and_wants_is_on_the_way() -> None:
    consents = tuple(Consent(purpose="marketing", channel=one) for one in ("apns", "email"))
    person = replace(ANNA, endpoints=(PHONE, MAIL), consents=consents)
    assert routes(candidate(person=person, campaign=EVERY)) == ("apns", "email")
    unwanted = replace(person, preferences=(Preference(allow=False, channel="apns"),))
    assert routes(candidate(person=unwanted, campaign=EVERY)) == ("email",)
    assert routes(candidate(person=replace(ANNA, consents=()), campaign=EVERY)) == ()
    # Kept upstream, consent is no question; addresses still are.
    assumed = candidate(person=replace(ANNA, consents=()), campaign=EVERY, assumed=True)
    assert routes(assumed) == ("inbox",)


def test_a_consent_to_mail_is_one_to_every_channel_of_mail_and_one_to_push_to_none() -> None:
    rules = read("[channel.newsletter]\nkind = 'email'\n")
    campaign = replace(COFFEE, channels=("newsletter",))

    def agreed(**said: Any) -> bool:
        person = replace(ANNA, endpoints=(MAIL,), consents=(Consent(**said),))
        return (
            consented_channel(candidate(person=person, campaign=campaign, rules=rules))[0]
            is not None
        )

    assert agreed(purpose="marketing", channel="email")
    assert agreed(purpose="marketing", channel="newsletter")
    assert not agreed(purpose="marketing", channel="apns")
    assert not agreed(purpose="push-marketing")


def test_whom_no_channel_reaches_is_unreachable_and_no_address_is_told() -> None:
    mail_alone = replace(COFFEE, channels=("email",))
    found = reach(ANNA, mail_alone)
    assert (found.passed, found.because) == (False, {"channel": "email", "endpoints": 0})
    decided = decide(candidate(person=ANNA, campaign=mail_alone))
    assert (decided.decision, decided.reason) == ("suppress", "unreachable")
    left = replace(ANNA, endpoints=(MAIL,))
    assert reach(left, mail_alone).because == {"channel": "email", "endpoints": 1}
    assert "anna@" not in repr(decide(candidate(person=left, campaign=mail_alone)))


def test_where_no_address_is_needed_nobody_looks_for_one() -> None:
    assert reach(ANNA, COFFEE).because == {"needed": False}
    assert reach(ANNA).because == {"channel": "inbox", "needed": False}
    # Who agreed to nothing is stopped by that.
    nothing = replace(ANNA, consents=())
    assert reach(nothing).because == {"channel": None}
    assert decide(candidate(person=nothing, campaign=EVERY)).reason == "no_consent"


def test_a_wanted_channel_out_of_reach_goes_before_an_unwanted_one() -> None:
    both = replace(COFFEE, channels=("console", "email"))
    unwanted = replace(ANNA, preferences=(Preference(allow=False, channel="console"),))
    assert consented_channel(candidate(person=unwanted, campaign=both))[0] == "email"
    assert decide(candidate(person=unwanted, campaign=both)).reason == "unreachable"


def test_the_cheapest_comes_first_and_equal_ones_as_listed() -> None:
    assert read().campaigns["coffee"].channels == ("apns", "web-push", "inbox", "email")
    costs = "[channel.apns]\ncost = 0.02\n[channel.email]\ncost = 0.01\n"
    assert read(costs).campaigns["coffee"].channels == ("web-push", "inbox", "email", "apns")
    assert cheapest_first(("b", "a"), {}) == ("b", "a")


def test_a_channel_has_terms_of_its_own() -> None:
    assert read().channel_terms == PLAIN
    assert set(PLAIN) == set(KINDS)
    assert PLAIN["email"] == Terms(repeats="at_most_once", addressed="email", kind="email")
    said = """
[channel.email]
repeats = "at_least_once"
host = "mail.example.test"
[channel.newsletter]
kind = "email"
cost = 0.5
[channel.till]
kind = "shop.channels:open_till"
to_endpoints = true
[channel.sign]
kind = "shop.channels:open_sign"
"""
    found = read(said)
    terms = found.channel_terms
    assert terms["email"].repeats == "at_least_once"
    assert terms["newsletter"] == Terms(0.5, "at_most_once", "email", "email")
    assert terms["till"] == Terms(0.0, "at_most_once", "till", None)
    assert terms["sign"].addressed is None
    # What is the channel's own is left for it; what is common is not.
    assert found.channel["email"] == {"host": "mail.example.test"}
    assert found.channel["newsletter"] == {"kind": "email"}
    assert addresses(replace(ANNA, endpoints=(MAIL, PHONE)), terms["newsletter"]) == (MAIL,)


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ("[channel.emial]\nhost = 'x'\n", "did you mean 'email'?"),
        ("[channel.x]\nkind = 'emial'\n", "did you mean 'email'?"),
        ("[channel.x]\nkind = 'a:b:c'\n", "no module:attr"),
        ("[channel.email]\ncost = -1\n", "cost"),
        ("[channel.email]\nrepeats = 'twice'\n", "repeats"),
        ("[channel.email]\nto_endpoints = false\n", "to_endpoints is known of email"),
    ],
)
def test_terms_at_fault_are_named(more: str, part: str) -> None:
    assert [one for one in problems(more) if part in one]


def test_a_campaign_may_name_a_channel_with_a_name_of_its_own() -> None:
    text = FILE.replace('"apns", "web-push", "inbox", "email"', '"newsletter"')
    with pytest.raises(ProximityError, match="unknown channel 'newsletter'"):
        parse_campaigns(text)
    found = parse_campaigns(text + "[channel.newsletter]\nkind = 'email'\n")
    assert found.campaigns["coffee"].channels == ("newsletter",)


def test_a_title_and_terms_come_with_the_offer() -> None:
    said = replace(
        COFFEE,
        title={"fr": "Au chaud : {place}"},
        terms={"fr": "Une tasse par personne."},
    )
    offer = make_offer(candidate(person=ANNA, campaign=said))
    assert (offer.title, offer.terms) == ("Au chaud : Café du Nord", "Une tasse par personne.")
    plain = make_offer(candidate(person=ANNA, campaign=COFFEE))
    assert (plain.title, plain.terms) == ("Café du Nord", None)


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ("[campaign.title]\nen = ''\n", "title.en is empty"),
        ("[campaign.title]\nfr = 'Un café'\n", "title.fr has no text"),
        (f"[campaign.title]\nen = '{'x' * 121}'\n", "121 characters, at most 120"),
        ("[campaign.terms]\nen = 'see {link}'\n", "unknown placeholder {link}"),
        ("[campaign.terms]\nen = 7\n", "terms.en is empty"),
    ],
)
def test_titles_and_terms_at_fault_are_named(more: str, part: str) -> None:
    assert [one for one in problems(more) if part in one]


def test_reachability_says_why_not() -> None:
    person = replace(ANNA, endpoints=(MAIL,))
    dead = [Gone(channel="apns", reason="Unregistered", at=9.0)]
    terms = {name: PLAIN[name] for name in ("apns", "console", "email", "fcm")}
    assert reachability(person, dead, terms) == [
        Reach(channel="apns", reachable=False, why="the address is gone: Unregistered"),
        Reach(channel="console", reachable=True),
        Reach(channel="email", reachable=True, endpoints=1),
        Reach(channel="fcm", reachable=False, why="no address was left"),
    ]
